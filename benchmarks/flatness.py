"""Whether a figure stays where it is: the second half of a run, its last quarter beside the one before."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a figure may grow from the third to the last quarter.

    Attributes:
        ratio: Last quarter over third, at most.
        of: "mean", "median", or "highest" for figures that rise and fall like a saw's teeth.
        slack: Growth in the figure's own unit that is never too much: it is next to nothing.
    """

    ratio: float
    of: str
    slack: float


LIMITS = {
    "anonymous": Limit(1.05, "mean", 1.0),
    "resident": Limit(1.05, "mean", 2.0),
    "descriptors": Limit(1.0, "highest", 2.0),
    "threads": Limit(1.0, "highest", 2.0),
    "log": Limit(1.1, "highest", 1.0),
    "store": Limit(1.1, "highest", 1.0),
    "p50": Limit(1.25, "median", 1.0),
    "p99": Limit(1.5, "median", 5.0),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure of one member.

    Attributes:
        figure: Its name.
        member: The member's number.
        mean: Over the second half.
        highest: Over the second half.
        slope: Of a line through the second half, per hour, as a share of its mean.
        ratio: Last quarter over third.
        flat: It is bounded by its limit.
    """

    figure: str
    member: int
    mean: float
    highest: float
    slope: float
    ratio: float
    flat: bool


def verdict(figure: str, member: int, times: Sequence[float], line: Sequence[float | None]) -> Verdict:
    """Judge a line of samples at `times` in seconds, gaps left out; one without four samples in its half is not flat."""
    end = times[-1] if times else 0.0
    half = [(t, v) for t, v in zip(times, line, strict=True) if v is not None and t > end / 2]
    third = [v for t, v in half if t <= 0.75 * end]
    last = [v for t, v in half if t > 0.75 * end]
    if len(third) < 2 or len(last) < 2:
        return Verdict(figure, member, 0.0, 0.0, 0.0, 0.0, False)
    values, limit = [v for _, v in half], LIMITS[figure]
    mean = statistics.fmean(values)
    before, after = _measured(third, limit.of), _measured(last, limit.of)
    line_slope = statistics.linear_regression([t for t, _ in half], values).slope
    slope = line_slope * HOUR / mean if mean else 0.0
    ratio = after / before if before else 1.0
    return Verdict(figure, member, mean, max(values), slope, ratio, after <= before * limit.ratio + limit.slack)


def _measured(values: Sequence[float], of: str) -> float:
    return max(values) if of == "highest" else statistics.median(values) if of == "median" else statistics.fmean(values)
