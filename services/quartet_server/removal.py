"""Notices that this node was removed from its cluster, at once or long afterwards, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import grpc

from raftmeta.consensus.contract import Status
from raftmeta.drivers.remote import cluster_members
from raftmeta.errors import MetastoreError
from raftmeta.node import Node as Member

_MARK = "removed"
_INTERVAL = 2.0
_TIMEOUT = 5.0


class Removed(Exception):  # noqa: N818 - it says what happened
    """The node is no member of its cluster any more.

    Attributes:
        hint: What to do about it.
    """

    def __init__(self, data_dir: Path) -> None:
        """Say so."""
        super().__init__("this node was removed from the cluster")
        self.hint = (
            f"to have it back: quartet node token, remove {data_dir}, quartet serve --join TOKEN; otherwise nothing is left"
            " to do"
        )


def refuse_removed(data_dir: Path) -> None:
    """Do not start what was told before that it was removed. Raises Removed."""
    if (data_dir / _MARK).exists():
        raise Removed(data_dir)


class Removal:
    """Watches one member.

    Its own log tells it when it is there to hear. A node that was down meanwhile is refused by all the others without a
    word: while it knows no leader it asks them who the members are.
    """

    def __init__(
        self,
        member: Member,
        credentials: Callable[[], grpc.ChannelCredentials | None],
        data_dir: Path,
        tell: Callable[[BaseException], None],
    ) -> None:
        """Prepare; `credentials` are for others' gRPC ports, `tell` gets a `Removed` once."""
        self._member = member
        self._credentials = credentials
        self._data_dir = data_dir
        self._tell = tell
        self._belonged = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._look(self._member.status())
        self._member.on_status(self._look)
        self._task = asyncio.get_running_loop().create_task(self._ask_for_ever(), name="removal")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _look(self, status: Status) -> None:
        """Compare with the membership in force; a node that catches up after joining is not in it yet."""
        if status.member_id in status.members:
            self._belonged = True
        elif self._belonged and status.members:
            self._removed()

    def _removed(self) -> None:
        self._belonged = False
        (self._data_dir / _MARK).touch()
        self._tell(Removed(self._data_dir))

    async def _ask_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            status = self._member.status()
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
                if cluster == self._member.identity.cluster_id and status.member_id not in {one.ID for one in members}:
                    self._removed()
                    return
