"""Records: what packs are made of, and how to tell a torn end from damage in the middle.

A record says where in its pack the batch began that it was written with. All before that place had been synced when the
record was written. So what cannot be read before a sound record of a later batch was on the disk once and has been damaged; what
cannot be read, and has no such record after it, is the end of a write that the power or a kill cut short.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import google_crc32c

from quartet_server.objects.digest import Digest

_MAGIC = b"QBR1"
_HEAD = struct.Struct(
    "<4sIBBHQQdQ32sI"
)  # magic, CRC, kind, codec, zone's length, size, stored, time, batch, hash, payload
_CRC = struct.Struct("<I")
_AFTER_CRC = 8
ALIGNMENT = 8


class Kind(IntEnum):
    """What a record says; the numbers are on disks."""

    PACKED = 1
    """The blob is in this record."""
    FILED = 2
    """The blob is in a file of its own; the payload is the file's checksums, or nothing."""
    DELETED = 3
    """The blob is gone: the record of it in the pack that `stored` names, 0 for the pack that this record is in."""
    REVIVED = 4
    """A hit saved the blob after it was condemned."""


class Record(NamedTuple):
    """One record.

    Attributes:
        kind: What it says.
        zone: Of which zone.
        digest: Of which blob.
        codec: How its bytes are kept.
        stored: Bytes that are kept, in the record or in the file; in a note of a deletion the pack that it is about.
        time: When, in seconds since 1970.
        payload: The kept bytes of a packed blob, the checksums of a filed one (see sums.py); else empty.
    """

    kind: Kind
    zone: str
    digest: Digest
    codec: int
    stored: int
    time: float
    payload: bytes

    @property
    def length(self) -> int:
        """Bytes it takes in a pack."""
        return length_of(self.zone, len(self.payload))


class Found(NamedTuple):
    """A record where it was found.

    Attributes:
        record: It.
        offset: Where in the pack it begins.
        batch: Where the batch it was written with began.
    """

    record: Record
    offset: int
    batch: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a pack that was on the disk and cannot be read any more.

    Attributes:
        offset: Where it begins.
        end: Where the next sound record begins.
    """

    offset: int
    end: int


def length_of(zone: str, payload: int) -> int:
    """Return the bytes that a record of `zone` with so many bytes of payload takes."""
    return -(-(_HEAD.size + len(zone) + payload) // ALIGNMENT) * ALIGNMENT


def pack(record: Record, seed: int, batch: int) -> list[bytes]:
    """Return a record's bytes in parts, the payload uncopied. `seed` is the pack's; `batch` see Found."""
    zone = record.zone.encode()
    head = _HEAD.pack(
        _MAGIC, 0, record.kind, record.codec, len(zone), record.digest.size, record.stored, record.time, batch,
        record.digest.hash, len(record.payload),
    )  # fmt: skip
    crc = google_crc32c.extend(google_crc32c.extend(seed, head[_AFTER_CRC:] + zone), record.payload)
    padding = bytes(record.length - len(head) - len(zone) - len(record.payload))
    return [
        head[:4] + _CRC.pack(crc) + head[_AFTER_CRC:] + zone,
        record.payload + padding if padding else record.payload,
    ]


def unpack(data: bytes, at: int, seed: int, base: int = 0) -> Found | None:
    """Return the record at `at` of `data`, which is what is in the pack from `base`; None if there is no sound one."""
    start = at + _HEAD.size
    if start > len(data):
        return None
    magic, crc, kind, codec, zone, size, stored, time, batch, name, payload = _HEAD.unpack_from(data, at)
    end = start + zone + payload
    if magic != _MAGIC or end > len(data) or google_crc32c.extend(seed, data[at + _AFTER_CRC : end]) != crc:
        return None
    record = Record(
        Kind(kind),
        data[start : start + zone].decode(),
        Digest(name, size),
        codec,
        stored,
        time,
        data[start + zone : end],
    )
    return Found(record, base + at, batch)


def scan(data: bytes, base: int, seed: int) -> Iterator[Found | Damage]:
    """Yield what is in a pack from `base`, where a record begins; what lies beyond the last is a torn end, or nothing."""
    at = 0
    while at < len(data):
        found = unpack(data, at, seed, base)
        if found is None:
            found = _later_batch(data, at, seed, base)
            if found is None:
                return
            yield Damage(base + at, found.offset)
        yield found
        at = found.offset - base + found.record.length


def _later_batch(data: bytes, at: int, seed: int, base: int) -> Found | None:
    """Return the first sound record of a batch that began after `at`."""
    later = data.find(_MAGIC, at + 1)
    while later >= 0:
        found = unpack(data, later, seed, base) if (base + later) % ALIGNMENT == 0 else None
        if found is not None and base + at < found.batch <= found.offset:
            return found
        later = data.find(_MAGIC, later + 1)
    return None
