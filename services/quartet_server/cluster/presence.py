"""Says that this node is there: a durable record of what it is, and a key that lives as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from quartet.cluster.storage.v1 import storage_pb2

from quartet_server.meta import system
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

TTL = 10
"""Seconds without a renewal after which a node counts as dead."""
_RETRY = 1.0
_log = structlog.get_logger("quartet.cluster")


class Presence:
    """Keeps a node's two keys; what fails is tried again until `close`."""

    def __init__(self, store: Metastore, member_id: int, record: storage_pb2.NodeRecord, ttl: int = TTL) -> None:
        """Announce `record` under `member_id`; `ttl` in seconds. Nothing happens before `start`."""
        self._store = store
        self._member_id = member_id
        self._record = record
        self._ttl = ttl
        self._lease = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="cluster-presence")

    async def close(self) -> None:
        """Say goodbye if the store listens: the node is known to be gone at once, not after the TTL."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._lease:
            with contextlib.suppress(MetastoreError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._store.lease_revoke(pb.LeaseRevokeRequest(ID=self._lease))

    async def _run(self) -> None:
        while True:
            try:
                await self._announce()
                await self._renew()
                _log.info("liveness lease lost; taking a new one")
            except MetastoreError as error:
                _log.debug("presence is postponed", reason=error.text)
            await asyncio.sleep(_RETRY)

    async def _announce(self) -> None:
        lease = await self._store.lease_grant(pb.LeaseGrantRequest(TTL=self._ttl))
        self._lease = lease.ID
        await self._store.put(pb.PutRequest(key=system.node(self._member_id), value=self._record.SerializeToString()))
        await self._store.put(
            pb.PutRequest(key=system.alive(self._member_id), value=self._record.name.encode(), lease=lease.ID)
        )

    async def _renew(self) -> None:
        """Renew until the lease is gone. Raises MetastoreError."""

        async def requests() -> AsyncIterator[pb.LeaseKeepAliveRequest]:
            while True:
                yield pb.LeaseKeepAliveRequest(ID=self._lease)
                await asyncio.sleep(self._ttl / 3)

        async for answer in self._store.lease_keep_alive(requests()):
            if answer.TTL <= 0:
                return
