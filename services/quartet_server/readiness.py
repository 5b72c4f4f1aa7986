"""Whether the node can do its work: a leader is known, what was committed before the start is applied, the lag is small."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore
from raftmeta.node import Node as Member

MAX_LAG = 5_000
"""Committed entries not yet applied, above which reads here would be too old to be useful."""
STARTING = "starting"
STOPPING = "shutting down"

_log = structlog.get_logger("quartet.node")


class Condition(Protocol):
    """Where the answer comes from."""

    interval: float
    """Seconds between two looks."""

    async def look(self) -> str:
        """Return why the node is not ready, or an empty string."""


class MemberCondition:
    """A member of the cluster: ready once a linearizable read was answered, and while it knows a leader and keeps up."""

    interval = 0.2

    def __init__(self, member: Member) -> None:
        """Watch `member`."""
        self._member = member
        self._confirmed = False

    async def look(self) -> str:
        """Return why the member is not ready; waits at most a second for the first confirmation."""
        if not self._confirmed:
            try:
                await self._member.ready(1.0)
            except MetastoreError as error:
                return f"not caught up: {error.text}"
            self._confirmed = True
        status = self._member.status()
        if status.leader_id == 0:
            return "no leader is known"
        lag = status.commit_index - status.applied_index
        return f"{lag} committed entries are not applied" if lag > MAX_LAG else ""


class StoreCondition:
    """An external store: ready while it answers."""

    interval = 1.0

    def __init__(self, store: Metastore) -> None:
        """Ask `store`."""
        self._store = store

    async def look(self) -> str:
        """Return why the store does not answer."""
        try:
            await self._store.range(pb.RangeRequest(key=b"/system/", count_only=True))
        except MetastoreError as error:
            return f"the metadata store does not answer: {error.text}"
        return ""


class Readiness:
    """Looks at the condition again and again and tells whoever must know.

    Attributes:
        reason: Why the node is not ready; empty when it is.
    """

    def __init__(self) -> None:
        """Not ready until `start` has found that it is."""
        self.reason = STARTING
        self._ready = asyncio.Event()
        self._tell: Callable[[bool], Awaitable[None]] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, condition: Condition, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Begin looking at `condition`; `tell` is awaited with the verdict after every look."""
        self._tell = tell
        self._task = asyncio.create_task(self._run(condition), name="readiness")

    async def wait(self) -> None:
        """Wait until the node is ready."""
        await self._ready.wait()

    async def stop(self) -> None:
        """Say that the node is shutting down, for good."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._set(STOPPING)

    async def _run(self, condition: Condition) -> None:
        while True:
            await self._set(await condition.look())
            await asyncio.sleep(condition.interval)

    async def _set(self, reason: str) -> None:
        if self.reason and not reason:
            _log.info("ready")
        elif reason and not self.reason and reason != STOPPING:
            _log.warning("not ready", reason=reason)
        self.reason = reason
        if reason:
            self._ready.clear()
        else:
            self._ready.set()
        if self._tell is not None:
            await self._tell(not reason)
