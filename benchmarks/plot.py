"""Line charts over time as plain SVG, one panel below the other; no library needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 900, 130, 70, 130, 34, 30
COLOURS = ("#0b62a4", "#c8501e", "#2e8540", "#7a4fa3", "#8a6d00", "#555555")


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart.

    Attributes:
        title: What is shown, with its unit.
        lines: Label to samples, as many as there are times; None is a gap.
    """

    title: str
    lines: Mapping[str, Sequence[float | None]]


def nice_top(highest: float) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `highest`; 1 for nothing."""
    if highest <= 0 or not math.isfinite(highest):
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= highest * (1 - 1e-9))


def runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Return the stretches without a gap, as positions and values."""
    found: list[list[tuple[int, float]]] = [[]]
    for position, value in enumerate(values):
        if value is None:
            found.append([])
        else:
            found[-1].append((position, value))
    return [run for run in found if run]


def svg(title: str, seconds: Sequence[float], panels: Sequence[Panel]) -> str:
    """Return an SVG document with one chart per panel over the same `seconds`, which only grow."""
    height = TOP + len(panels) * (HEIGHT + GAP + 20) + 20
    end = max([*seconds, 1.0])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="11" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, seconds, end, TOP + number * (HEIGHT + GAP + 20) + 20)
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, seconds: Sequence[float], end: float, top: float) -> list[str]:
    highest = max((v for line in panel.lines.values() for v in line if v is not None), default=0.0)
    ceiling, inner = nice_top(highest), WIDTH - LEFT - RIGHT

    def across(time: float) -> float:
        return LEFT + inner * time / end

    def down(value: float) -> float:
        return top + HEIGHT * (1 - value / ceiling)

    parts = [f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{escape(panel.title)}</text>']
    for step in range(5):
        value = ceiling * step / 4
        y = down(value)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + inner}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.4g}</text>')
    for step in range(5):
        time = end * step / 4
        label = f"{time / 60:.3g} min" if end >= 120 else f"{time:.3g} s"
        parts.append(
            f'<text x="{across(time):.1f}" y="{top + HEIGHT + 15}" text-anchor="middle" fill="#666">{label}</text>'
        )
    for number, (label, values) in enumerate(panel.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        for run in runs(values):
            points = " ".join(f"{across(seconds[i]):.1f},{down(value):.1f}" for i, value in run)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
        parts.append(
            f'<text x="{LEFT + inner + 8}" y="{top + 12 + 15 * number}" fill="{colour}">{escape(label)}</text>'
        )
    return parts
