"""The plan of faults is a pure function that leaves nothing out."""

from __future__ import annotations

import pytest
from faults.catalogue import KINDS, MAKERS
from faults.plan import CLEAR, SIZES, Kind, plan, planned


@pytest.mark.parametrize("duration", [20.0, 120.0, 600.0])
@pytest.mark.parametrize("seed", [0, 1, 99])
def test_the_same_seed_and_duration_give_the_same_plan(seed: int, duration: float) -> None:
    assert plan(seed, duration, KINDS) == plan(seed, duration, KINDS)
    assert plan(seed, duration, KINDS) != plan(seed + 1, duration, KINDS)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("duration", [120.0, 600.0])
def test_two_minutes_are_enough_for_every_kind_on_every_size(seed: int, duration: float) -> None:
    phases = plan(seed, duration, KINDS)
    assert {phase.size for phase in phases} == set(SIZES)
    assert set(planned(phases)) == set(KINDS)
    assert min(planned(phases).values()) == duration // 300 or duration < 300
    assert sum(phase.seconds for phase in phases) < duration


@pytest.mark.parametrize("seed", range(40))
def test_steps_are_possible_in_order_and_within_their_limits(seed: int) -> None:
    for phase in plan(seed, 600, KINDS):
        at = 0.0
        for step in phase.steps:
            kind = KINDS[step.kind]
            assert kind.fits(phase.size, phase.secure)
            assert kind.dwell[0] - 0.01 <= step.dwell <= kind.dwell[1] + 0.01
            assert step.at >= at - 0.01
            assert step.weather == CLEAR or (kind.weather and phase.size > 1)
            at = step.at + step.dwell
        assert phase.steps


@pytest.mark.parametrize("duration", [1.0, 15.0, 60.0])
def test_a_run_that_is_too_short_for_all_kinds_has_some_in_every_phase(duration: float) -> None:
    seen: set[str] = set()
    for seed in range(30):
        phases = plan(seed, duration, KINDS)
        assert all(phase.steps for phase in phases)
        seen |= set(planned(phases))
    assert duration < 60 or seen == set(KINDS), "by seed every kind has its turn"
    assert len(seen) > 5


@pytest.mark.parametrize("duration", [120.0, 600.0])
def test_one_cluster_of_three_speaks_tls_where_others_of_several_members_do_not(duration: float) -> None:
    assert [phase.size for phase in plan(1, duration, KINDS) if phase.secure] == [3]
    assert not any(phase.secure for phase in plan(1, 60.0, KINDS, [3]))


def test_only_kinds_that_a_size_can_have_are_planned_for_it() -> None:
    kinds = {"alone": Kind("alone", frozenset({1}), (1, 2), 1), "many": Kind("many", frozenset({3}), (1, 2), 1)}
    assert set(planned(plan(1, 30, kinds, [1]))) == {"alone"}
    assert set(planned(plan(1, 30, kinds, [3]))) == {"many"}
    with pytest.raises(ValueError, match="no kind"):
        plan(1, 30, kinds, [5])


def test_every_planned_kind_can_be_made() -> None:
    assert set(KINDS) == set(MAKERS)
    assert len({type(MAKERS[kind]()) for kind in KINDS}) > 10
