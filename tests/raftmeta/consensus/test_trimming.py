"""The log is bounded in bytes as well: large entries are not kept by the hundred thousand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.simnet import CONFIG, Simulation


def _bytes(sim: Simulation, number: int) -> int:
    log = sim.core(number).log
    return sum(len(entry.data) for entry in log.entries(log.first_index, 1 << 30)) if log.last_term else 0


def test_large_entries_are_trimmed_before_there_are_many(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, log_bytes=20_000))
    for number in range(100):
        sim.put(f"k{number}", "v" * 1000)
    sim.settle()
    for number in sim.machines:
        assert 1000 < _bytes(sim, number) <= 22_000
        assert sim.core(number).counters.trims < 20  # in portions, not with every entry
    sim.restart(2)
    sim.put("last", "1")
    sim.settle()
    assert len(sim.machines[2].store.data) == 101


def test_what_was_applied_last_stays_in_the_log_however_large(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 1, config=replace(CONFIG, log_bytes=1000))
    sim.elect()
    for number in range(5):
        before = sim.core(1).last_applied
        sim.put(f"k{number}", "v" * 5000)
        assert sim.core(1).base_index <= before  # the state may fall back by one step when the power fails
    assert sim.core(1).base_index > 1


def test_what_is_not_durable_in_the_state_stays_in_the_log(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 1, config=replace(CONFIG, log_bytes=1000, snapshot_entries=10, tail_entries=2))
    core, store = sim.elect(), sim.machines[1].store
    sim.put("first", "1")
    durable = store.applied()
    store.durable = lambda: durable  # type: ignore[method-assign]
    for number in range(50):
        sim.put(f"k{number}", "v" * 100)
    assert core.base_index == durable[0]
    core.trim(core.last_applied)
    assert core.base_index == durable[0]
    del store.durable
    sim.put("last", "1")
    assert core.base_index > durable[0] + 30


def test_entries_needed_after_a_snapshot_are_kept_for_it(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, log_bytes=5_000, snapshot_timeout=2.0))
    leader = sim.elect(1)
    sim.run(0.1)
    leader.trim_floor = leader.last_applied
    for number in range(20):
        sim.put(f"k{number}", "v" * 1000)
    assert leader.base_index == leader.trim_floor
    leader.trim_floor = None
    sim.put("last", "1")
    assert _bytes(sim, 1) <= 5_000
