"""What each workload must reach beside etcd, and what would be good: the bar and the stretch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a workload is compared."""

    RATE = "rate"
    """Ours over etcd's; more is better."""
    TIME = "time"
    """Ours over etcd's median latency, where the load is given; less is better."""
    FAILOVER = "failover"
    """Median seconds, and not above etcd's; less is better."""
    VERDICT = "verdict"
    """It passes or it does not."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One workload's.

    Attributes:
        kind: How it is compared.
        bar: What must be reached; None where the design sets nothing.
        stretch: What would be good.
        idle: Alternative for a rate: this much of the server that does nothing, where that is less than the bar.
    """

    kind: Kind
    bar: float | None = None
    stretch: float | None = None
    idle: float | None = None


FAILOVER = "failover, kill -9 of the leader"
BARS = {
    "put, 1 in flight": Bar(Kind.RATE, 1.0, 1.5),
    "put, 64": Bar(Kind.RATE, 0.7, 1.0),
    "txn of 100 puts, 16": Bar(Kind.RATE, 1.0, 1.5),
    "txn of 100 puts, 64": Bar(Kind.RATE, 1.0, 1.5),
    "compare-and-set, 64": Bar(Kind.RATE, 1.0, 1.5),
    "linearizable range, 1": Bar(Kind.RATE, 0.7, 1.0),
    "linearizable range, 64": Bar(Kind.RATE, 0.6, 1.0),
    "serializable range, 64": Bar(Kind.RATE, 0.5, 1.0, idle=0.8),
    "prefix range of 100 keys, 64": Bar(Kind.RATE, 1.0, 1.5),
    "watch, 100 watchers on 10 streams, 50 puts/s": Bar(Kind.TIME, 1.0, 0.5),
    "check perf, s": Bar(Kind.VERDICT, 1.0),
    "check perf, m": Bar(Kind.VERDICT, 1.0),
    FAILOVER: Bar(Kind.FAILOVER, 1.0, 0.5),
}


def bar(workload: str) -> Bar:
    """Return a workload's bar; for one that the design says nothing about, how it is compared."""
    if workload in BARS:
        return BARS[workload]
    return Bar(Kind.TIME if workload.startswith("watch") else Kind.RATE)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a bar is held against; None for what was not measured or had errors.

    Attributes:
        rates: Units per second: ours, etcd's, the idle server's.
        times: Median milliseconds: ours, etcd's.
        passed: Our verdict.
    """

    rates: tuple[float | None, float | None, float | None] = (None, None, None)
    times: tuple[float | None, float | None] = (None, None)
    passed: bool | None = None


def reached(bar: Bar, level: float | None, figures: Figures) -> bool | None:
    """Tell whether `level` (the bar's or the stretch) is reached; None when that cannot be told, or nothing is asked."""
    if level is None:
        return None
    if bar.kind is Kind.VERDICT:
        return figures.passed
    ours, theirs = figures.times
    if bar.kind is Kind.FAILOVER:
        return None if ours is None or theirs is None else ours <= min(1000 * level, theirs)
    if bar.kind is Kind.TIME:
        return None if ours is None or not theirs else ours / theirs <= level
    rate, other, idle = figures.rates
    if rate is None or not other:
        return None
    wanted = level * other
    if bar.idle is not None and level == bar.bar and idle:
        wanted = min(wanted, bar.idle * idle)
    return rate >= wanted


def wording(bar: Bar, level: float | None) -> str:
    """Return a level as the table shows it."""
    if level is None:
        return "-"
    if bar.kind is Kind.VERDICT:
        return "passes"
    if bar.kind is Kind.FAILOVER:
        return f"<= {level:.1f} s, <= etcd"
    if bar.kind is Kind.TIME:
        return f"<= {level:.1f}x"
    alternative = f" or {bar.idle:.1f}x no-op" if bar.idle is not None and level == bar.bar else ""
    return f">= {level:.1f}x{alternative}"
