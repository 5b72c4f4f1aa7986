"""Header blocks to fields: the receiving half of HPACK, RFC 7541."""

from __future__ import annotations

from collections import deque

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from raftmeta.serving.faults import ConnectionFault, ErrorCode

Field = tuple[bytes, bytes]

TABLE_BYTES = 4096
"""Bound of the dynamic table; the protocol's default, so no setting has to tell it."""
FIELD_OVERHEAD = 32

_STATIC: tuple[Field, ...] = ((b"", b""), *HeaderTable.STATIC_TABLE)
_DYNAMIC = len(_STATIC)  # index of the newest entry of the dynamic table


class FieldDecoder:
    """One connection's decoder; every block of the connection must pass through it in order.

    The library gives the static table and the Huffman code. The fields are taken apart here because most are one byte,
    an index, and the library spends microseconds on each.

    Attributes:
        changes: Grows whenever a block has changed the table: the same bytes mean the same fields while it stays.
    """

    def __init__(self) -> None:
        """Begin with an empty table."""
        self.changes = 0
        self._table: deque[Field] = deque()
        self._size = 0
        self._bound = TABLE_BYTES

    def decode(self, block: bytes) -> list[Field]:
        """Return the fields of a block in order. Raises ConnectionFault: the table would be unknown afterwards."""
        try:
            return self._decode(block)
        except (IndexError, HPACKError):
            raise _fault("a header block that cannot be decoded") from None

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        table = self._table
        at, end = 0, len(block)
        while at < end:
            first = block[at]
            if first & 0x80:
                index, at = (first & 0x7F, at + 1) if first != 0xFF else _integer(block, at, 0x7F)
                if index >= _DYNAMIC:
                    fields.append(table[index - _DYNAMIC])
                elif index:
                    fields.append(_STATIC[index])
                else:
                    raise _fault("header field 0")
            elif first & 0x40:
                field, at = self._literal(block, at, 0x3F)
                self._add(field)
                fields.append(field)
            elif first & 0x20:
                if fields:
                    raise _fault("a change of the table's size after a field")
                bound, at = _integer(block, at, 0x1F)
                self._resize(bound)
            else:
                field, at = self._literal(block, at, 0x0F)
                fields.append(field)
        return fields

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[Field, int]:
        index, at = _integer(block, at, mask)
        if index >= _DYNAMIC:
            name = self._table[index - _DYNAMIC][0]
        elif index:
            name = _STATIC[index][0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _add(self, field: Field) -> None:
        self.changes += 1
        self._table.appendleft(field)
        self._size += _size(field)
        self._evict()

    def _resize(self, bound: int) -> None:
        if bound > TABLE_BYTES:
            raise _fault("a table larger than allowed")
        self.changes += 1
        self._bound = bound
        self._evict()

    def _evict(self) -> None:
        while self._size > self._bound:
            self._size -= _size(self._table.pop())


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Read an integer of RFC 7541 5.1; at most four bytes follow the first, which is more than any block is long."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise _fault("an integer that is too large")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    encoded = block[at] & 0x80
    length, at = _integer(block, at, 0x7F)
    end = at + length
    if end > len(block):
        raise _fault("a string that ends after its block")
    text = block[at:end]
    return (decode_huffman(text) if encoded else text), end


def _size(field: Field) -> int:
    return len(field[0]) + len(field[1]) + FIELD_OVERHEAD


def list_size(fields: list[Field]) -> int:
    """Return the size of a header list as RFC 9113 6.5.2 counts it."""
    return sum([len(name) + len(value) + FIELD_OVERHEAD for name, value in fields])


def _fault(message: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, message)
