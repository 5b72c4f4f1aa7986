"""Checking a zone's tree against itself and its blobs, and measuring what it takes."""
