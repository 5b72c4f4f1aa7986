"""Events of a keyspace read back from its records, for watchers that are behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2 as kv
from raftmeta.store.layout import ORIGIN, REVISION, main_of, revision_key
from raftmeta.store.view import View

MAX_SCANNED = 4_000


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys of interest.

    Attributes:
        start: First key.
        end: Exclusive end; empty for `start` alone, None for every key from `start` on.
    """

    start: bytes
    end: bytes | None = b""

    def __contains__(self, key: bytes) -> bool:
        if self.end is None:
            return key >= self.start
        return self.start <= key < self.end if self.end else key == self.start


@dataclass(frozen=True, slots=True)
class History:
    """A stretch of the past.

    Attributes:
        revisions: (revision, its matching events in order), ascending, each revision whole.
        next_revision: First revision that was not looked at.
    """

    revisions: list[tuple[int, list[kv.Event]]]
    next_revision: int


def read_events(
    view: View, space: int, keys: KeyRange, first: int, upto: int, limit: int, *, previous: bool = False
) -> History:
    """Read events of `keys` at revisions `first` to `upto`, both included.

    Stops after the revision at which the events reach `limit` bytes or the records looked at reach MAX_SCANNED: the
    cost of a call is bounded by these and by the largest single revision.

    Raises:
        MetastoreError: COMPACTED when `first` lies below the compacted revision.
    """
    if first < view.space(space).compacted:
        raise MetastoreError(Fault.COMPACTED)
    found: list[tuple[int, list[kv.Event]]] = []
    size = scanned = 0
    at = max(first, 0) - 1
    for name, data in view.records(space, revision_key(max(first, 0), 0)):
        main = main_of(name)
        if main > upto:
            break
        if main != at:
            if size >= limit or scanned >= MAX_SCANNED:
                return History(found, main)
            at = main
        scanned += 1
        item = kv.KeyValue.FromString(data[ORIGIN:])
        if item.key not in keys:
            continue
        size += len(data)
        if len(name) > REVISION:
            item.mod_revision = main
            event = kv.Event(type=kv.Event.DELETE, kv=item)
        else:
            event = kv.Event(kv=item)
        if found and found[-1][0] == main:
            found[-1][1].append(event)
        else:
            found.append((main, [event]))
    if previous:
        fill_previous(view, space, (event for _, events in found for event in events))
    return History(found, upto + 1)


def fill_previous(view: View, space: int, events: Iterable[kv.Event]) -> None:
    """Set `prev_kv` of events that change a key: its value one revision earlier, unless that is compacted."""
    compacted = view.space(space).compacted
    for event in events:
        item = event.kv
        before = item.mod_revision - 1
        if before < compacted or (event.type == kv.Event.PUT and item.create_revision == item.mod_revision):
            continue
        revision = view.key_at(space, item.key, before)
        if revision is not None:
            event.prev_kv.MergeFromString(view.record(space, revision))
