"""Events of a keyspace read back from its records, for watchers that are behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2 as kv
from raftmeta.machine.applied import Change, tombstone
from raftmeta.machine.wire import first_field
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
        revisions: (revision, its matching changes in order), ascending, each revision whole.
        next_revision: First revision that was not looked at.
    """

    revisions: list[tuple[int, list[Change]]]
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
    found: list[tuple[int, list[Change]]] = []
    size = scanned = 0
    following = upto + 1
    at = max(first, 0) - 1
    for name, data in view.records(space, revision_key(max(first, 0), 0)):
        main = main_of(name)
        if main > upto:
            break
        if main != at:
            if size >= limit or scanned >= MAX_SCANNED:
                following = main
                break
            at = main
        scanned += 1
        record = data[ORIGIN:]
        key = first_field(record)
        if key not in keys:
            continue
        size += len(data)
        if len(name) > REVISION:
            change = tombstone(key, main, record)
        else:
            item = kv.KeyValue.FromString(record)
            change = Change(key, main, False, item.create_revision == item.mod_revision, record)
        if found and found[-1][0] == main:
            found[-1][1].append(change)
        else:
            found.append((main, [change]))
    if previous:
        found = [(main, with_previous(view, space, changes)) for main, changes in found]
    return History(found, following)


def with_previous(view: View, space: int, changes: Iterable[Change]) -> list[Change]:
    """Fill `previous` of changes of keys that were there: the value one revision earlier, unless that is compacted."""
    compacted = view.space(space).compacted
    filled = []
    for change in changes:
        before = change.revision - 1
        if before >= compacted and not change.created:
            revision = view.key_at(space, change.key, before)
            if revision is not None:
                change = change._replace(previous=view.record(space, revision))
        filled.append(change)
    return filled
