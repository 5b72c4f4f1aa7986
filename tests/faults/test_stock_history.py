"""Stock pysyncobj loses acknowledged writes (P2) and reads stale values (P13); the search over its histories says so."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from faults.checks import linearizable
from faults.stock_group import StockGroup
from harness.stock import stock_clock

__all__ = ["stock_clock"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # stock leaves things open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
Advance = Callable[[float], None]


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Have what stock leaves open closed while its warnings are expected."""
    yield
    gc.collect()


def written(group: StockGroup) -> None:
    """Let "a" lead and write three values, which "b" gets and "c" does not."""
    group.elect("a")
    group.cut = {"c"}
    for value in (b"1", b"2", b"3"):
        group.put("a", value)
    assert [operation.outcome.value for operation in group.history.operations] == ["ok"] * 3


def test_a_history_of_stock_without_faults_passes(stock_clock: Advance) -> None:
    group = StockGroup(stock_clock)
    written(group)
    group.cut = {"a"}
    group.elect("b")
    assert group.get("b") == b"3"
    group.put("b", b"4")
    group.elect("c")
    assert group.get("c") == b"4"
    found = linearizable.check(group.history)
    assert (found.violations, found.gave_up, found.judged) == ([], [], 6)


def test_the_search_catches_stock_when_an_old_append_takes_acknowledged_writes(stock_clock: Advance) -> None:
    group = StockGroup(stock_clock)
    written(group)
    first = next(
        sent for sent in group.sent if sent[1] == "b" and any(b"1" in entry[0] for entry in sent[2].get("entries", ()))
    )
    group.arrive(first)  # once more, late
    group.cut = {"a"}
    group.elect("b")
    group.elect("c")
    assert group.get("c") == b"1"
    [violation] = linearizable.check(group.history).violations
    assert "no order of the calls makes sense" in violation.text
    assert "read 'register'" in violation.text


def test_the_search_catches_stock_when_a_leader_that_was_cut_off_reads(stock_clock: Advance) -> None:
    group = StockGroup(stock_clock)
    group.elect("a")
    group.put("a", b"1")
    group.cut = {"a"}
    group.elect("b")
    group.put("b", b"2")
    assert group.get("a") == b"1"
    assert [violation.check for violation in linearizable.check(group.history).violations] == ["not linearizable"]
