"""Revisions and real time: who began after another had ended sees at least its revision, and nothing of the future."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

from faults.checks.by_revision import Call
from faults.checks.violation import Violation, bytes_text
from faults.checks.violation import call as in_words
from faults.history import History, Outcome


def real_time(calls: Iterable[Call]) -> Iterator[Violation]:
    """Linearizable calls have revisions in an order that real time allows; a write has one above all before it.

    `calls` are the answered ones, and those unanswered that were found in the log: these never end.
    """
    placed = [one for one in calls if one.linearizable]
    ends = sorted((one for one in placed if one.attempt.outcome is Outcome.OK), key=_end)
    highest: Call | None = None
    position = 0
    for one in sorted(placed, key=lambda one: one.attempt.start):
        while position < len(ends) and _end(ends[position]) < one.attempt.start:
            if highest is None or ends[position].revision > highest.revision:
                highest = ends[position]
            position += 1
        if highest is None or one.revision > highest.revision:
            continue
        if one.changed:
            text = f"{one} made revision {one.revision}, though {highest} had ended with {highest.revision} before"
            yield Violation("revision does not follow real time", text)
        elif one.revision < highest.revision:
            text = f"{one} shows revision {one.revision}, though {highest} had ended before it began"
            yield Violation("stale read", text)


def from_the_future(calls: Iterable[Call], writers: dict[int, Call]) -> Iterator[Violation]:
    """No member shows of its own state what began after the answer was there; `writers` are those known, by revision.

    For linearizable calls `real_time` says the same.
    """
    numbers = sorted(writers)
    latest: list[Call] = []
    for number in numbers:
        one = writers[number]
        latest.append(one if not latest or one.attempt.start > latest[-1].attempt.start else latest[-1])
    for one in calls:
        at = bisect.bisect_right(numbers, one.revision)
        if at and not one.linearizable and _end(one) < latest[at - 1].attempt.start:
            text = f"{one} shows revision {one.revision}, and ended before {latest[at - 1]}, which is part of it, began"
            yield Violation("revision from the future", text)


def per_member(calls: Iterable[Call], history: History) -> Iterator[Violation]:
    """On one member, no client sees revisions go back; a member that started anew may catch up again."""
    starts: dict[str, list[float]] = {}
    for at, member in history.starts:
        starts.setdefault(member, []).append(at)
    seen: dict[tuple[str, str], Call] = {}
    for one in sorted(calls, key=lambda one: one.attempt.start):
        where = (one.operation.client, one.attempt.member)
        before = seen.get(where)
        if before is not None and one.revision < before.revision:
            if _end(before) >= one.attempt.start:
                continue
            if not any(before.attempt.start < at < _end(one) for at in starts.get(one.attempt.member, ())):
                yield Violation("revision went back", f"{one} came after {before} on the same member")
        seen[where] = one


def headers(history: History) -> Iterator[Violation]:
    """All answers name one cluster, and a member always names itself the same."""
    clusters: dict[int, str] = {}
    members: dict[str, tuple[int, str]] = {}
    for operation, attempt in history.calls():
        header = getattr(attempt.answer, "header", None)
        if header is None or not header.cluster_id:
            continue
        clusters.setdefault(header.cluster_id, in_words(operation, attempt))
        number, first = members.setdefault(attempt.member, (header.member_id, in_words(operation, attempt)))
        if number != header.member_id:
            text = (
                f"{attempt.member} is {number:x} in {first} and {header.member_id:x} in {in_words(operation, attempt)}"
            )
            yield Violation("member changed its id", text)
            members[attempt.member] = (header.member_id, first)
    if len(clusters) > 1:
        found = "; ".join(f"{number:x} in {text}" for number, text in clusters.items())
        yield Violation("two clusters answer", bytes_text(found.encode()))


def _end(one: Call) -> float:
    return one.attempt.end if one.attempt.end is not None else float("inf")
