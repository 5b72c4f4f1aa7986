"""Notices that a member was removed from its cluster, at once or long afterwards, so that its process can end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import grpc

from raftmeta.consensus.contract import Status
from raftmeta.drivers.remote import cluster_members
from raftmeta.errors import MetastoreError
from raftmeta.node import Node

_MARK = "removed"
_INTERVAL = 2.0
_TIMEOUT = 5.0


class RemovedError(Exception):
    """The member belongs to its cluster no more; the message says so and what to do about it."""

    def __init__(self, data_dir: Path) -> None:
        """Say so."""
        super().__init__(
            f"this member was removed from the cluster; to have it back, remove {data_dir}, add a member and start it with"
            " --join; otherwise nothing is left to do"
        )


def was_removed(data_dir: Path) -> bool:
    """Whether the member of a directory found out, in an earlier run, that it was removed."""
    return (data_dir / _MARK).exists()


def forget_removal(data_dir: Path) -> None:
    """Let the member of a directory start again: it is to be a cluster of its own."""
    (data_dir / _MARK).unlink(missing_ok=True)


class Removal:
    """Watches one member; belongs to its event loop.

    Its own log tells it when it is there to hear. A member that was down meanwhile is refused by all the others without a
    word: while it knows no leader it asks them who the members are, if it ever heard where they take calls.
    """

    def __init__(
        self, node: Node, credentials: Callable[[], grpc.ChannelCredentials | None], removed: Callable[[], None]
    ) -> None:
        """Prepare; `credentials` are for others' gRPC ports, `removed` is called once, on the loop."""
        self._node = node
        self._credentials = credentials
        self._tell = removed
        self._belonged = False
        self._told = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._look(self._node.status())
        self._node.on_status(self._look)
        self._task = asyncio.get_running_loop().create_task(self._ask_for_ever(), name="removal")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _look(self, status: Status) -> None:
        """Compare with the membership in force; a member that catches up after joining is not in it yet."""
        if status.member_id in status.members:
            self._belonged = True
        elif self._belonged and status.members:
            self._removed()

    def _removed(self) -> None:
        if not self._told:
            self._told = True
            (self._node.config.data_dir / _MARK).touch()
            self._tell()

    async def _ask_for_ever(self) -> None:
        while not self._told:
            await asyncio.sleep(_INTERVAL)
            status = self._node.status()
            others = [
                one.client_address
                for one in status.members.values()
                if one.id != status.member_id and one.client_address
            ]
            if status.leader_id or not others:
                continue
            with contextlib.suppress(MetastoreError, TimeoutError):
                async with asyncio.timeout(_TIMEOUT):
                    cluster, members = await cluster_members(others, self._credentials(), _INTERVAL)
                if cluster == self._node.identity.cluster_id and status.member_id not in {one.ID for one in members}:
                    self._removed()
