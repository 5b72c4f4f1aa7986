"""Connections are lent, kept, and closed when nobody needs them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from harness.records import Clock
from quartet_server.record_errors import DatabaseBusy
from quartet_server.records.connections import Connections


@pytest.fixture
def connections(clock: Clock) -> Connections:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.NullPool)
    return Connections(engine, limit=2, idle_seconds=30, patience=0.01, clock=clock)


def test_the_one_used_last_is_lent_first(connections: Connections) -> None:
    one, two = connections.take(), connections.take()
    connections.give(one)
    connections.give(two)
    assert connections.take() is two
    connections.give(two)
    connections.close()


def test_no_more_are_lent_than_there_may_be(connections: Connections) -> None:
    one, two = connections.take(), connections.take()
    with pytest.raises(DatabaseBusy) as refused:
        connections.take()
    assert refused.value.retry_after
    connections.give(one)
    assert connections.take() is one
    for lent in (one, two):
        connections.give(lent)
    connections.close()


def test_what_idles_too_long_is_closed(connections: Connections, clock: Clock) -> None:
    one, two = connections.take(), connections.take()
    connections.give(one)
    clock.now += 20
    connections.give(two)
    clock.now += 20
    connections.reap()
    assert (one.closed, two.closed, connections.idle) == (True, False, 1)
    connections.close()
    assert two.closed


def test_a_broken_one_takes_those_that_idle_along(connections: Connections) -> None:
    one, two = connections.take(), connections.take()
    connections.give(one)
    connections.give(two, broken=True)
    assert (one.closed, two.closed, connections.idle) == (True, True, 0)
    connections.give(connections.take(fresh=True))
    connections.close()


def test_one_that_cannot_be_opened_takes_no_place(clock: Clock) -> None:
    engine = sa.create_engine("sqlite:////no/such/folder/x", poolclass=sa.pool.NullPool)
    connections = Connections(engine, limit=1, idle_seconds=30, patience=0.01, clock=clock)
    for _ in range(3):
        with pytest.raises(sa.exc.OperationalError):
            connections.take()


def test_what_comes_back_after_the_end_is_closed(connections: Connections) -> None:
    one = connections.take()
    connections.close()
    connections.give(one)
    assert one.closed
