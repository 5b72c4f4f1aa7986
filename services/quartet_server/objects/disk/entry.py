"""What the index knows of a blob: where it is, how it is kept and how it stands."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from quartet_server.objects.contract import BlobInfo
from quartet_server.objects.digest import HASH_BYTES, Digest
from quartet_server.objects.disk.record import Kind, Record

_ENTRY = struct.Struct(
    "<BBIQIQQdd"
)  # kind, codec, pack, offset, length, size, stored, touched, condemned (-1: it lives)
_LIVING = -1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One blob of one zone.

    Attributes:
        filed: Whether it has a file of its own.
        codec: How its bytes are kept.
        pack: Number of the pack with its record.
        offset: Where the record begins.
        length: Bytes of the record.
        size: Bytes of the blob.
        stored: Bytes that are kept.
        touched: Seconds since 1970 of the last hit.
        condemned: Seconds since 1970 when it was condemned; None while it lives.
    """

    filed: bool
    codec: int
    pack: int
    offset: int
    length: int
    size: int
    stored: int
    touched: float
    condemned: float | None

    @classmethod
    def of(cls, record: Record, pack: int, offset: int) -> Entry:
        """Return the entry that a PACKED or FILED record makes."""
        return cls(
            record.kind == Kind.FILED, record.codec, pack, offset, record.length, record.digest.size, record.stored,
            record.time, None,
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """Return the entry that `pack_bytes` wrote."""
        filed, codec, pack, offset, length, size, stored, touched, condemned = _ENTRY.unpack(data)
        return cls(
            bool(filed), codec, pack, offset, length, size, stored, touched, None if condemned < 0 else condemned
        )

    def pack_bytes(self) -> bytes:
        """Return the entry as the index keeps it."""
        return _ENTRY.pack(
            self.filed, self.codec, self.pack, self.offset, self.length, self.size, self.stored, self.touched,
            _LIVING if self.condemned is None else self.condemned,
        )  # fmt: skip

    @property
    def physical(self) -> int:
        """Bytes it takes on the disk."""
        return self.length + (self.stored if self.filed else 0)

    def info(self, digest: Digest) -> BlobInfo:
        """Return what the contract tells of it."""
        return BlobInfo(digest, self.physical, self.touched, self.condemned)


def key_of(zone: str, name: bytes) -> bytes:
    """Return the key of the blob with hash `name`; zones have no NUL, so none is the beginning of another's keys."""
    return zone.encode() + b"\0" + name


def zone_of(key: bytes) -> str:
    """Return the zone of a key."""
    return key[: -HASH_BYTES - 1].decode()


def hash_of(key: bytes) -> bytes:
    """Return the hash in a key."""
    return key[-HASH_BYTES:]
