"""What trees of files must reach, and how their figures are told: files.py's tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from report import DISTURBED, LIMITED, Median, markdown

OURS = "quartet"
OTHERS = ("etcd", "redis", "ext4", "no-op", "no-op, own")
LEGEND = (
    "rate (p50 / p99 of a call; CPU per unit of the servers + of the client). Ratios are ours over theirs, of rates: more is "
    "better. etcd is used without a server in between: its client keeps the same keys and directories in mind. ext4 is this "
    "machine's file system, in the client's process, each change synced."
)
Found = dict[str, dict[str, Median]]


@dataclass(frozen=True, slots=True)
class Bar:
    """What one of our rates must reach.

    Attributes:
        ours: Our workload.
        theirs: What it is held against.
        system: On which system.
        least: Least ratio of the rates.
    """

    ours: str
    theirs: str
    system: str
    least: float

    def ratio(self, found: Found) -> float | None:
        """Return ours over theirs; None when either was not measured or had errors."""
        ours, theirs = found.get(self.ours, {}).get(OURS), found.get(self.theirs, {}).get(self.system)
        if ours is None or theirs is None or ours.errors or theirs.errors or not theirs.rate:
            return None
        return ours.rate / theirs.rate

    def __str__(self) -> str:
        other = f"{self.theirs} of {self.system}" if self.theirs != self.ours else self.system
        return f"{self.ours}: >= {self.least:g}x {other}"


_SHARED, _EACH = "8 clients, a shared directory", "8 clients, a directory each"
BARS = (
    Bar(f"create, {_SHARED}, 1 node", f"create, {_SHARED}, 1 node", "etcd", 1.2),
    Bar(f"create, {_EACH}, 1 node", f"create, {_EACH}, 1 node", "etcd", 1.2),
    Bar(f"stat many, {_SHARED}, 1 node", f"stat, {_SHARED}, 1 node", "etcd", 3.0),
    Bar(f"stat, {_SHARED}, 1 node", f"stat, {_SHARED}, 1 node", "no-op", 0.7),
    Bar(f"create, {_SHARED}, 3 nodes", f"create, {_SHARED}, 3 nodes", "etcd", 1.0),
    Bar(f"create, {_EACH}, 3 nodes", f"create, {_EACH}, 3 nodes", "etcd", 1.0),
    Bar(f"create many, {_SHARED}, 3 nodes", f"create, {_SHARED}, 3 nodes", OURS, 5.0),
)


def verdicts(found: Found) -> str:
    """Return a line for each bar: what it asks, what was reached, and whether that is enough."""
    lines = []
    for bar in BARS:
        ratio = bar.ratio(found)
        told = "?" if ratio is None else f"{ratio:.2f}x {'✓' if ratio >= bar.least else '✗'}"
        lines.append(f"- {bar}: {told}")
    return "\n".join(lines)


def table(found: Found, nodes: str) -> str:
    """Return a Markdown table of the workloads on so many nodes; empty when there are none."""
    some = {name.removesuffix(f", {nodes}"): systems for name, systems in found.items() if name.endswith(f", {nodes}")}
    others = [other for other in OTHERS if any(other in systems for systems in some.values())]
    lines = [[nodes, OURS, *others, *(f"/ {other}" for other in others)]]
    for name, systems in some.items():
        unit = next(iter(systems.values())).unit
        line = [f"{name} ({unit})", *(_cell(systems.get(system)) for system in (OURS, *others))]
        for other in others:
            ratio = Bar(f"{name}, {nodes}", f"{name}, {nodes}", other, 0).ratio(found)
            line.append("-" if ratio is None else f"{ratio:.2f}x")
        lines.append(line)
    return markdown(lines) if len(lines) > 1 else ""


def _cell(median: Median | None) -> str:
    if median is None:
        return "-"
    if median.errors:
        return f"errors: {median.errors}"
    return f"{median.rate:,.0f}/s ({median.p50:.2f} / {median.p99:.2f} ms; {_us(median.cpu)} + {_us(median.client_cpu)} us)"


def _us(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def remarks(found: Found) -> list[str]:
    """Return what a reader must know before believing the tables: errors, disturbances, a client at its limit."""
    said = []
    disturbed: dict[str, list[float]] = defaultdict(list)
    limited: dict[str, int] = defaultdict(int)
    for workload, systems in found.items():
        for system, median in systems.items():
            if median.errors:
                said.append(f"{workload} on {system}: errors: {median.errors}, no ratio; the first: {median.error}")
            if median.other > DISTURBED and system != "ext4":
                disturbed[system].append(median.other)
            limited[system] += median.client > LIMITED and system != "ext4"
    for system, some in disturbed.items():
        said.append(f"{system}: others used up to {max(some):.2f} cores during {len(some)} workloads; measure again")
    said += [
        f"{system}: the client was at its limit in {times} workloads" for system, times in limited.items() if times
    ]
    return said
