"""Names and encodings of the tables: what is written where, byte by byte.

All integers are big-endian, so that byte order is numeric order. A table is named by a letter and its keyspace.

records   17-byte revision [+ 't']    origin (33) + KeyValue bytes, exactly as etcd writes and hashes them
keys      key or its stand-in         slot: the newest record of the key, dead or alive; a copy of its KeyValue if short
history   key id (12) + revision      b"1" put, b"0" tombstone: some of the older records of keys, for reads at past revisions
leases    id                          ttl, seconds left at the last checkpoint
attached  lease id + key id           the key
bookkeeping                           applied index, spaces, alarms, floors, dropped sequences
batches   index                       client, sequence, results: the deduplication window
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

import google_crc32c

FORMAT = b"4"
SPACES = (0, 1)

PREFIX = 479  # longest key stored as itself; LMDB's limit of 511 bytes less a SHA-256
COPIED = 1_024  # longest KeyValue of which the key index holds a copy
REVISION = 17
ID = 12
SUPERSEDED = slice(ID, ID + REVISION)
ORIGIN = ID + REVISION + 4

HEAD = struct.Struct(">B17sQQq12s")
SLOT = HEAD.size
_revision = struct.Struct(">QcQ")
_id = struct.Struct(">QI")
_lease = struct.Struct(">q")
_lease_value = struct.Struct(">qq")

NO_REVISION = b"\0" * REVISION
LAST_REVISION = b"\xff" * REVISION

SPACING = 8  # a power of two; see in_history


class Slot(NamedTuple):
    """The newest record of a key.

    Attributes:
        alive: 1, or 0 when the newest record is a tombstone.
        revision: Its 17-byte revision (without the tombstone mark).
        created: Main revision of the put that created the key; 0 when dead.
        version: Puts since then; 0 when dead.
        lease: Attached lease, 0 for none.
        id: Names the key in the history table.
    """

    alive: int
    revision: bytes
    created: int
    version: int
    lease: int
    id: bytes

    @property
    def main(self) -> int:
        """Main revision of the newest record."""
        return int.from_bytes(self.revision[:8], "big")


def pack_slot(slot: Slot, key: bytes, value: bytes) -> bytes:
    """Encode a slot. A key too long to be its own table key travels with it; with others, a living one's short KeyValue."""
    head = HEAD.pack(*slot)
    if len(key) > PREFIX:
        return head + key
    return head + value if slot.alive and len(value) <= COPIED else head


def unpack_slot(data: bytes) -> Slot:
    """Decode a slot."""
    return Slot._make(HEAD.unpack_from(data))


def revision_key(main: int, sub: int) -> bytes:
    """Encode a revision as etcd does: 8 bytes, an underscore, 8 bytes."""
    return _revision.pack(main, b"_", sub)


def pack_record(revision: bytes, key_id: bytes, superseded: bytes, value: bytes) -> bytes:
    """Encode a record: key id and superseded revision, CRC-32C over all of it and its own revision, KeyValue bytes."""
    return b"".join((key_id, superseded, _checksum(revision, key_id + superseded, value), value))


def is_whole(revision: bytes, record: bytes) -> bool:
    """Tell whether a record is what was written under `revision` (with its tombstone mark)."""
    head = ID + REVISION
    found = int(
        google_crc32c.value(b"".join((revision, record[:head], record[ORIGIN:])))
    )  # one call: a start reads all
    return record[head:ORIGIN] == found.to_bytes(4, "big")


def _checksum(revision: bytes, head: bytes, value: bytes) -> bytes:
    return int(google_crc32c.extend(google_crc32c.value(revision + head), value)).to_bytes(4, "big")


def main_of(revision: bytes) -> int:
    """Return the main part of an encoded revision."""
    return int.from_bytes(revision[:8], "big")


def new_id(main: int, sub: int) -> bytes:
    """Return a key id: the revision at which the key entered the index."""
    return _id.pack(main, sub)


def table_key(key: bytes) -> bytes:
    """Return the key under which `key` is indexed: itself, or its head and its SHA-256, which sorts among its kind."""
    return key if len(key) <= PREFIX else key[:PREFIX] + hashlib.sha256(key).digest()


def lease_key(lease: int) -> bytes:
    """Encode a lease id."""
    return _lease.pack(lease)


def lease_of(data: bytes) -> int:
    """Decode a lease id."""
    return int(_lease.unpack_from(data)[0])


def in_history(version: int) -> bool:
    """Tell whether the record of a key's `version` gets a row in its history once it is superseded.

    Tombstones (version 0) and every SPACING-th put do: what is between two rows is found from the later one, record by record.
    """
    return not version & (SPACING - 1)


def pack_lease(ttl: int, remaining: int) -> bytes:
    """Encode a lease."""
    return _lease_value.pack(ttl, remaining)


def unpack_lease(data: bytes) -> tuple[int, int]:
    """Decode a lease: ttl and seconds remaining."""
    ttl, remaining = _lease_value.unpack(data)
    return ttl, remaining
