"""Records of the log: a checksummed header, checksummed data, and how far the file was synced when they were made."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c

MAX_DATA = 16 * 1024 * 1024
"""Longest data of one record, in bytes; a length above it is damage."""

_MAGIC = b"\xf5qW\x9d"
_HEAD = struct.Struct(
    "<4sIIIIQQQ"
)  # magic, CRC of what follows in the header, CRC of data, length, kind, index, term, synced
_REST = struct.Struct("<IIIQQQ")
HEAD_SIZE = _HEAD.size


class Kind(enum.IntEnum):
    """What a record says."""

    ENTRY = 1
    """The entry (index, term, data) follows the previous one."""
    TRUNCATE = 2
    """Entries from index on are void."""


@dataclass(slots=True)
class Record:
    """A valid record found in a segment.

    Attributes:
        kind: What it says, a `Kind` unless a newer version wrote it.
        index: Log index.
        term: Raft term; 0 for TRUNCATE.
        offset: Where it starts in the file.
        size: Its length in the file, header included.
    """

    kind: int
    index: int
    term: int
    offset: int
    size: int


class BadRecord(Exception):  # noqa: N818
    """No valid record at an offset; the message says why."""

    def __init__(self, offset: int, reason: str) -> None:
        """Take the offset in the file and the finding."""
        self.offset = offset
        self.reason = reason
        super().__init__(f"offset {offset}: {reason}")


def seed_of(log_id: bytes, sequence: int) -> int:
    """Start value of the checksums of one segment.

    It binds a record to its segment, and as `log_id` is random no client can craft a value that looks like a record.
    """
    return int(google_crc32c.value(log_id + sequence.to_bytes(8, "little")))


def encode(seed: int, kind: Kind, index: int, term: int, synced: int, data: bytes) -> bytes:
    """Frame a record; `synced` is the offset up to which the file is known to be durable."""
    rest = _REST.pack(google_crc32c.extend(seed, data), len(data), kind, index, term, synced)
    return b"".join((_MAGIC, google_crc32c.extend(seed, rest).to_bytes(4, "little"), rest, data))


def scan(buffer: bytes, offset: int, seed: int) -> Iterator[Record]:
    """Yield the valid records from `offset` to the end of `buffer`.

    Raises:
        BadRecord: What follows the last record yielded is not a valid record.
    """
    end = len(buffer)
    while offset < end:
        if end - offset < HEAD_SIZE:
            raise BadRecord(offset, "record header cut short")
        magic, head_sum, data_sum, length, kind, index, term, _ = _HEAD.unpack_from(buffer, offset)
        start = offset + HEAD_SIZE
        if magic != _MAGIC:
            raise BadRecord(offset, "not a record")
        if google_crc32c.extend(seed, buffer[offset + 8 : start]) != head_sum:
            raise BadRecord(offset, "checksum of the record header differs")
        if length > MAX_DATA:
            raise BadRecord(offset, f"record of {length} bytes is longer than any")
        if start + length > end:
            raise BadRecord(offset, "record data cut short")
        if google_crc32c.extend(seed, buffer[start : start + length]) != data_sum:
            raise BadRecord(offset, "checksum of the record data differs")
        yield Record(kind, index, term, offset, HEAD_SIZE + length)
        offset = start + length


def known_synced(buffer: bytes, offset: int, seed: int) -> int:
    """How far the file was durable, as told by any valid record header at or after `offset`; 0 when none tells.

    Headers are found by their magic, so that one damaged record does not hide those behind it.
    """
    synced = 0
    while (offset := buffer.find(_MAGIC, offset)) >= 0 and offset + HEAD_SIZE <= len(buffer):
        _, head_sum, _, _, _, _, _, told = _HEAD.unpack_from(buffer, offset)
        if google_crc32c.extend(seed, buffer[offset + 8 : offset + HEAD_SIZE]) == head_sum:
            synced = max(synced, told)
        offset += 1
    return synced
