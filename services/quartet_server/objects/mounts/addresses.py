"""How a blob's place is named where it may be in a mounted store: the zone alone is the node's own store, ZONE@NUMBER a mounted one.

A zone's name has no @, so an address is never taken for the name of a zone, and callers, who name zones, cannot name stores.
"""

from __future__ import annotations

_AT = "@"


def address(zone: str, number: int) -> str:
    """Return what calls of a `BlobStore` over mounts take for the zone, for blobs of `zone` in the store `number`, 0 for its own."""
    return f"{zone}{_AT}{number}" if number else zone


def parsed(place: str) -> tuple[str, int]:
    """Return the zone and the store's number that an address names."""
    zone, at, number = place.partition(_AT)
    return zone, int(number) if at else 0
