"""Medians over the rounds, as Markdown tables: `python benchmarks/report.py` renders what the programs here measured."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bars import Figures, Kind, bar, reached, wording
from rows import Row, quantiles
from session import RESULTS, facts

OURS, THEIRS, NOTHING = "raftmeta", "etcd", "no-op"
DISTURBED, LIMITED = 0.25, 0.95
LEGEND = (
    "rate (p50 / p99; server CPU per unit, all members). Ratios of rates: more is better; of times: less is. "
    "A ratio is told where neither side had an error."
)


@dataclass(frozen=True)
class Median:
    """One workload on one system: medians over the rounds; see Row for units."""

    rate: float
    p50: float
    p99: float
    cpu: float
    client: float
    client_cpu: float
    other: float
    errors: int
    error: str
    unit: str
    rounds: int
    samples: int
    passed: bool | None
    note: str


def medians(rows: Iterable[Row]) -> dict[str, dict[str, Median]]:
    """Return workload -> system -> medians; `other` is the worst round's, errors are summed, samples are pooled."""
    grouped: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row.workload][row.system].append(row)
    return {
        workload: {system: _median(some) for system, some in systems.items()} for workload, systems in grouped.items()
    }


def _median(some: list[Row]) -> Median:
    samples = [sample for row in some for sample in row.samples]
    verdicts = [row.passed for row in some if row.passed is not None]
    p50, p99 = statistics.median(row.p50 for row in some), statistics.median(row.p99 for row in some)
    if samples:
        p50, p99 = quantiles(samples)[0], max(samples)
    return Median(
        rate=statistics.median(row.rate for row in some),
        p50=p50,
        p99=p99,
        cpu=statistics.median(row.cpu for row in some),
        client=statistics.median(row.client for row in some),
        client_cpu=statistics.median(row.client_cpu for row in some),
        other=max(row.other for row in some),
        errors=sum(row.errors for row in some),
        error=next((row.error for row in some if row.errors), ""),
        unit=some[0].unit,
        rounds=len(some),
        samples=len(samples),
        passed=all(verdicts) if verdicts else None,
        note=some[-1].note,
    )


def _timed(workload: str) -> bool:
    return bar(workload).kind in (Kind.TIME, Kind.FAILOVER)


def ratio(workload: str, systems: dict[str, Median], other: str) -> float | None:
    """Return ours over the other's: of rates, or of median latencies where the load is given; None when one had errors."""
    if OURS not in systems or other not in systems or systems[OURS].errors or systems[other].errors:
        return None
    if bar(workload).kind is Kind.VERDICT:
        return None
    ours, theirs = ((m.p50 if _timed(workload) else m.rate) for m in (systems[OURS], systems[other]))
    return ours / theirs if theirs and ours else None


def cpu_ratio(systems: dict[str, Median]) -> float | None:
    """Return our server CPU per unit over etcd's; None when one had errors."""
    if OURS not in systems or THEIRS not in systems or systems[OURS].errors or systems[THEIRS].errors:
        return None
    ours, theirs = systems[OURS].cpu, systems[THEIRS].cpu
    return ours / theirs if ours and theirs else None


def figures(workload: str, systems: dict[str, Median]) -> Figures:
    """Return what the workload's bar is held against."""
    good = {name: median for name, median in systems.items() if not median.errors}
    ours, theirs, idle = good.get(OURS), good.get(THEIRS), good.get(NOTHING)
    return Figures(
        rates=(ours.rate if ours else None, theirs.rate if theirs else None, idle.rate if idle else None),
        times=(ours.p50 or None if ours else None, theirs.p50 or None if theirs else None),
        passed=ours.passed if ours else None,
    )


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _us(value: float) -> str:
    return f"{value:.1f} us" if value < 10 else f"{value:,.0f} us"


def _cell(workload: str, median: Median | None) -> str:
    if median is None:
        return "-"
    if median.errors:
        return f"errors: {median.errors}"
    if bar(workload).kind is Kind.VERDICT:
        return f"{'passes' if median.passed else 'FAILS'} ({median.rate:,.0f}/s, {median.note})"
    if bar(workload).kind is Kind.FAILOVER:
        return f"{median.p50 / 1000:.2f} s (max {median.p99 / 1000:.2f}, {median.samples} kills)"
    return f"{median.rate:,.0f}/s ({_ms(median.p50)} / {_ms(median.p99)} ms; {_us(median.cpu)})"


def _level(workload: str, level: float | None, systems: dict[str, Median]) -> str:
    met = reached(bar(workload), level, figures(workload, systems))
    mark = {True: " ✓", False: " ✗", None: " ?" if level is not None else ""}[met]
    return wording(bar(workload), level) + mark


def table(results: dict[str, dict[str, Median]], systems: Sequence[str]) -> str:
    """Return a Markdown table: each system's figures, our ratios, the bar and the stretch with a mark whether met."""
    head = ["workload", *systems]
    both = [(OURS, other) for other in (THEIRS, NOTHING) if OURS in systems and other in systems]
    compared = (OURS, THEIRS) in both
    head += [f"{ours} / {other}" for ours, other in both]
    head += ["CPU / etcd", "bar", "stretch"] if compared else []
    lines = [head]
    for workload, found in results.items():
        unit = next(iter(found.values())).unit
        line = [f"{workload} ({unit})", *(_cell(workload, found.get(system)) for system in systems)]
        for _, other in both:
            value = ratio(workload, found, other)
            line.append(f"{value:.2f}x{' time' if _timed(workload) else ''}" if value is not None else "-")
        if compared:
            cpu, wanted = cpu_ratio(found), bar(workload)
            line.append(f"{cpu:.2f}x" if cpu is not None else "-")
            line += [_level(workload, level, found) for level in (wanted.bar, wanted.stretch)]
        lines.append(line)
    return markdown(lines)


def markdown(lines: list[list[str]]) -> str:
    """Return a Markdown table, aligned; the first line is its head."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in ruled
    )


def remarks(results: dict[str, dict[str, Median]]) -> list[str]:
    """Return what a reader must know before believing the table: errors, rows disturbed by others, a client at its limit."""
    said = []
    disturbed: dict[str, list[float]] = defaultdict(list)
    for workload, found in results.items():
        for system, median in found.items():
            if median.errors:
                said.append(f"{workload} on {system}: errors: {median.errors}, no ratio; the first: {median.error}")
            if median.other > DISTURBED and bar(workload).kind is not Kind.VERDICT:
                disturbed[system].append(median.other)
            if median.client > LIMITED:
                said.append(f"{workload} on {system}: the client was at its limit ({median.client:.2f} cores)")
    for system, some in disturbed.items():
        said.append(f"{system}: others used up to {max(some):.2f} cores during {len(some)} workloads; measure again")
    return said


def client_costs(results: dict[str, dict[str, Median]]) -> str:
    """Return what the client itself spent per unit: it shares the machine with what it measures."""
    lines = [["client CPU", *(system for system in (THEIRS, OURS, NOTHING))]]
    for workload, found in results.items():
        cells = [
            f"{_us(found[s].client_cpu)}, {found[s].client:.2f} cores" if s in found and found[s].client else "-"
            for s in (THEIRS, OURS, NOTHING)
        ]
        if set(cells) != {"-"}:
            lines.append([workload, *cells])
    return markdown(lines) if len(lines) > 1 else ""


def missed(results: dict[str, dict[str, Median]]) -> list[str]:
    """Return the workloads whose bar is not reached, or cannot be told to be."""
    return [
        workload
        for workload, found in results.items()
        if bar(workload).bar is not None
        and reached(bar(workload), bar(workload).bar, figures(workload, found)) is not True
    ]


def render(document: dict[str, object]) -> str:
    """Return the whole report on a result file of meta.py."""
    rounds, about = document["rounds"], document["machine"]
    assert isinstance(rounds, list)
    assert isinstance(about, dict)
    rows = [Row(**row) for row in rounds]
    systems = [name for name in (THEIRS, OURS, NOTHING) if any(row.system == name for row in rows)]
    results = medians(rows)
    parts = [table(results, systems), LEGEND, facts(about), client_costs(results)]
    parts += ["\n".join(f"! {remark}" for remark in remarks(results))]
    if OURS in systems and THEIRS in systems:
        below = missed(results)
        parts.append(f"bars not met: {', '.join(below)}" if below else "every bar is met")
    return "\n\n".join(part for part in parts if part)


def main() -> int:
    """Print the reports on what has been measured; returns 1 when there is nothing."""
    import files  # each imports this module for its tables
    import growth
    import objects
    import recordbars
    import scale
    import soak

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--local", action="store_true", help="of the runs on this machine, not of the recorded ones")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args()
    renderers = {
        "meta": render,
        "files": files.render,
        "objects": objects.render,
        "records": recordbars.render,
        "scale": scale.render,
        "growth": growth.render,
        "soak": soak.render,
    }
    found = 0
    for name, renderer in renderers.items():
        path = options.results / f"{name}{'.local' if options.local else ''}.json"
        if path.exists():
            print(f"## {name}\n\n{renderer(json.loads(path.read_text()))}\n")
            found += 1
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
