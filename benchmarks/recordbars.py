"""What the ledger is compared with, how good it must be, and the report."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import session
from rows import Row

OURS, BARE, NOTHING, OWN = "quartet", "bare", "no-op", "no-op, own"


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio that must hold.

    Attributes:
        workload: Ours.
        other: The system it is compared with.
        ratio: The least ratio of rates; with `slower` the largest one of medians.
        slower: Medians of latencies are compared, not rates.
        plus: A system whose median for the same workload is added to the other's.
    """

    workload: str
    other: str
    ratio: float
    slower: bool = False
    plus: str = ""


BARS = (
    Bar("append, unary, 64 clients", NOTHING, 0.6),
    Bar("append, a stream of rows", BARE, 2.0),
    Bar("append, a stream of batches", BARE, 0.5),
    Bar("list, pages of 1,000", BARE, 0.25),
    Bar("get, 1 client", NOTHING, 2.0, slower=True),
    Bar("search, 100,000 events", BARE, 1.5, slower=True, plus=NOTHING),
)
ALONE, FLOODED = "append, 200 a second", "append, 200 a second, agents flooded"
FLAT = 1.5
"""How much more the rows behind a million may cost than the first ten thousand."""


def judged(bar: Bar, found: Mapping[tuple[str, str], Sequence[Row]], get: Sequence[Row]) -> tuple[float, bool] | None:
    """Return the ratio of a bar and whether it holds; None where one of the two was not measured, or had errors."""
    ours, others = found.get((bar.workload, OURS), ()), found.get((bar.workload, bar.other), ())
    if not ours or not others or any(row.errors for row in (*ours, *others)):
        return None
    if not bar.slower:
        ratio = _median(ours, "rate") / _median(others, "rate")
        return ratio, ratio >= bar.ratio
    allowance = _median(others, "p50") * bar.ratio + (_median(get, "p50") if bar.plus and get else 0.0)
    return _median(ours, "p50") / _median(others, "p50"), _median(ours, "p50") <= allowance


def _median(rows: Sequence[Row], what: str) -> float:
    return float(statistics.median(getattr(row, what) for row in rows))


def render(document: Mapping[str, object]) -> str:
    """Return the report on a result file: a table for each database, and the facts."""
    rounds, about = document["rounds"], document["machine"]
    assert isinstance(rounds, list)
    assert isinstance(about, dict)
    every = [Row(**row) for row in rounds]
    parts = []
    for database in dict.fromkeys(row.note for row in every):
        rows = [row for row in every if row.note == database]
        found: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            found.setdefault((row.workload, row.system), []).append(row)
        parts.append(_table(database, found))
    told = "Rate, median latency of a call, CPU of the server a unit; medians over the rounds."
    return "\n\n".join([*parts, told, session.facts(about)])


def _table(database: str, found: Mapping[tuple[str, str], Sequence[Row]]) -> str:
    lines = [f"| {database} | {OURS} | compared with | ratio | bar |", "|---|---|---|---|---|"]
    get = found.get(("get, 1 client", NOTHING), ())
    for workload in dict.fromkeys(name for name, _ in found):
        bar = next((one for one in BARS if one.workload == workload), None)
        other = found.get((workload, bar.other), ()) if bar else ()
        ratio = wanted = ""
        if bar is not None and (verdict := judged(bar, found, get)) is not None:
            ratio = f"{verdict[0]:.2f}x" + (" the time" if bar.slower else "")
            sign = "<=" if bar.slower else ">="
            plus = f" + {bar.plus}" if bar.plus else ""
            wanted = f"{sign} {bar.ratio}x{plus} {'met' if verdict[1] else 'missed'}"
        told = f"{bar.other}: {_cell(other)}" if bar and other else ""
        if own := found.get((workload, OWN), ()):
            told += f"; on our own server: {_cell(own)}"
        lines.append(f"| {workload} | {_cell(found.get((workload, OURS), ()))} | {told} | {ratio} | {wanted} |")
    lines += _flatness(found)
    if (alone := found.get((ALONE, OURS), ())) and (flooded := found.get((FLOODED, OURS), ())):
        before, after = _median(alone, "p99"), _median(flooded, "p99")
        lines += [
            "",
            f"Beside a flood of turns on agents, the 99th percentile of appends: {before:.1f} -> {after:.1f} ms, {after / before:.2f}x.",
        ]
    return "\n".join(lines)


def _flatness(found: Mapping[tuple[str, str], Sequence[Row]]) -> list[str]:
    sizes = {name: _median(rows, "rate") for (name, system), rows in found.items() if name.startswith("rows at ")}
    if len(sizes) < 2:
        return []
    spread = max(sizes.values()) / min(sizes.values())
    return [
        "",
        f"Cost of a row within {spread:.2f}x over all sizes (bar {FLAT}x {'met' if spread <= FLAT else 'missed'}).",
    ]


def _cell(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    if errors := sum(row.errors for row in rows):
        return f"{errors} errors: {next(row.error for row in rows if row.errors)}"
    cpu = _median(rows, "cpu")
    return f"{_median(rows, 'rate'):,.0f} {rows[0].unit}/s ({_median(rows, 'p50'):.2f} ms" + (
        f"; {cpu:,.0f} us)" if cpu else ")"
    )
