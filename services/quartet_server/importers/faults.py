"""What could not be read, counted, and the first of it told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TOLD = 20
"""Faults that are described; the rest is counted."""
_LONGEST = 300


class UnfitError(ValueError):
    """A record is not what its format says: the message is the reason, without a full stop."""


class WrongKindError(Exception):
    """A file is something else altogether.

    Attributes:
        hint: What would be right.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        """Say what was found and what was expected."""
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Fault:
    """One record that was left out: where it stands, as `file:line`, and why."""

    where: str
    reason: str

    def row(self) -> dict[str, str]:
        """Return it as data."""
        return {"where": self.where, "reason": self.reason}


@dataclass(slots=True)
class Faults:
    """Counts records that are bad, and those that are none of ours.

    Attributes:
        bad: Records that should have been read and could not.
        skipped: Records that bear nothing to import, as the format says.
        first: The first faults.
        tell: Is called with each fault that is described.
    """

    bad: int = 0
    skipped: int = 0
    first: list[Fault] = field(default_factory=list)
    tell: Callable[[Fault], None] = lambda fault: None

    def add(self, where: str, reason: object) -> None:
        """Count a bad record."""
        self.bad += 1
        if len(self.first) < TOLD:
            fault = Fault(where, str(reason)[:_LONGEST])
            self.first.append(fault)
            self.tell(fault)

    def skip(self, count: int = 1) -> None:
        """Count records that are none of ours."""
        self.skipped += count

    def row(self) -> dict[str, Any]:
        """Return the counts as data."""
        return {"bad": self.bad, "skipped": self.skipped, "faults": [fault.row() for fault in self.first]}
