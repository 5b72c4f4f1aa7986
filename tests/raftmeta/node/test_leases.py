"""Leases over a real state machine, when leadership is lost at the wrong moment; the test turns clock and log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from google.protobuf.message import Message
from harness.machines import Feed, machine

from raftmeta.consensus.contract import Entry, Role, Status
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.forwarding import Forwarder
from raftmeta.leases import Leases
from raftmeta.machine import Machine
from raftmeta.proposer import Proposer
from raftmeta.reads import ReadGate
from raftmeta.v1 import command_pb2

LEASE = (0).to_bytes(4) + (7).to_bytes(8)


class World:
    """Everything a `Leases` is given but the machine: a clock, a log, a gate that is always open, its own handlers."""

    def __init__(self, fed: Machine) -> None:
        self.machine = fed
        self.now = 100.0
        self.submitted: list[tuple[command_pb2.Command, asyncio.Future[Message]]] = []
        self.handlers: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}
        self.due: list[Callable[[], None]] = []
        self.leases = Leases(
            fed,
            cast(Proposer, self),
            cast(ReadGate, self),
            cast(Forwarder, self),
            cast(asyncio.AbstractEventLoop, self),
            300.0,
        )

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        self.due.append(work)
        return asyncio.get_running_loop().call_later(0, lambda: None)

    def serve(self, method: str, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        self.handlers[method] = handler

    async def confirmed(self) -> None:
        return

    def submit(self, command: command_pb2.Command) -> asyncio.Future[Message]:
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.submitted.append((command, future))
        return future

    def lead(self, role: Role, term: int) -> None:
        self.leases.status_changed(Status(1, role, term, 1, 0, 0, 0, {}))

    def tick(self, seconds: float) -> list[command_pb2.Command]:
        """Let time pass, then the timers act; returns what was proposed."""
        self.now += seconds
        due, self.due = self.due, []
        for work in due:
            work()
        return [command for command, _ in self.submitted]

    def apply(self, command: command_pb2.Command, term: int) -> None:
        """Apply a command as an entry of `term`."""
        index = self.machine.applied()[0] + 1
        batch = command_pb2.Batch(client=9, sequence=index, commands=[command])
        self.machine.apply([Entry(index, term, batch.SerializeToString())])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with machine(tmp_path) as opened:
        assert isinstance(Feed(opened)(pb.LeaseGrantRequest(ID=7, TTL=1000)), pb.LeaseGrantResponse)
        yield World(opened)


@pytest.mark.parametrize(("term", "left"), [(4, []), (5, [7]), (6, [7])])
async def test_a_leader_that_was_suspended_revokes_nothing_in_the_next_leaders_term(
    world: World, term: int, left: list[int]
) -> None:
    world.lead(Role.LEADER, 4)
    (revocation,) = world.tick(2000.0)
    assert revocation.lease_revoke.ID == 7
    world.apply(revocation, term)
    assert list(world.machine.leases(0)) == left


async def test_a_record_of_the_last_leader_does_not_shorten_a_lease_that_the_next_one_renewed(world: World) -> None:
    world.lead(Role.LEADER, 4)
    (record,) = world.tick(400.0)
    world.apply(record, 5)
    assert world.machine.leases(0)[7].remaining == 0
    world.apply(record, 4)
    assert world.machine.leases(0)[7].remaining == 600


async def test_a_record_that_is_applied_after_the_election_is_corrected_before_a_renewal(world: World) -> None:
    world.lead(Role.LEADER, 4)
    steps = Feed(world.machine).steps
    record = command_pb2.LeaseCheckpoint(leases=[command_pb2.LeaseCheckpoint.Remaining(id=7, ttl=5)])
    world.apply(command_pb2.Command(lease_checkpoint=record), 3)
    world.leases.applied(steps[-1].changes)
    renewal = asyncio.ensure_future(world.handlers["lease-renew"](LEASE))
    await asyncio.sleep(0)
    ((correction, done),) = world.submitted
    assert (correction.term, correction.lease_checkpoint.leases[0].ttl) == (4, 1000)
    done.set_result(pb.LeaseCheckpointResponse())
    assert int.from_bytes(await renewal) == 1000


async def test_a_renewal_that_outlasts_the_leadership_is_not_answered_as_a_lease_that_is_gone(world: World) -> None:
    world.lead(Role.LEADER, 4)
    world.tick(400.0)
    world.submitted.clear()
    renewal = asyncio.ensure_future(world.handlers["lease-renew"](LEASE))
    await asyncio.sleep(0)
    ((_, done),) = world.submitted
    world.lead(Role.FOLLOWER, 5)
    done.set_result(pb.LeaseCheckpointResponse())
    with pytest.raises(MetastoreError) as refused:
        await renewal
    assert refused.value.fault is Fault.NOT_LEADER
