"""A run from its plan to its report: phases one after the other, each judged when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from faults.catalogue import MAKERS, Maker
from faults.checks.judging import judge
from faults.history_file import save
from faults.phase import Say, play
from faults.plan import Phase, planned
from faults.report import Report

_BUDGET = 200_000
"""Nodes that the search for an order may look at in a phase: some seconds; usually it needs one per operation."""


def run(
    seed: int, duration: float, phases: Sequence[Phase], directory: Path, say: Say, makers: Mapping[str, Maker] = MAKERS
) -> Report:
    """Play all phases below `directory`, which keeps data, logs and histories; `say` is told what goes on.

    Raises DiskLayerUnavailable where the disk layer cannot be had, and whatever is a fault of the harness itself.
    """
    report = Report(seed, duration, planned(phases))
    for number, phase in enumerate(phases):
        place = directory / f"phase-{number + 1}"
        place.mkdir(parents=True)
        told = asyncio.run(play(phase, seed + number, place, say, makers))
        save(told.history, place / "history.jsonl")
        verdict = judge(told.history, budget=_BUDGET)
        say("judged " + ", ".join(f"{count} {name}" for name, count in verdict.counts.items()))
        for text in verdict.gave_up:  # the other checks have judged these calls too
            say(f"the search gave up: {text}")
        report.add(told, [f"phase {number + 1}: {violation}" for violation in verdict.violations])
    return report
