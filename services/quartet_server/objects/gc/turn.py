"""Turns: nodes that share a store of blobs collect it one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from quartet_server.meta import ops, system
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

TTL = 60
"""Seconds after which the turn of a node that died is over."""


class Turn:
    """A key on a lease that one node holds. Two that collect at once would do no harm, only the work twice."""

    def __init__(self, store: Metastore, node: str, key: bytes = system.COLLECTING) -> None:
        """Take turns in `store` as `node`, at the store of blobs that `key` stands for."""
        self._store = store
        self._node = node
        self._key = key

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[str]:
        """Take the turn, and keep it in the block; yields who has it, which is this node or another. Raises MetastoreError."""
        lease = (await self._store.lease_grant(pb.LeaseGrantRequest(TTL=TTL))).ID
        try:
            answer = await self._store.txn(
                pb.TxnRequest(
                    compare=[ops.absent(self._key)],
                    success=[ops.put(self._key, self._node.encode(), lease)],
                    failure=[ops.get(self._key)],
                )
            )
            if answer.succeeded:
                keeping = asyncio.create_task(self._keep(lease), name="collection-turn")
                try:
                    yield self._node
                finally:
                    keeping.cancel()
                    await asyncio.gather(keeping, return_exceptions=True)
            else:
                found = answer.responses[0].response_range.kvs
                yield found[0].value.decode("utf-8", "replace") if found else "another node"
        finally:
            with contextlib.suppress(MetastoreError):
                await self._store.lease_revoke(pb.LeaseRevokeRequest(ID=lease))

    async def _keep(self, lease: int) -> None:
        async def requests() -> AsyncIterator[pb.LeaseKeepAliveRequest]:
            while True:
                await asyncio.sleep(TTL / 3)
                yield pb.LeaseKeepAliveRequest(ID=lease)

        while True:
            with contextlib.suppress(MetastoreError):
                async for _ in self._store.lease_keep_alive(requests()):
                    pass
            await asyncio.sleep(TTL / 3)
