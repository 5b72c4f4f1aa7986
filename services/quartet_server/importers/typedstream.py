"""The text within an attributed string as Apple's typedstream writes it, the only place where newer message databases have it."""

from __future__ import annotations

_CLASS = b"NSString"
_BYTES = b"\x84\x01+"
"""Introduces a run of bytes: a new type description, one character long, `+`."""
_NEAR = 64
_SHORT, _LONG = 0x81, 0x82


def text(blob: bytes) -> str | None:
    """Return the text of a serialised NSAttributedString or NSMutableAttributedString; None when there is none.

    The first string object in the stream is the text; attributes come behind it. Its length is a byte, or 0x81 and two
    bytes, or 0x82 and four, the lowest first.
    """
    found = blob.find(_CLASS)
    if found < 0:
        return None
    begin = blob.find(_BYTES, found, found + _NEAR)
    if begin < 0:
        return None
    at = begin + len(_BYTES)
    if at >= len(blob):
        return None
    size = blob[at]
    at += 1
    if size in (_SHORT, _LONG):
        width = 2 if size == _SHORT else 4
        size = int.from_bytes(blob[at : at + width], "little")
        at += width
    elif size >= 0x80:
        return None
    data = blob[at : at + size]
    return data.decode(errors="replace") if len(data) == size else None
