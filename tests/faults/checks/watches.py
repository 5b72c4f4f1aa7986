"""Watchers against the true log: ordered, unique, atomic, without gaps, resumable, progress never ahead of events."""

from __future__ import annotations

from collections.abc import Iterator

from faults.checks.keys import covers
from faults.checks.truth import Delivery, Truth, by_revision, deliveries
from faults.checks.versions import Versions
from faults.checks.violation import Violation, bytes_text, event, events, span
from faults.history import History, Watching

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

PATIENCE = 10.0
"""Seconds within which a watcher that is open hears what others heard, once all faults are lifted."""


def check(history: History, truth: Truth, versions: Versions) -> Iterator[Violation]:
    """Every watcher of a history."""
    compacted = [
        (operation.start, operation.request.revision)
        for operation in history.operations
        if isinstance(operation.request, pb.CompactionRequest)
    ]
    for watching in history.watches:
        judge = _Judge(watching, truth, versions, compacted)
        for delivery in deliveries(watching):
            judge.hear(delivery)
        judge.end(history)
        yield from judge.violations


class _Judge:
    """One watcher, response by response.

    Attributes:
        next: The revision from which on events are still to come; 0 before the watcher was created.
    """

    def __init__(
        self, watching: Watching, truth: Truth, versions: Versions, compacted: list[tuple[float, int]]
    ) -> None:
        self.violations: list[Violation] = []
        self.next = 0
        self._watching = watching
        self._truth = truth
        self._versions = versions
        self._compacted = compacted
        self._created = False
        self._over = False
        self._last = 0

    def hear(self, delivery: Delivery) -> None:
        response = delivery.response
        if self._over:
            self._wrong("events after the end", f"came after it was cancelled: {events(delivery.events)}")
        elif response.created:
            self._create(delivery)
        elif not self._created:
            self._wrong("events before created", f"heard before it was created: {events(delivery.events)}")
        elif response.canceled:
            self._over = True
            self._cancelled(delivery)
        elif delivery.events:
            self._events(delivery)
        else:
            self._progress(response.header.revision)

    def end(self, history: History) -> None:
        """A watcher that was open to the end of a run that healed heard everything but the very last."""
        watching = self._watching
        if history.ended is None or history.healed is None or self._over or not self._created:
            return
        if watching.end is not None and watching.end < history.ended:
            return
        until = history.ended - PATIENCE
        if watching.start > until or history.healed > until:
            return
        for number in self._wanted(self.next, self._truth.last):
            if self._truth.revisions[number].heard < until:
                text = (
                    f"never heard revision {number} ({events(self._visible(number))}), which others heard long before"
                )
                self._wrong("watcher went silent", text)
                return

    def _create(self, delivery: Delivery) -> None:
        if self._created or delivery.events:
            self._wrong("created out of place", "a second answer to its request, or one with events")
        self._created = True
        self._over = delivery.response.canceled
        start = self._watching.request.start_revision
        self.next = start if start > 0 else delivery.response.header.revision + 1

    def _events(self, delivery: Delivery) -> None:
        found = by_revision(delivery.events)
        order = [one.kv.mod_revision for one in delivery.events]
        if order != sorted(order):
            self._wrong("events out of order", f"one response has revisions {order[:20]}")
        if max(order) > delivery.response.header.revision:
            self._wrong("header behind its events", f"{delivery.response.header.revision} with {max(order)}")
        for one in delivery.events:
            self._fits(one, delivery.at)
        for number in sorted(found):
            self._revision(number, found[number])

    def _revision(self, number: int, found: list[kv_pb2.Event]) -> None:
        if number < self.next:
            if number == self._last:
                self._wrong("revision in two responses", f"{number} came again, with {events(found)}")
            else:
                self._wrong("revision twice or too late", f"{number} came after {self.next - 1}: {events(found)}")
            return
        for missing in self._wanted(self.next, number - 1):
            text = f"heard {number}, and not {missing} before: {events(self._visible(missing))}"
            self._wrong("gap in a watch", text)
            break
        expected = self._visible(number)
        if found != expected:
            text = f"{number} is {events(found)}, where the log has for it {events(expected)}"
            torn = bool(found) and len(found) < len(expected) and all(one in expected for one in found)
            self._wrong("torn revision" if torn else "wrong events", text)
        self._last = number
        self.next = number + 1

    def _progress(self, revision: int) -> None:
        for missing in self._wanted(self.next, revision):
            text = f"progress says {revision}, and {missing} was not heard: {events(self._visible(missing))}"
            self._wrong("progress ahead of events", text)
            break
        self.next = max(self.next, revision + 1)

    def _cancelled(self, delivery: Delivery) -> None:
        limit = delivery.response.compact_revision
        if not limit:
            return
        if self.next >= limit:
            self._wrong("compacted for nothing", f"{self.next} was to come next, and {limit} is kept")
        if not any(start <= delivery.at and asked >= limit for start, asked in self._compacted):
            self._wrong("compacted for nothing", f"nobody had asked to compact up to {limit}")

    def _fits(self, one: kv_pb2.Event, at: float) -> None:
        request = self._watching.request
        if not covers(request.key or b"\0", request.range_end, one.kv.key):
            self._wrong("event of another range", event(one))
        if one.type in _unwanted(request):
            self._wrong("event that was filtered out", event(one))
        number = one.kv.mod_revision
        before = self._versions.get(one.kv.key, number - 1)
        if one.HasField("prev_kv"):
            if not request.prev_kv:
                self._wrong("previous value", f"{event(one)} has one, and nobody asked")
            elif before is None or one.prev_kv != before:
                had = "nothing" if before is None else f"{bytes_text(before.value)}@{before.mod_revision}"
                shown = f"{bytes_text(one.prev_kv.value)}@{one.prev_kv.mod_revision}"
                self._wrong("previous value", f"{event(one)} shows {shown} before it; there was {had}")
        elif request.prev_kv and before is not None and not self._may_be_compacted(number, at):
            self._wrong("previous value", f"{event(one)} has none; there was {bytes_text(before.value)}")

    def _may_be_compacted(self, number: int, at: float) -> bool:
        """Whether what was before a revision may have been forgotten by a time."""
        return any(start <= at and asked >= number for start, asked in self._compacted)

    def _visible(self, number: int) -> list[kv_pb2.Event]:
        """The events of a revision that this watcher is to hear."""
        request = self._watching.request
        unwanted = _unwanted(request)
        key = request.key or b"\0"
        return [
            one
            for one in self._truth.at(number)
            if covers(key, request.range_end, one.kv.key) and one.type not in unwanted
        ]

    def _wanted(self, first: int, last: int) -> Iterator[int]:
        """The revisions from `first` to `last` of which this watcher is to hear."""
        return (number for number in range(first, min(last, self._truth.last) + 1) if self._visible(number))

    def _wrong(self, check: str, text: str) -> None:
        one, request = self._watching, self._watching.request
        what = f"{span(request.key, request.range_end)} from {request.start_revision}"
        self.violations.append(
            Violation(check, f"watcher {one.number} ({one.client}@{one.member}, {what}, since {one.start:.4f}): {text}")
        )


def _unwanted(request: pb.WatchCreateRequest) -> set[int]:
    """Types of events that the filters keep away."""
    kinds = {pb.WatchCreateRequest.NOPUT: kv_pb2.Event.PUT, pb.WatchCreateRequest.NODELETE: kv_pb2.Event.DELETE}
    return {int(kinds[each]) for each in request.filters}
