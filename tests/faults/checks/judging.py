"""All checks of a history, one after the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from faults.checks import leases, linearizable, once, order, watches
from faults.checks.by_revision import ByRevision
from faults.checks.explaining import Explanation
from faults.checks.truth import establish
from faults.checks.versions import Versions
from faults.checks.violation import Violation
from faults.history import History, Outcome

SHOWN = 20
"""Violations that a report spells out."""


@dataclass(slots=True)
class Report:
    """What the checks say.

    Attributes:
        violations: Promises broken.
        gave_up: What could not be decided; no pass either.
        counts: What was there to be judged: operations, their outcomes, revisions, events, watchers, leases, ...
    """

    violations: list[Violation] = field(default_factory=list)
    gave_up: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything could be judged and nothing is wrong."""
        return not self.violations and not self.gave_up

    def __str__(self) -> str:
        """Several lines."""
        lines = [", ".join(f"{number} {name}" for name, number in self.counts.items())]
        lines += [f"- {violation}" for violation in self.violations[:SHOWN]]
        if len(self.violations) > SHOWN:
            lines.append(f"- and {len(self.violations) - SHOWN} more violations")
        lines += [f"- gave up: {text}" for text in self.gave_up]
        return "\n".join([*lines, "no violations" if self.ok else "NOT GOOD"])


def judge(history: History, *, budget: int = linearizable.BUDGET, clock_error: float = leases.CLOCK_ERROR) -> Report:
    """Run every check. `budget` is that of the search, `clock_error` (seconds) that of members' clocks."""
    truth = establish(history)
    versions = Versions(truth)
    answered = ByRevision(history, truth, versions)
    explanation = Explanation(history, truth, versions, answered)
    writers = explanation.found | answered.claims
    places = {id(one.attempt): one.revision for one in (*answered.placed, *explanation.found.values())}
    ends = {lease: number for number, lease in explanation.expiries.items()}
    searched = linearizable.check(history, budget, linearizable.Advice(places, ends))
    report = Report(gave_up=searched.gave_up)
    for found in (
        truth.violations,
        versions.violations,
        answered.violations,
        explanation.violations,
        order.real_time([*answered.placed, *explanation.found.values()]),
        order.from_the_future(answered.placed, writers),
        order.per_member(answered.placed, history),
        order.headers(history),
        searched.violations,
        watches.check(history, truth, versions),
        leases.check(history, truth, versions, explanation, clock_error),
        once.check(history, truth),
    ):
        report.violations.extend(found)
    outcomes = Counter(operation.outcome for operation in history.operations)
    report.counts = {
        "operations": len(history.operations),
        **{outcome.value: outcomes[outcome] for outcome in Outcome},
        "repeated": sum(len(operation.attempts) > 1 for operation in history.operations),
        "revisions": len(truth.revisions),
        "of unanswered writes": len(explanation.found),
        "of ended leases": len(explanation.expiries),
        "watchers": len(history.watches),
        "watch responses": sum(len(watching.heard) for watching in history.watches),
        "leases": len(leases.lives(history)),
        "steps searched": searched.judged,
        "nodes explored": searched.explored,
    }
    return report
