"""What the harness asks of members beside the workload: who leads, who belongs, whether all hold the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from faults.cluster import Cluster
from grpc import aio

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs

LONG = 90.0
"""Seconds within which whatever is awaited has to come true; only a cluster that is broken takes so long."""
_POLL = 0.05
T = TypeVar("T")


class NotReached(Exception):  # noqa: N818
    """What was awaited did not come true within its deadline; the message says what it was."""


async def reach(what: str, question: Callable[[], Awaitable[T | None]], timeout: float = LONG) -> T:
    """Ask again and again until the answer is not None; returns it. Raises NotReached after `timeout` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        answer = await question()
        if answer is not None:
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise NotReached(f"{what}: not within {timeout:.0f} s")
        await asyncio.sleep(_POLL)


class Observer:
    """Asks the members of one cluster.

    Attributes:
        terms: Leader (member id) by term, as told by whoever was asked: two leaders of a term are a violation.
        violations: What was seen that must not be.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Ask the members of `cluster`."""
        self._cluster = cluster
        self._channels: dict[str, aio.Channel] = {}
        self.terms: dict[int, int] = {}
        self.violations: list[str] = []

    def channel(self, member: int) -> aio.Channel:
        """An open channel to a member."""
        endpoint = self._cluster.endpoints[member]
        if endpoint not in self._channels:
            options = [("grpc.max_reconnect_backoff_ms", 300), ("grpc.min_reconnect_backoff_ms", 100)]
            options += [("grpc.initial_reconnect_backoff_ms", 100)]
            self._channels[endpoint] = self._cluster.channel(member, options)
        return self._channels[endpoint]

    async def status(self, member: int, timeout: float = 2.0) -> pb.StatusResponse | None:
        """What a member says of itself; None when it does not answer."""
        try:
            told: pb.StatusResponse = await stubs.MaintenanceStub(self.channel(member)).Status(
                pb.StatusRequest(), timeout=timeout
            )
        except (grpc.RpcError, aio.UsageError):
            return None
        if told.leader and told.raftTerm:
            known = self.terms.setdefault(told.raftTerm, told.leader)
            if known != told.leader:
                self.violations.append(f"term {told.raftTerm} has two leaders: {known:x} and {told.leader:x}")
        return told

    async def leader(self, *, among: list[int] | None = None, above: int = 0, timeout: float = LONG) -> tuple[int, int]:
        """Wait for a member that says it leads, in a term above `above`; returns (its number, the term)."""

        async def ask() -> tuple[int, int] | None:
            members = self._cluster.running() if among is None else among
            told = await asyncio.gather(*(self.status(member) for member in members))
            found = [
                (one.raftTerm, member)
                for member, one in zip(members, told, strict=True)
                if one is not None and one.leader == one.header.member_id != 0 and one.raftTerm > above
            ]
            return (max(found)[1], max(found)[0]) if found else None

        return await reach("a leader", ask, timeout)

    async def member_id(self, member: int) -> int:
        """The Raft id of a member that runs."""

        async def ask() -> int | None:
            told = await self.status(member)
            return told.header.member_id if told is not None else None

        return await reach(f"{self._cluster.names[member]} answers", ask)

    async def ready(self, *members: int) -> None:
        """Wait until linearizable reads are answered by each of `members` (by default all that run)."""

        async def ask(member: int) -> bool | None:
            try:
                await stubs.KVStub(self.channel(member)).Range(pb.RangeRequest(key=b"ready"), timeout=3)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.DATA_LOSS:
                    raise
                return None
            return True

        for member in members or self._cluster.running():
            name = self._cluster.names[member]
            await reach(f"{name} answers linearizable reads", lambda member=member: ask(member))  # type: ignore[misc]

    async def operate(self, what: str, call: Callable[[aio.Channel], Awaitable[T]]) -> T:
        """Make an administrator's call on one member after the other until one does it. Raises NotReached.

        The call must bear repetition: it may have been done by one whose answer was lost.
        """

        async def ask() -> T | None:
            for member in self._cluster.running():
                try:
                    return await call(self.channel(member))
                except grpc.RpcError:
                    continue
            return None

        return await reach(what, ask)

    async def members(self) -> dict[str, pb.Member]:
        """The membership by peer address, linearizably."""
        told = await self.operate(
            "the list of members",
            lambda channel: stubs.ClusterStub(channel).MemberList(pb.MemberListRequest(linearizable=True), timeout=5),
        )
        return {member.peerURLs[0].split("://")[-1]: member for member in told.members}

    async def hashes(self) -> dict[str, tuple[int, int]]:
        """(revision, HashKV) of every running member once all have the same revision; nobody may write meanwhile."""

        async def ask() -> dict[str, tuple[int, int]] | None:
            found = {}
            for member in self._cluster.running():
                try:
                    told = await stubs.MaintenanceStub(self.channel(member)).HashKV(pb.HashKVRequest(), timeout=20)
                except grpc.RpcError:
                    return None
                found[self._cluster.names[member]] = (told.header.revision, told.hash)
            return found if len({revision for revision, _ in found.values()}) == 1 else None

        return await reach("all members have the same revision", ask)

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close()
