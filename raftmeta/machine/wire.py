"""Pieces of protobuf's wire format, for answers that are joined from bytes instead of built as messages."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """Encode a non-negative integer as a protobuf varint."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def first_field(message: bytes) -> bytes:
    """Return field 1, of bytes, of a message that begins with it and is as this version's protobuf writes it."""
    if message[0] != 0x0A:
        return b""
    size, shift, at = 0, 0, 1
    while True:
        byte = message[at]
        size |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return message[at : at + size]
