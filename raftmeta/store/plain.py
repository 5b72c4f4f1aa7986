"""Puts of a key and a value and nothing else, written in one flat loop: where a busy member spends its time."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import google_crc32c
import lmdb

from raftmeta.etcd import kv_pb2 as kv
from raftmeta.store.buffer import ROW, Buffer
from raftmeta.store.counts import Flip
from raftmeta.store.layout import COPIED, HEAD, ID, NO_REVISION, REVISION, SPACING, lease_key, new_id
from raftmeta.store.view import SpaceTables

MOST = 128

PlainPut = tuple[bytes, bytes, bytes, int]
"""(key of at most PREFIX bytes, KeyValue's field of it, length and bytes of KeyValue's value, which is not empty, lease or 0)."""

Written = tuple[bytes, bool, bytes]
"""(key, whether it was not alive before, KeyValue bytes)."""

_SUBS = tuple(b"_" + sub.to_bytes(8, "big") for sub in range(MOST))  # second halves of a revision
_CREATED, _VERSION, _LEASE = "create_revision", "version", "lease"


def write_plain(
    txn: lmdb.Transaction[bytes],
    tables: SpaceTables,
    buffers: tuple[Buffer, ...],
    step: int,
    main: int,
    puts: Iterable[PlainPut],
    space: int,
    flips: list[Flip],
) -> list[Written]:
    """Write up to MOST puts of different keys, whose leases exist, at a main revision that nothing was written at.

    The same rows as from `WriteView.put`, and the same memory counted. It is one function since calls, and values
    put into classes and taken out again, were four fifths of the time.
    """
    front, table = buffers[0], tables.keys.number
    slots, records, history = (front.rows[one.number] for one in (tables.keys, tables.records, tables.history))
    slot_rows, record_rows, history_rows = slots.versions, records.versions, history.versions
    # a row is fresh before it has a version: a reader who finds it without one passes over it
    fresh_slot, fresh_record, fresh_history = slots.fresh.append, records.fresh.append, history.fresh.append
    under = [buffer.rows[table].versions for buffer in buffers[1:]]
    get, handle, unpack, pack, crc = txn.get, tables.keys.handle, HEAD.unpack_from, HEAD.pack, google_crc32c.value
    half, modified = main.to_bytes(8, "big"), kv.KeyValue(mod_revision=main).SerializeToString()
    written: list[Written] = []
    between = SPACING - 1
    size = number = 0
    for key, key_field, value, lease in puts:
        older = slot_rows.get(key)  # the newest version counts: only this step can have written after the last one
        data: bytes | None
        if older is not None:
            data = older[1]
            if older[0] == step:
                older = older[2]
        else:
            fresh_slot(key)
            for rows in under:
                if (found := rows.get(key)) is not None:
                    data = found[1]
                    break
            else:
                data = get(key, None, handle)
        revision = half + _SUBS[number]
        if data is None:
            alive, key_id, superseded, held = 0, new_id(main, number), NO_REVISION, 0
        else:
            alive, superseded, created, version, held, key_id = unpack(data)
            if held and held != lease:
                front.set(tables.attached, lease_key(held) + key_id, None, step)
            if not version & between:  # in_history
                # neither this row nor the record's was there before: a revision is superseded once
                row = key_id + superseded
                fresh_history(row)
                history_rows[row] = (step, b"1" if alive else b"0", None)
                size += ROW + ID + REVISION + 1
        if alive:
            version += 1
        else:
            created, version = main, 1
            flips.append((space, key, 1))
        item = b"".join((key_field, _field(_CREATED, created), modified, _field(_VERSION, version), b"*", value))
        if lease:
            item += _field(_LEASE, lease)
            if lease != held:
                front.set(tables.attached, lease_key(lease) + key_id, key, step)
        origin = key_id + superseded
        record = b"".join((origin, crc(b"".join((revision, origin, item))).to_bytes(4, "big"), item))
        fresh_record(revision)
        record_rows[revision] = (step, record, None)
        slot = pack(1, revision, created, version, lease, key_id)
        if len(item) <= COPIED:
            slot += item
        slot_rows[key] = (step, slot, older)
        size += len(key) + len(slot) + len(record)
        written.append((key, version == 1, item))
        number += 1
    front.size += size + number * (2 * ROW + REVISION)
    return written


@lru_cache(8_192)
def _field(name: str, value: int) -> bytes:
    """Return one number of KeyValue as it is written; most of them come again and again."""
    return kv.KeyValue(**{name: value}).SerializeToString()  # type: ignore[arg-type]
