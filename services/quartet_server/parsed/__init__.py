"""Parsed contents: what parsers made of files' bytes, in a cache on the node's disk."""
