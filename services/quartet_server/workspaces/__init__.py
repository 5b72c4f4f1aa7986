"""Workspaces: directories that have a name, a kind and labels."""
