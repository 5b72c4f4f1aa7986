"""Looks now and then whether the node reaches every mounted store, says so in the Metastore, and lets go of what has ended."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

import structlog
from quartet.mounts.storage.v1 import storage_pb2

from quartet_server.errors import QuartetError
from quartet_server.meta import ops, system
from quartet_server.meta.events import changes
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts import records
from quartet_server.objects.mounts.opened import OpenStores
from quartet_server.objects.mounts.records import Mounted
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

EVERY = 10.0
"""Seconds between two looks, where nothing is mounted or unmounted."""
TTL = 40
"""Seconds after which a node that died says nothing any more."""
_PATIENCE = 10.0
_PAUSE = 1.0
_LONGEST = 300
_log = structlog.get_logger("quartet.mounts")


class Reach:
    """One node's look at the mounted stores. What fails is tried again until `close`."""

    def __init__(self, metastore: Metastore, stores: OpenStores, *, every: float = EVERY, ttl: int = TTL) -> None:
        """Look at what is mounted in `metastore`, `every` seconds and whenever that changes; nothing before `start`."""
        self._metastore = metastore
        self._stores = stores
        self._every = every
        self._ttl = ttl
        self._lease = 0
        self._told = b""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="mounts-reach")

    async def close(self) -> None:
        """Stop, and take back what was said if the Metastore listens."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._lease:
            with contextlib.suppress(MetastoreError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._metastore.lease_revoke(pb.LeaseRevokeRequest(ID=self._lease))

    async def _run(self) -> None:
        end = ops.prefix_end(system.MOUNTS)
        while True:
            try:
                async for _ in changes(self._metastore, system.MOUNTS, end, idle=self._every):
                    await self._look()
            except (MetastoreError, QuartetError) as error:
                _log.debug("looking at mounted stores is postponed", reason=str(error))
            await asyncio.sleep(_PAUSE)

    async def _look(self) -> None:
        """Try every store once, all together; say what was found if it is something else than before."""
        mounted = await records.every(Snapshot(self._metastore))
        await self._stores.keep((one.zone, one.number) for one in mounted)
        problems = await asyncio.gather(*(self._problem(one) for one in mounted))
        record = storage_pb2.ReachRecord(
            items=[
                storage_pb2.ReachRecord.Item(zone=one.zone, number=one.number, problem=problem[:_LONGEST])
                for one, problem in zip(mounted, problems, strict=True)
            ]
        )
        value = record.SerializeToString()
        stands = await self._renewed()
        if value == self._told and stands:
            return
        if not self._lease:
            granted = await self._metastore.lease_grant(pb.LeaseGrantRequest(TTL=self._ttl))
            self._lease = granted.ID
        key = records.reach(self._stores.node)
        await self._metastore.put(pb.PutRequest(key=key, value=value, lease=self._lease))
        self._told = value

    async def _problem(self, mounted: Mounted) -> str:
        """Return why the node does not reach a store; empty when it does."""
        try:
            async with asyncio.timeout(_PATIENCE):
                async with self._stores.reading(mounted.zone, mounted.number) as store:
                    await store.stat(mounted.zone, Digest.of(secrets.token_bytes(16)))
        except QuartetError as error:
            return error.message
        except TimeoutError:
            return f"no answer for {_PATIENCE:g} s"
        return ""

    async def _renewed(self) -> bool:
        """Give what was said its full time again; tell whether it still stands, as does nothing that was never said."""
        if not self._lease:
            return not self._told

        async def once() -> AsyncIterator[pb.LeaseKeepAliveRequest]:
            yield pb.LeaseKeepAliveRequest(ID=self._lease)

        left = 0
        async for answer in self._metastore.lease_keep_alive(once()):
            left = answer.TTL
        if left <= 0:
            self._lease = 0
        return left > 0


async def reached(metastore: Metastore) -> dict[tuple[str, int], list[tuple[str, str]]]:
    """Return for each mount the nodes that are up, by name, each with why it does not reach the store. Raises MetastoreError."""
    found = await Snapshot(metastore).scan(system.REACH, ops.prefix_end(system.REACH))
    told: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for kv in found.kvs:
        node = kv.key[len(system.REACH) :].decode()
        for item in storage_pb2.ReachRecord.FromString(kv.value).items:
            told.setdefault((item.zone, item.number), []).append((node, item.problem))
    return told
