"""Work that one node of the cluster does at a time: whoever holds a key, which hangs on a lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from quartet_server.errors import QuartetError
from quartet_server.meta import ops
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

TTL = 5
"""Seconds without a renewal after which another node takes over."""
_log = structlog.get_logger("quartet.tenure")


class Tenure:
    """Does some work for ever, on one node at a time.

    A node that was asleep may believe for a moment that it still holds the key: a write of the work that must not be done
    twice compares `guard`, or something that the work itself writes.
    """

    def __init__(self, store: Metastore, key: bytes, holder: bytes, ttl: int = TTL) -> None:
        """Hold `key`, whose value is `holder`, in `store`; `ttl` in seconds. Nothing happens before `start`."""
        self._store = store
        self._key = key
        self._holder = holder
        self._ttl = ttl
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Callable[[pb.Compare], Awaitable[None]]) -> None:
        """Begin to try; `work` is given the comparison that holds while the key is held, and cancelled when it is lost."""
        self._task = asyncio.get_running_loop().create_task(self._run(work), name=f"tenure {self._key.decode()}")

    async def close(self) -> None:
        """Stop the work and let go of the key, if the store listens."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, work: Callable[[pb.Compare], Awaitable[None]]) -> None:
        while True:
            try:
                if (lease := await self._free()) is not None:
                    await self._serve(lease, work)
            except (MetastoreError, QuartetError) as error:
                _log.debug("work is postponed", key=self._key.decode(), reason=str(error))
            except Exception:  # noqa: BLE001 - a fault of the work must not end it for ever
                _log.exception("work failed", key=self._key.decode())
            await asyncio.sleep(self._ttl / 4)

    async def _free(self) -> int | None:
        """Return a new lease if nobody holds the key, as far as this node knows."""
        held = await self._store.range(pb.RangeRequest(key=self._key, count_only=True, serializable=True))
        if held.count:
            return None
        return (await self._store.lease_grant(pb.LeaseGrantRequest(TTL=self._ttl))).ID

    async def _serve(self, lease: int, work: Callable[[pb.Compare], Awaitable[None]]) -> None:
        """Take the key and work until it is lost, or the work ends."""
        try:
            taken = await self._store.txn(
                pb.TxnRequest(compare=[ops.absent(self._key)], success=[ops.put(self._key, self._holder, lease)])
            )
            if not taken.succeeded:
                return
            guard = ops.created(self._key, taken.header.revision)
            tasks = {asyncio.ensure_future(work(guard)), asyncio.ensure_future(self._renew(lease))}
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                    raise outcome
        finally:
            with contextlib.suppress(MetastoreError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._store.lease_revoke(pb.LeaseRevokeRequest(ID=lease))

    async def _renew(self, lease: int) -> None:
        """Renew until the lease is gone. Raises MetastoreError."""

        async def requests() -> AsyncIterator[pb.LeaseKeepAliveRequest]:
            while True:
                yield pb.LeaseKeepAliveRequest(ID=lease)
                await asyncio.sleep(self._ttl / 3)

        async for answer in self._store.lease_keep_alive(requests()):
            if answer.TTL <= 0:
                return
