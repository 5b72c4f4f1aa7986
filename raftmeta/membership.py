"""The cluster's members: listed from the log, changed through the leader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from raftmeta.consensus.contract import Consensus, Member, Refusal
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.forwarding import FAULTS, Forwarder

_ADD, _REMOVE, _UPDATE, _PROMOTE, _PUBLISH, _TRANSFER = (
    f"member-{verb}" for verb in ("add", "remove", "update", "promote", "publish", "transfer")
)
_POLL = 0.01

Change = Callable[[Callable[[int | Refusal], None]], None]


def _encode(member: Member) -> bytes:
    return pb.Member(
        ID=member.id,
        name=member.name,
        peerURLs=[member.peer_address],
        clientURLs=[member.client_address],
        isLearner=member.learner,
    ).SerializeToString()


def _decode(payload: bytes) -> Member:
    told = pb.Member.FromString(payload)
    return Member(told.ID, told.name, told.peerURLs[0], told.clientURLs[0], told.isLearner)


class Membership:
    """Membership changes from any member; belongs to the event loop."""

    def __init__(
        self, consensus: Consensus, forwarder: Forwarder, loop: asyncio.AbstractEventLoop, timeout: float
    ) -> None:
        """Compose; `timeout` in seconds is the deadline of a change."""
        self._consensus = consensus
        self._forwarder = forwarder
        self._loop = loop
        self._timeout = timeout
        forwarder.serve(_ADD, self._on_add)
        forwarder.serve(_REMOVE, self._on_remove)
        forwarder.serve(_UPDATE, self._on_update)
        forwarder.serve(_PROMOTE, self._on_promote)
        forwarder.serve(_PUBLISH, self._on_publish)
        forwarder.serve(_TRANSFER, self._on_transfer)

    def list(self) -> list[Member]:
        """Return the members as this node knows them, by id."""
        return [member for _, member in sorted(self._consensus.status().members.items())]

    async def add(self, member: Member) -> None:
        """Add a voter or learner. Raises MEMBER_EXISTS, PEER_URL_EXISTS, NOT_ENOUGH_STARTED, TOO_MANY_LEARNERS."""
        await self._change(_ADD, _encode(member))

    async def remove(self, member_id: int) -> None:
        """Remove a member. Raises MEMBER_NOT_FOUND, NOT_ENOUGH_STARTED.

        An id never comes back, so that a removal may be asked for again: when the leader dies over it, or is the member
        to be removed.
        """
        known = member_id in self._consensus.status().members
        deadline = self._loop.time() + self._timeout
        while True:
            try:
                return await self._change(_REMOVE, member_id.to_bytes(8), repeatable=True)
            except MetastoreError as error:
                if error.fault is Fault.MEMBER_NOT_FOUND and known:
                    return
                if error.fault is not Fault.TOO_MANY_REQUESTS or self._loop.time() > deadline:
                    raise
            await asyncio.sleep(_POLL)

    async def update(self, member_id: int, peer_address: str) -> None:
        """Change where a member takes Raft connections. Raises MEMBER_NOT_FOUND, PEER_URL_EXISTS."""
        await self._change(_UPDATE, member_id.to_bytes(8) + peer_address.encode())

    async def promote(self, member_id: int) -> None:
        """Give a learner its vote. Raises MEMBER_NOT_FOUND, NOT_LEARNER, LEARNER_NOT_READY."""
        await self._change(_PROMOTE, member_id.to_bytes(8))

    async def publish(self, name: str, client_address: str, peer_address: str = "") -> None:
        """Tell the others this node's name and client address, unless they know; tries until its deadline.

        `peer_address` counts only for a node that had no Raft port so far: it stands in the log without one.
        """
        status = self._consensus.status()
        me = status.members.get(status.member_id)
        if me is None:
            return
        told = replace(me, name=name, client_address=client_address)
        if ":" not in me.peer_address and peer_address:
            told = replace(told, peer_address=peer_address)
        if told != me:
            await self._change(_PUBLISH, _encode(told))

    async def transfer(self, member_id: int) -> int:
        """Hand leadership to `member_id` (0: the best follower); returns the new leader's id.

        Raises NOT_LEADER, BAD_LEADER_TRANSFEREE, TIMEOUT.
        """
        return await self._settled(lambda done: self._consensus.transfer_leadership(member_id, done))

    async def hand_over(self, member_id: int) -> int:
        """Have the leader, whichever member that is, do what `transfer` does here. Raises BAD_LEADER_TRANSFEREE, TIMEOUT."""
        return int.from_bytes(await self._forwarder.ask(_TRANSFER, member_id.to_bytes(8), repeatable=False))

    async def _change(self, method: str, payload: bytes, *, repeatable: bool = False) -> None:
        """Have the leader make a change and wait until this node knows of it."""
        index = int.from_bytes(await self._forwarder.ask(method, payload, repeatable=repeatable))
        deadline = self._loop.time() + self._timeout
        while self._consensus.status().applied_index < index and self._loop.time() < deadline:  # noqa: ASYNC110 - status is polled
            await asyncio.sleep(_POLL)

    async def _settled(self, change: Change) -> int:
        future: asyncio.Future[int | Refusal] = self._loop.create_future()

        def resolve(told: int | Refusal) -> None:
            if not future.done():
                future.set_result(told)

        def done(told: int | Refusal) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(resolve, told)

        change(done)
        try:
            async with asyncio.timeout(self._timeout):
                told = await future
        except TimeoutError:
            raise MetastoreError(Fault.TIMEOUT) from None
        if isinstance(told, Refusal):
            raise MetastoreError(FAULTS[told])
        return told

    def _known(self, member_id: int) -> Member:
        member = self._consensus.status().members.get(member_id)
        if member is None:
            raise MetastoreError(Fault.MEMBER_NOT_FOUND)
        return member

    async def _on_add(self, payload: bytes) -> bytes:
        member = _decode(payload)
        return (await self._settled(lambda done: self._consensus.add_member(member, done))).to_bytes(8)

    async def _on_remove(self, payload: bytes) -> bytes:
        member = self._known(int.from_bytes(payload))
        return (await self._settled(lambda done: self._consensus.remove_member(member.id, done))).to_bytes(8)

    async def _on_update(self, payload: bytes) -> bytes:
        known = self._known(int.from_bytes(payload[:8]))
        member = replace(known, peer_address=payload[8:].decode())
        others = (other.peer_address for other in self.list() if other.id != member.id)
        if member.peer_address in others:
            raise MetastoreError(Fault.PEER_URL_EXISTS)
        return (await self._settled(lambda done: self._consensus.update_member(member, done))).to_bytes(8)

    async def _on_promote(self, payload: bytes) -> bytes:
        member = self._known(int.from_bytes(payload))
        return (await self._settled(lambda done: self._consensus.promote_member(member.id, done))).to_bytes(8)

    async def _on_publish(self, payload: bytes) -> bytes:
        told = _decode(payload)
        member = replace(self._known(told.id), name=told.name, client_address=told.client_address)
        if ":" not in member.peer_address:
            member = replace(member, peer_address=told.peer_address)
        return (await self._settled(lambda done: self._consensus.update_member(member, done))).to_bytes(8)

    async def _on_transfer(self, payload: bytes) -> bytes:
        return (await self.transfer(int.from_bytes(payload))).to_bytes(8)
