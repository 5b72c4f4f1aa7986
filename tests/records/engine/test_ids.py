"""UUIDv7 that sort as they were drawn."""

from __future__ import annotations

import secrets
import uuid

import pytest
from harness.records import Clock
from quartet_server.records.ids import Ids


@pytest.mark.parametrize("step", [0.0, 0.0001, 0.001, 5.0, -3.0], ids=str)
def test_each_sorts_behind_the_one_before_whatever_the_clock_does(step: float) -> None:
    clock = Clock()
    ids = Ids(clock, secrets.token_bytes)
    drawn = []
    for _ in range(2000):
        drawn.append(ids())
        clock.now += step
    assert drawn == sorted(set(drawn))


def test_an_id_is_a_uuid_of_version_7_and_bears_its_time() -> None:
    made = uuid.UUID(Ids(Clock(1_700_000_000.123), secrets.token_bytes)())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123


def test_two_processes_at_the_same_moment_draw_different_ids() -> None:
    clock = Clock()
    assert len({Ids(clock, secrets.token_bytes)() for _ in range(1000)}) == 1000
