"""Medians over the rounds, as a table for people and JSON for programs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workloads import Row

OURS, THEIRS, NOTHING = "raftmeta", "etcd", "no-op"
TIMED = ("watch", "failover")
"""Workloads whose load is given: compared by their median latency, where less is better."""


@dataclass(frozen=True)
class Median:
    """One workload on one system: medians over the rounds."""

    rate: float
    p50: float
    p99: float
    cpu: float
    client: float
    other: float
    errors: int
    error: str
    unit: str
    rounds: int


def medians(rows: Iterable[Row]) -> dict[str, dict[str, Median]]:
    """Return workload -> system -> medians; `other` is the worst round's, errors are summed."""
    grouped: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row.workload][row.system].append(row)
    return {
        workload: {
            system: Median(
                rate=statistics.median(row.rate for row in some),
                p50=statistics.median(row.p50 for row in some),
                p99=statistics.median(row.p99 for row in some),
                cpu=statistics.median(row.cpu for row in some),
                client=statistics.median(row.client for row in some),
                other=max(row.other for row in some),
                errors=sum(row.errors for row in some),
                error=next((row.error for row in some if row.errors), ""),
                unit=some[0].unit,
                rounds=len(some),
            )
            for system, some in systems.items()
        }
        for workload, systems in grouped.items()
    }


def ratio(workload: str, systems: dict[str, Median], other: str) -> float | None:
    """Return ours over the other's: of rates, or of median latencies where the load is given; None when one had errors."""
    if OURS not in systems or other not in systems or systems[OURS].errors or systems[other].errors:
        return None
    timed = workload.startswith(TIMED)
    ours, theirs = ((m.p50 if timed else m.rate) for m in (systems[OURS], systems[other]))
    return ours / theirs if theirs else None


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _cell(workload: str, median: Median | None) -> str:
    if median is None:
        return "-"
    if median.errors:
        return f"{median.errors} errors"
    if workload.startswith("failover"):
        return f"{median.p50 / 1000:.2f} s (max {median.p99 / 1000:.2f})"
    return f"{median.rate:,.0f}/s ({_ms(median.p50)} / {_ms(median.p99)} ms; {median.cpu:,.0f} us)"


def table(results: dict[str, dict[str, Median]], systems: Sequence[str]) -> str:
    """Return a Markdown table, aligned: rate (p50 / p99; server CPU per unit) of each system and our ratios."""
    head = ["workload", *systems]
    both = [(OURS, other) for other in (THEIRS, NOTHING) if OURS in systems and other in systems]
    head += [f"{ours} / {other}" for ours, other in both]
    lines = [head]
    for workload, found in results.items():
        unit = next(iter(found.values())).unit
        line = [f"{workload} ({unit})", *(_cell(workload, found.get(system)) for system in systems)]
        for _, other in both:
            value = ratio(workload, found, other)
            timed = " time" if workload.startswith(TIMED) else ""
            line.append(f"{value:.2f}x{timed}" if value is not None else "-")
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def remarks(results: dict[str, dict[str, Median]]) -> list[str]:
    """Return what a reader must know before believing the table: errors, rows disturbed by others, a client at its limit."""
    said = []
    for workload, found in results.items():
        for system, median in found.items():
            if median.errors:
                said.append(f"{workload} on {system}: {median.errors} errors, no ratio; the first: {median.error}")
            if median.other > 0.25:
                said.append(
                    f"{workload} on {system}: others used up to {median.other:.2f} cores meanwhile; measure again"
                )
            if median.client > 0.95:
                said.append(f"{workload} on {system}: the client was at its limit ({median.client:.2f} cores)")
    return said
