"""Lease times on the leader, with a clock that the test turns."""

from __future__ import annotations

import pytest

from raftmeta.lessor import Lessor
from raftmeta.machine import LeaseRecord
from raftmeta.v1 import command_pb2


class Log:
    """Collects what a lessor proposes."""

    def __init__(self) -> None:
        self.commands: list[command_pb2.Command] = []

    def __call__(self, command: command_pb2.Command) -> None:
        self.commands.append(command)

    def take(self) -> list[tuple[str, int, dict[int, int]]]:
        """Return and forget (kind, keyspace, lease -> ttl) of what was proposed; ttl 0 for a revocation."""
        taken = []
        for command in self.commands:
            if command.WhichOneof("change") == "lease_revoke":
                taken.append(("revoke", command.space, {command.lease_revoke.ID: 0}))
            else:
                taken.append(("record", command.space, {one.id: one.ttl for one in command.lease_checkpoint.leases}))
        self.commands.clear()
        return taken


@pytest.fixture
def log() -> Log:
    return Log()


def _leading(log: Log, **leases: LeaseRecord) -> Lessor:
    lessor = Lessor(log, checkpoint_interval=300)
    lessor.lead([((0, int(name[1:])), record) for name, record in leases.items()], now=100.0)
    return lessor


def test_a_lease_is_revoked_when_its_time_is_over_and_not_before(log: Log) -> None:
    lessor = _leading(log)
    lessor.granted((1, 7), 10, now=100.0)
    lessor.tick(109.9)
    assert log.take() == []
    lessor.tick(110.0)
    assert log.take() == [("revoke", 1, {7: 0})]


def test_a_revocation_that_did_not_happen_is_proposed_again(log: Log) -> None:
    lessor = _leading(log, l7=LeaseRecord(10, 0))
    lessor.tick(111)
    lessor.tick(112)
    assert len(log.take()) == 1
    lessor.tick(115)
    assert log.take() == [("revoke", 0, {7: 0})]
    lessor.ended((0, 7))
    lessor.tick(130)
    assert log.take() == []


def test_a_renewal_gives_the_full_time_again(log: Log) -> None:
    lessor = _leading(log, l7=LeaseRecord(10, 0))
    assert lessor.renew((0, 7), now=105.0) == 10
    lessor.tick(114.0)
    assert log.take() == []
    assert lessor.remaining((0, 7), 114.0) == 1.0
    lessor.tick(115.0)
    assert log.take() == [("revoke", 0, {7: 0})]


def test_an_expired_or_unknown_lease_is_not_renewed(log: Log) -> None:
    lessor = _leading(log, l7=LeaseRecord(10, 0))
    assert lessor.renew((0, 7), now=110.0) == 0
    assert lessor.renew((0, 8), now=101.0) == 0
    assert lessor.renew((1, 7), now=101.0) == 0


def test_a_new_leader_gives_full_time_or_what_was_recorded(log: Log) -> None:
    lessor = _leading(log, l1=LeaseRecord(1000, 0), l2=LeaseRecord(1000, 50))
    assert lessor.remaining((0, 1), 100.0) == 1000
    assert lessor.remaining((0, 2), 100.0) == 50


def test_long_leases_are_recorded_and_the_record_corrected_before_a_renewal(log: Log) -> None:
    lessor = _leading(log, l1=LeaseRecord(1000, 0), l2=LeaseRecord(200, 0))
    assert lessor.correction((0, 1)) is None
    lessor.tick(299.0)
    log.take()
    lessor.tick(400.0)
    assert ("record", 0, {1: 700}) in log.take()
    correction = lessor.correction((0, 1))
    assert correction is not None
    assert [(one.id, one.ttl) for one in correction.command.lease_checkpoint.leases] == [(1, 1000)]
    lessor.corrected((0, 1), correction.serial)
    assert lessor.correction((0, 1)) is None
    assert lessor.renew((0, 1), 401.0) == 1000


def test_a_record_made_while_a_correction_is_on_its_way_is_corrected_too(log: Log) -> None:
    lessor = _leading(log, l1=LeaseRecord(1000, 0))
    lessor.tick(400.0)
    first = lessor.correction((0, 1))
    assert first is not None
    lessor.tick(700.0)
    assert log.take() == [("record", 0, {1: 700}), ("record", 0, {1: 400})]
    lessor.corrected((0, 1), first.serial)
    second = lessor.correction((0, 1))
    assert second is not None
    lessor.corrected((0, 1), second.serial)
    assert lessor.correction((0, 1)) is None


def test_a_follower_counts_nothing(log: Log) -> None:
    lessor = _leading(log, l1=LeaseRecord(10, 0))
    lessor.follow()
    lessor.granted((0, 2), 5, now=100.0)
    lessor.tick(1000.0)
    assert (len(lessor), log.take(), lessor.renew((0, 1), 100.0)) == (0, [], 0)


def test_revocations_come_in_bounded_portions(log: Log) -> None:
    lessor = Lessor(log, checkpoint_interval=300)
    lessor.lead((((0, i), LeaseRecord(2, 0)) for i in range(1, 2501)), now=0.0)
    portions = []
    for tick in range(4):
        lessor.tick(2.0 + tick / 10)
        portions.append(len(log.take()))
    assert portions == [1000, 1000, 500, 0]
