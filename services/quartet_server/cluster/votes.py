"""Gives nodes that joined their vote, as soon as they have caught up."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from quartet_server.cluster.members import ClusterMember
from quartet_server.meta import system
from quartet_server.meta.snapshot import Snapshot
from raftmeta.consensus.contract import Role
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

_LOOK = 0.25
_log = structlog.get_logger("quartet.cluster")


class Votes:
    """Runs on every node and acts on the leader's, while there are learners."""

    def __init__(self, store: Metastore, member: ClusterMember) -> None:
        """Find in `store` who waits for a vote; nothing happens before `start`."""
        self._store = store
        self._member = member
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._member.on_status(lambda _: self._changed.set())
        self._task = asyncio.get_running_loop().create_task(self._run(), name="cluster-votes")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            status = self._member.status()
            learners = [one for one in status.members.values() if one.learner]
            if learners and status.role is Role.LEADER:
                try:
                    await self._promote([one.id for one in learners])
                except MetastoreError as error:
                    _log.debug("a vote is postponed", reason=error.text)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await self._changed.wait()
            else:
                await self._changed.wait()

    async def _promote(self, learners: list[int]) -> None:
        """Promote who waits for it and is ready. Raises MetastoreError."""
        waiting = await Snapshot(self._store).get([system.vote(number) for number in learners])
        for number in learners:
            if system.vote(number) not in waiting:
                continue
            try:
                await self._member.membership.promote(number)
            except MetastoreError as error:
                if error.fault is Fault.LEARNER_NOT_READY:
                    continue
                raise
            await self._store.delete_range(pb.DeleteRangeRequest(key=system.vote(number)))
            _log.info("a node has caught up and votes", member=f"{number:016x}")
