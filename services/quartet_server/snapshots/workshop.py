"""What the operations on snapshots work with, and how they hear what was answered before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from quartet_server.errors import Contention
from quartet_server.files.tree import Tree
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Answer
from quartet_server.objects.composed import Compositions
from quartet_server.snapshots import keys
from quartet_server.snapshots.directories import Directories
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

_LEASES = 3


@dataclass(slots=True)
class Workshop:
    """What the operations on snapshots work with.

    Attributes:
        tree: The tree and its tools.
        directories: Reads Directories from the store of blobs.
        compositions: Which files' blobs are kept as chunks.
        draw: Returns eight random bytes; injected.
        clock: Seconds that never go back; injected.
        settled: Seconds after which a snapshot asks for its blobs again before it is recorded: well within a collector's grace.
    """

    tree: Tree
    directories: Directories
    compositions: Compositions
    draw: Callable[[], bytes]
    clock: Callable[[], float] = field(default=time.monotonic)
    settled: float = 900.0


async def recalled(store: Metastore, claim: Claim | None, kind: type[Answer]) -> Answer | None:
    """Return what an earlier run of the same request answered, so that its work is not done again. Raises RequestIdReused."""
    if claim is None:
        return None
    found = await store.range(rpc_pb2.RangeRequest(key=claim.key))
    return kind.FromString(claim.read(found.kvs[0]).answer) if found.kvs else None


async def marked(shop: Workshop, zone: str) -> tuple[bytes, int]:
    """Mark a revision, up to which history can be read; return the mark's key, which ends by itself, and the revision."""
    mark = keys.mark(zone, shop.draw())
    for _ in range(_LEASES):
        lease = await shop.tree.lease.current()
        try:
            answer = await shop.tree.store.put(rpc_pb2.PutRequest(key=mark, lease=lease))
        except MetastoreError as error:
            if error.fault is not Fault.LEASE_NOT_FOUND:
                raise
            shop.tree.lease.lost(lease)
            continue
        return mark, answer.header.revision
    raise Contention("leases ended as soon as they were granted")
