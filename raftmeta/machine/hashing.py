"""HashKV: one number for everything a keyspace holds, equal to etcd's."""

from __future__ import annotations

import google_crc32c

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2 as kv
from raftmeta.store.layout import NO_REVISION, ORIGIN, REVISION, main_of
from raftmeta.store.view import View


def hash_kv(view: View, space: int, revision: int) -> tuple[int, int, int]:
    """Return (hash, compacted revision, current revision) of a keyspace up to `revision`, 0 for all of it.

    CRC-32C over "key" and then every record, revision and KeyValue, in order. Records at or below the compacted
    revision count only while they are the newest of a key alive at `revision`; when no key is alive there, while they
    are the newest of a key alive at the compaction (etcd 3.4, `HashByRev`).

    Raises:
        MetastoreError: COMPACTED, FUTURE_REVISION.
    """
    state = view.space(space)
    if 0 < revision <= state.compacted:
        raise MetastoreError(Fault.COMPACTED)
    if revision > state.current:
        raise MetastoreError(Fault.FUTURE_REVISION)
    upto = revision or state.current
    crc = google_crc32c.extend(0, b"key")
    if upto < 0:
        return crc, state.compacted, state.current
    some_alive = next(view.alive(space, b"", None, upto), None) is not None
    kept_at = upto if some_alive else max(state.compacted, 0)
    for name, data in view.records(space, NO_REVISION):
        main = main_of(name)
        if main > upto:
            break
        value = data[ORIGIN:]
        if main <= state.compacted:
            if len(name) > REVISION:
                continue
            if view.key_at(space, kv.KeyValue.FromString(value).key, kept_at) != name:
                continue
        crc = google_crc32c.extend(google_crc32c.extend(crc, name), value)
    return crc, state.compacted, state.current
