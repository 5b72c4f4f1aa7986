"""What changed in a zone's tree between two revisions, read from the Metastore's history instead of from the tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import WatchCancelled
from quartet_server.files import keys as tree_keys
from quartet_server.files import records
from quartet_server.meta.snapshot import Snapshot
from quartet_server.snapshots import keys
from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

MOST = 200_000
"""Changes above which the tree is read instead."""
PATIENCE = 30.0
"""Seconds without an event after which the tree is read instead."""


@dataclass(slots=True)
class Changed:
    """What is not as it was at a revision.

    Attributes:
        since: The revision.
        entries: Directory -> NFC names of its entries that may be others, or lead to something that is; a directory that
            is not here holds, with everything below, what it held.
    """

    since: int
    entries: dict[int, set[bytes]] = field(default_factory=dict)


async def changed(store: Metastore, zone: str, since: int, snapshot: Snapshot) -> Changed | None:
    """Return what changed after `since`, as `snapshot` shows the tree; None when history does not tell, or too much.

    A mark was written at the snapshot's revision (`keys.mark`), so that the end of history is seen when it comes.
    Costs a look at every change of the keyspace after `since`, and a read for each inode that changed and each directory above.
    """
    found = Changed(since)
    inos = await _read(store, zone, found, snapshot.revision)
    if inos is None:
        return None
    waiting = inos | found.entries.keys()
    seen: set[int] = set()
    while waiting:
        some = list(waiting)[:1000]
        seen.update(some)
        waiting.difference_update(some)
        pointers = await snapshot.get([tree_keys.parent(zone, ino) for ino in some])
        for kv in pointers.values():
            pointer = storage_pb2.Parent.FromString(kv.value)
            found.entries.setdefault(pointer.ino, set()).add(pointer.name.encode())
            if pointer.ino not in seen:
                waiting.add(pointer.ino)
    return found


async def _read(store: Metastore, zone: str, found: Changed, upto: int) -> set[int] | None:
    """Note every entry that changed; return the inodes that did, None when history does not tell."""
    start, end = keys.watched(zone)
    create = pb.WatchCreateRequest(key=start, range_end=end, start_revision=found.since + 1)
    over = asyncio.Event()

    async def outgoing() -> AsyncIterator[pb.WatchRequest]:
        yield pb.WatchRequest(create_request=create)
        await over.wait()

    stream = store.watch(outgoing())
    inos: set[int] = set()
    count = 0
    try:
        while True:
            async with asyncio.timeout(PATIENCE):
                answer = await anext(stream, None)
            if answer is None:
                return None
            if answer.canceled:
                if answer.compact_revision:
                    return None
                raise WatchCancelled(answer.cancel_reason or "the store ended the watch", revision=found.since)
            for event in answer.events:
                if event.kv.mod_revision > upto:
                    return inos
                _note(event, found, inos)
                count += 1
                if event.kv.mod_revision == upto:  # the mark, which is alone at its revision
                    return inos
            if count > MOST:
                return None
    except TimeoutError:
        return None
    finally:
        over.set()
        if (aclose := getattr(stream, "aclose", None)) is not None:
            await aclose()


def _note(event: kv_pb2.Event, found: Changed, inos: set[int]) -> None:
    key = tree_keys.parse(event.kv.key)
    if key.kind == "d":
        found.entries.setdefault(key.ino, set()).add(key.rest)
    elif key.kind == "i":
        inos.add(key.ino)
        if event.type == kv_pb2.Event.PUT and storage_pb2.Inode.FromString(event.kv.value).type == records.DIRECTORY:
            found.entries.setdefault(key.ino, set())
    elif key.kind == "x":
        inos.add(key.ino)
        found.entries.setdefault(key.ino, set())
