"""The one true log of a run, put together from what watchers of the whole key space heard on any member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from faults.checks.keys import watches_all
from faults.checks.violation import Violation, events
from faults.history import History, Watching

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

FIRST = 2
"""The first revision that can have events: an empty store is at 1."""


@dataclass(slots=True)
class Revision:
    """What happened at one revision.

    Attributes:
        events: In order, without previous values.
        heard: Seconds when it was first heard.
        watching: Number of the watcher that heard it first.
    """

    events: list[kv_pb2.Event]
    heard: float
    watching: int


@dataclass(slots=True)
class Truth:
    """All revisions by number, from 2 to `last` unless `violations` says what is missing."""

    revisions: dict[int, Revision] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The last revision that anybody heard; 1 when there was none."""
        return max(self.revisions, default=1)

    def at(self, revision: int) -> list[kv_pb2.Event]:
        """Events of a revision; none for one that nobody heard."""
        found = self.revisions.get(revision)
        return found.events if found is not None else []


@dataclass(slots=True)
class Delivery:
    """A response, or what several fragments of one make together.

    Attributes:
        at: Seconds when it was whole.
        response: The last response, of which the fields other than events are meant.
        events: Of all fragments.
    """

    at: float
    response: pb.WatchResponse
    events: list[kv_pb2.Event]


def deliveries(watching: Watching) -> Iterator[Delivery]:
    """The responses to a watcher, fragments joined; a response whose last fragment never came is left out."""
    parts: list[kv_pb2.Event] = []
    for heard in watching.heard:
        parts.extend(heard.response.events)
        if not heard.response.fragment:
            yield Delivery(heard.at, heard.response, parts)
            parts = []


def sees_all(watching: Watching) -> bool:
    """Whether a watcher hears every event there is."""
    return watches_all(watching.request.key, watching.request.range_end) and not watching.request.filters


def plain(event: kv_pb2.Event) -> kv_pb2.Event:
    """An event without its previous value."""
    if not event.HasField("prev_kv"):
        return event
    copy = kv_pb2.Event(type=event.type)
    copy.kv.CopyFrom(event.kv)
    return copy


def establish(history: History) -> Truth:
    """Merge what watchers of everything heard; members that tell different stories are violations, and so are gaps."""
    truth = Truth()
    for watching in filter(sees_all, history.watches):
        for delivery in deliveries(watching):
            for number, many in by_revision(delivery.events).items():
                _merge(truth, number, Revision(many, delivery.at, watching.number), history)
    missing = [number for number in range(FIRST, truth.last) if number not in truth.revisions]
    if missing:
        shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        text = f"no watcher of the whole key space heard revision {shown} ({len(missing)} of {truth.last - 1} missing)"
        truth.violations.append(Violation("gap in the log", text))
    return truth


def by_revision(many: list[kv_pb2.Event]) -> dict[int, list[kv_pb2.Event]]:
    """Events by their revision, in their order, without previous values."""
    found: dict[int, list[kv_pb2.Event]] = {}
    for event in many:
        found.setdefault(event.kv.mod_revision, []).append(plain(event))
    return found


def _merge(truth: Truth, number: int, told: Revision, history: History) -> None:
    known = truth.revisions.get(number)
    if known is None:
        truth.revisions[number] = told
        return
    if known.events != told.events:
        one, other = (history.watches[each.watching] for each in (known, told))
        text = (
            f"revision {number} is {events(known.events)} by watcher {one.number} on {one.member},"
            f" and {events(told.events)} by watcher {other.number} on {other.member}"
        )
        truth.violations.append(Violation("two stories of one revision", text))
    if told.heard < known.heard:
        known.heard, known.watching = told.heard, told.watching
