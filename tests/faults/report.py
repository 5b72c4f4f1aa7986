"""What a run came to: the line of JSON it ends with, and whether that is good."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from faults.phase import Told
from faults.workload.calling import summary


@dataclass(slots=True)
class Report:
    """The sum of all phases.

    Attributes:
        seed: The plan's seed.
        duration: The plan's duration in seconds.
        planned: Faults of each kind that were planned.
    """

    seed: int
    duration: float
    planned: Mapping[str, int]
    operations: int = 0
    acknowledged: int = 0
    unknown: int = 0
    leader_changes: int = 0
    violations: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, told: Told, violations: list[str]) -> None:
        """Add a phase, and what the checks found in its history."""
        operations, acknowledged, unknown = summary(told.history)
        self.operations += operations
        self.acknowledged += acknowledged
        self.unknown += unknown
        self.leader_changes += told.leader_changes
        self.faults.update(told.happened)
        self.violations += told.violations + violations
        self.missed += told.missed

    @property
    def fewer(self) -> dict[str, str]:
        """Kinds of which fewer faults happened than planned: "happened of planned"."""
        return {
            kind: f"{self.faults[kind]} of {count}" for kind, count in self.planned.items() if self.faults[kind] < count
        }

    @property
    def good(self) -> bool:
        """Nothing was violated, every planned fault happened, and clients got something done."""
        return not self.violations and not self.fewer and self.acknowledged > 0

    def line(self) -> str:
        """The line of JSON: counts, faults by kind, and the number of violations."""
        return json.dumps(
            {
                "operations": self.operations,
                "acknowledged": self.acknowledged,
                "unknown": self.unknown,
                "faults": {kind: self.faults[kind] for kind in sorted({*self.planned, *self.faults})},
                "leader_changes": self.leader_changes,
                "violations": len(self.violations),
                "seed": self.seed,
                "duration": self.duration,
            }
        )
