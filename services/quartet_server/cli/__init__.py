"""The command `quartet`."""

from quartet_server.cli.app import create, main

__all__ = ["create", "main"]
