"""Inode numbers: leased from the Metastore in blocks, so that a create costs no extra write."""

from __future__ import annotations

import asyncio

from quartet_server.errors import Contention
from quartet_server.files import keys
from quartet_server.meta import ops
from quartet_server.meta.mutation import ATTEMPTS
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

BLOCK = 10_000


class Inos:
    """Hands out numbers that nobody else hands out; what is left of a block when the node stops is never used."""

    def __init__(self, store: Metastore) -> None:
        """Lease blocks in `store`."""
        self._store = store
        self._free: dict[str, range] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def take(self, zone: str, count: int) -> range:
        """Return `count` numbers, at most 10,000, in ascending order. Raises Contention, MetastoreError."""
        free = self._free.get(zone, range(0))
        if len(free) >= count:
            self._free[zone] = free[count:]
            return free[:count]
        async with self._locks.setdefault(zone, asyncio.Lock()):
            free = self._free.get(zone, range(0))
            if len(free) < count:
                free = await self._lease(zone)
            self._free[zone] = free[count:]
            return free[:count]

    async def _lease(self, zone: str) -> range:
        key = keys.allocator(zone)
        for _ in range(ATTEMPTS):
            now = await self._store.range(pb.RangeRequest(key=key))
            first = int.from_bytes(now.kvs[0].value, "big") if now.kvs else keys.ROOT + 1
            revision = now.kvs[0].mod_revision if now.kvs else 0
            answer = await self._store.txn(
                pb.TxnRequest(
                    compare=[ops.unchanged(key, revision)],
                    success=[ops.put(key, (first + BLOCK).to_bytes(8, "big"))],
                )
            )
            if answer.succeeded:
                return range(first, first + BLOCK)
        raise Contention("too many nodes lease inode numbers at once")
