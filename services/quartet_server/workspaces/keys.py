"""Keys of registrations in the Metastore: the zone, NUL, W, and one of these.

n  name              -> WorkspaceRecord   the registration
i  ino(8)            -> name              which name the directory has; written and deleted with the record
"""

from __future__ import annotations


def named(zone: str, name: str = "") -> bytes:
    """Return the key of a registration; an empty name gives the range's prefix."""
    return zone.encode() + b"\0Wn" + name.encode()


def of_directory(zone: str, ino: int) -> bytes:
    """Return the key that says which name a directory has."""
    return zone.encode() + b"\0Wi" + ino.to_bytes(8, "big")
