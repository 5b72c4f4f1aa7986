"""Header blocks of answers: the sending half of HPACK, as little of it as answers need."""

from __future__ import annotations

from collections.abc import Iterable

from raftmeta.serving.metadata import Pair, write_message, write_pair

_OK = b"\x88"  # :status 200
_CONTENT_TYPE = b"\x5f\x10application/grpc"  # literal, to be added to the table; the name is entry 31
_CONTENT_TYPE_ONCE = b"\x0f\x10\x10application/grpc"  # the same, not to be added
_STATUS = b"\x0bgrpc-status"
_STATUS_OK = b"\x40" + _STATUS + b"\x010"
_STATUS_OK_ONCE = b"\x00" + _STATUS + b"\x010"
_NEWEST = 62
_NEEDED = 60 + 44  # bytes of the dynamic table that the two entries take
_DEFAULT = 4096


class AnswerEncoder:
    """One connection's encoder: two fields go into the peer's table, once, and are named by their index from then on.

    Blocks must be sent, all of them, in the order in which they were made.
    """

    def __init__(self) -> None:
        """Begin with the table that every peer has."""
        self._prelude = b""
        self._usable = True
        self._type_index = 0
        self._status_index = 0

    def resize(self, size: int) -> None:
        """Follow the peer's HEADER_TABLE_SIZE: empty the table, and use as much of it as it may have."""
        bound = min(size, _DEFAULT)
        self._prelude = b"\x20" + _integer(bound, 0x1F, 0x20)
        self._usable = bound >= _NEEDED
        self._type_index = self._status_index = 0

    def initial(self) -> bytes:
        """Return the block that begins an answer; metadata may follow it."""
        if self._type_index:
            return _OK + bytes((0x80 | self._type_index,))
        prelude, self._prelude = self._prelude, b""
        if not self._usable:
            return prelude + _OK + _CONTENT_TYPE_ONCE
        self._type_index = _NEWEST
        return prelude + _OK + _CONTENT_TYPE

    def trailers(self, code: int, message: str) -> bytes:
        """Return the block that ends an answer, or goes on from `initial`; metadata may follow it."""
        if not code and not message:
            if self._status_index:
                return bytes((0x80 | self._status_index,))
            if not self._type_index or self._prelude:  # the table was emptied since the answer began, or is not used
                prelude, self._prelude = self._prelude, b""
                return prelude + _STATUS_OK_ONCE
            self._status_index = _NEWEST
            self._type_index += 1
            return _STATUS_OK
        prelude, self._prelude = self._prelude, b""
        text = literal(b"grpc-message", write_message(message)) if message else b""
        return prelude + literal(b"grpc-status", b"%d" % code) + text

    def http(self, status: int) -> bytes:
        """Return the block of an answer to what is no gRPC call."""
        prelude, self._prelude = self._prelude, b""
        return prelude + literal(b":status", b"%d" % status) + literal(b"content-type", b"text/plain")


def extra(metadata: Iterable[Pair]) -> bytes:
    """Return the fields of metadata. Raises ValueError for what cannot be sent."""
    return b"".join([literal(*write_pair(*pair)) for pair in metadata]) if metadata else b""


def literal(name: bytes, value: bytes) -> bytes:
    """Return a field that leaves the peer's table alone."""
    return b"\0%b%b%b%b" % (_integer(len(name), 0x7F, 0), name, _integer(len(value), 0x7F, 0), value)


def _integer(value: int, mask: int, first: int) -> bytes:
    if value < mask:
        return bytes((first | value,))
    value -= mask
    encoded = [first | mask]
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
