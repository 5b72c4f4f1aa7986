"""Every version of every key in the true log: what the store must have held at any revision."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from faults.checks.keys import ALL
from faults.checks.truth import FIRST, Truth
from faults.checks.violation import Violation, event

from raftmeta.etcd import kv_pb2

KeyValue = kv_pb2.KeyValue


class Versions:
    """The replayed log.

    Attributes:
        violations: Events that do not follow from those before: a version that skips, a delete of nothing.
    """

    def __init__(self, truth: Truth) -> None:
        """Replay all of it."""
        self.violations: list[Violation] = []
        self._revisions: dict[bytes, list[int]] = {}
        self._values: dict[bytes, list[KeyValue | None]] = {}
        self._attached: dict[int, set[bytes]] = {}
        self._keys: list[bytes] = []
        for number in range(FIRST, truth.last + 1):
            self.add(number, truth.at(number))

    def add(self, number: int, events: Iterable[kv_pb2.Event]) -> None:
        """Replay one revision more."""
        for one in events:
            self._replay(number, one)

    def get(self, key: bytes, revision: int) -> KeyValue | None:
        """A key as of a revision; None when it was not there."""
        at = bisect.bisect_right(self._revisions.get(key, []), revision)
        return self._values[key][at - 1] if at else None

    def keys(self, key: bytes, end: bytes) -> list[bytes]:
        """Every key of a range that ever was, in order."""
        if not end:
            return [key] if key in self._revisions else []
        low = bisect.bisect_left(self._keys, key)
        return self._keys[low:] if end == ALL else self._keys[low : bisect.bisect_left(self._keys, end)]

    def attached(self, lease: int, revision: int) -> list[bytes]:
        """Keys attached to a lease as of a revision, in order."""
        found = []
        for key in self._attached.get(lease, ()):
            kv = self.get(key, revision)
            if kv is not None and kv.lease == lease:
                found.append(key)
        return sorted(found)

    def _replay(self, number: int, one: kv_pb2.Event) -> None:
        kv = one.kv
        before = self.get(kv.key, number)
        if before is not None and before.mod_revision == number:
            self._wrong(one, "the key changes a second time at this revision")
        after: KeyValue | None = None
        if one.type == kv_pb2.Event.DELETE:
            if before is None:
                self._wrong(one, "there was nothing to delete")
        else:
            after = kv
            created, version = (before.create_revision, before.version + 1) if before else (number, 1)
            if (kv.create_revision, kv.version) != (created, version):
                self._wrong(one, f"created {created}, version {version} would follow from what came before")
            if kv.lease:
                self._attached.setdefault(kv.lease, set()).add(kv.key)
        if kv.key not in self._revisions:
            bisect.insort(self._keys, kv.key)
        self._revisions.setdefault(kv.key, []).append(number)
        self._values.setdefault(kv.key, []).append(after)

    def _wrong(self, one: kv_pb2.Event, why: str) -> None:
        self.violations.append(Violation("log does not follow from itself", f"{event(one)}: {why}"))
