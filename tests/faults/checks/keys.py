"""Ranges of keys as etcd has them."""

from __future__ import annotations

ALL = b"\0"


def covers(key: bytes, end: bytes, asked: bytes) -> bool:
    """Whether the range (key, range_end) of a request holds `asked`."""
    if not end:
        return asked == key
    return key <= asked and (end == ALL or asked < end)


def watches_all(key: bytes, end: bytes) -> bool:
    """Whether a range holds every key there can be."""
    return key in (b"", ALL) and end == ALL
