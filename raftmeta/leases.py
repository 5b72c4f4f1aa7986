"""Leases as a member serves them: granted through the log, renewed and timed by the leader."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from raftmeta.config import SPACES
from raftmeta.consensus.contract import Role, Status
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.forwarding import Forwarder
from raftmeta.lessor import MIN_TTL, Key, Lessor
from raftmeta.machine import Machine
from raftmeta.machine.applied import SpaceChange
from raftmeta.proposer import Proposer
from raftmeta.reads import ReadGate
from raftmeta.v1 import command_pb2

_RENEW, _REMAINING = "lease-renew", "lease-remaining"
_TICK = 0.5


def _encode(space: int, lease: int) -> bytes:
    return space.to_bytes(4) + (lease & (1 << 64) - 1).to_bytes(8)


def _decode(payload: bytes) -> Key:
    return int.from_bytes(payload[:4]), int.from_bytes(payload[4:12], signed=True)


class Leases:
    """What this member does for leases; belongs to the event loop."""

    def __init__(
        self,
        machine: Machine,
        proposer: Proposer,
        gate: ReadGate,
        forwarder: Forwarder,
        loop: asyncio.AbstractEventLoop,
        checkpoint_interval: float,
        random_id: Callable[[], int] = lambda: secrets.randbits(62) | 1,
    ) -> None:
        """Compose; `random_id` draws positive ids for leases whose caller names none."""
        self._machine = machine
        self._proposer = proposer
        self._gate = gate
        self._forwarder = forwarder
        self._loop = loop
        self._random_id = random_id
        self._lessor = Lessor(self._propose, checkpoint_interval)
        self._term = 0
        self._timer: asyncio.TimerHandle | None = None
        forwarder.serve(_RENEW, self._renew)
        forwarder.serve(_REMAINING, self._remaining)

    @property
    def counted(self) -> int:
        """Leases this member counts: all of them when it leads, none otherwise."""
        return len(self._lessor)

    async def grant(self, space: int, request: pb.LeaseGrantRequest) -> pb.LeaseGrantResponse:
        """Create a lease; draws an id, and another one while it is taken, when the caller gives none."""
        command = command_pb2.Command(space=space)
        command.lease_grant.TTL = max(request.TTL, MIN_TTL)
        command.lease_grant.ID = request.ID or self._random_id()
        answer = await self._proposer.submit(command)
        assert isinstance(answer, pb.LeaseGrantResponse)
        return answer

    async def revoke(self, space: int, request: pb.LeaseRevokeRequest) -> pb.LeaseRevokeResponse:
        """End a lease and its keys."""
        command = command_pb2.Command(space=space, lease_revoke=request)
        answer = await self._proposer.submit(command)
        assert isinstance(answer, pb.LeaseRevokeResponse)
        return answer

    async def renew(self, space: int, lease: int) -> int:
        """Give a lease its full time again; returns it in seconds, 0 when the lease is gone."""
        return int.from_bytes(await self._forwarder.ask(_RENEW, _encode(space, lease), repeatable=True))

    async def time_to_live(self, space: int, request: pb.LeaseTimeToLiveRequest) -> pb.LeaseTimeToLiveResponse:
        """Tell how long a lease lives, by the leader's count; its keys are read here, linearizably."""
        answer = pb.LeaseTimeToLiveResponse(ID=request.ID, TTL=-1)
        told = await self._forwarder.ask(_REMAINING, _encode(space, request.ID), repeatable=True)
        if told:
            if request.keys:
                await self._gate.confirmed()
                answer.keys.extend(self._machine.lease_keys(space, request.ID))
            answer.TTL = int.from_bytes(told[:8])
            answer.grantedTTL = int.from_bytes(told[8:])
        answer.header.revision = self._machine.revisions(space)[0]
        return answer

    async def list(self, space: int) -> pb.LeaseLeasesResponse:
        """List the leases, linearizably."""
        await self._gate.confirmed()
        answer = pb.LeaseLeasesResponse(leases=[pb.LeaseStatus(ID=lease) for lease in self._machine.leases(space)])
        answer.header.revision = self._machine.revisions(space)[0]
        return answer

    def status_changed(self, status: Status) -> None:
        """Begin to count when this node came to lead, stop when it does not lead any more."""
        if status.role is not Role.LEADER:
            self._lessor.follow()
        elif not self._lessor.leading or self._term != status.term:
            self._term = status.term
            leases = (
                ((space, lease), record) for space in SPACES for lease, record in self._machine.leases(space).items()
            )
            self._lessor.lead(leases, self._loop.time())
            if self._timer is None:
                self._timer = self._loop.call_later(_TICK, self._tick)

    def applied(self, changes: dict[int, SpaceChange]) -> None:
        """Follow what the log did to leases."""
        if not self._lessor.leading:
            return
        now = self._loop.time()
        for space, change in changes.items():
            for lease in change.revoked:
                self._lessor.ended((space, lease))
            for lease, ttl in change.granted.items():
                self._lessor.granted((space, lease), ttl, now)
            for lease, left in change.checkpointed.items():
                self._lessor.recorded((space, lease), left)

    def stop(self) -> None:
        """Count no more."""
        self._lessor.follow()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        if self._lessor.leading:
            self._lessor.tick(self._loop.time())
            self._timer = self._loop.call_later(_TICK, self._tick)

    def _propose(self, command: command_pb2.Command) -> None:
        """Put into the log, if this leader's; what fails is tried again when it is still due.

        Without the term, one that was suspended would have the next leader revoke what was renewed there.
        """
        command.term = self._term
        self._proposer.submit(command).add_done_callback(_seen)

    async def _renew(self, payload: bytes) -> bytes:
        """Renew on the leader, once a quorum confirmed that it leads: a deposed leader must not promise time."""
        key = _decode(payload)
        await self._gate.confirmed()
        if not self._lessor.leading:
            raise MetastoreError(Fault.NOT_LEADER)
        self._adopt(key)
        while (correction := self._lessor.correction(key)) is not None:
            correction.command.term = self._term
            await self._proposer.submit(correction.command)
            self._lessor.corrected(key, correction.serial)
        if not self._lessor.leading:  # not any more: that it counts nothing does not mean that the lease is gone
            raise MetastoreError(Fault.NOT_LEADER)
        return self._lessor.renew(key, self._loop.time()).to_bytes(8)

    async def _remaining(self, payload: bytes) -> bytes:
        key = _decode(payload)
        await self._gate.confirmed()
        record = self._machine.lease(*key)
        if record is None:
            return b""
        if not self._lessor.leading:
            raise MetastoreError(Fault.NOT_LEADER)
        self._adopt(key)
        left = self._lessor.remaining(key, self._loop.time()) or 0.0
        return max(int(left), 0).to_bytes(8) + record.ttl.to_bytes(8)

    def _adopt(self, key: Key) -> None:
        """Count a lease whose grant was applied but not yet told to this loop."""
        if self._lessor.remaining(key, 0.0) is None:
            record = self._machine.lease(*key)
            if record is not None:
                self._lessor.granted(key, record.ttl, self._loop.time())


def _seen(future: asyncio.Future[Any]) -> None:
    """Take note of a failure, so that nobody reports it as forgotten."""
    if not future.cancelled():
        future.exception()
