"""Decoded values of keys that were read lately, as the state in this process has them now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from raftmeta.metastore import Local

_LATE = 10_000
"""Keys whose last change is remembered, for what was read before it and arrives after it."""


class Kept(NamedTuple):
    """A value that a key has now.

    Attributes:
        since: A revision from which on it has had it without a break.
        value: What it was decoded to; None when the key does not exist.
    """

    since: int
    value: object | None


class Recent:
    """A bounded cache of decoded values that the store's own changes keep true.

    What is kept of a key is what it is now: the change that ends that takes it away before any reader of the same event
    loop can see the new state. So a read of the newest state, and one of an older state that is not older than the
    value, answer exactly what the store would. All methods belong to the store's event loop.

    The values are shared by all readers: nobody changes them.

    Attributes:
        revision: Revision of the state in this process, everything of which has been told.
        hits: Look-ups that found something.
        misses: Look-ups that did not.
    """

    def __init__(self, local: Local, most: int) -> None:
        """Follow the changes of `local` and keep about `most` values, those in use rather than others."""
        self._local = local
        self._half = max(most // 2, 1)
        self._young: dict[bytes, Kept] = {}
        self._old: dict[bytes, Kept] = {}
        self._changed: dict[bytes, int] = {}
        self._floor = 0  # of what was read before this revision, changes may be forgotten
        self.revision = 0
        self.hits = 0
        self.misses = 0
        self._end = local.follow(self._applied)

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._young) + len(self._old)

    def close(self) -> None:
        """Follow the store no longer, and keep nothing."""
        self._end()
        self._young, self._old = {}, {}

    async def confirmed(self) -> None:
        """Wait until `revision` covers every write acknowledged before the call. Raises as a linearizable read."""
        await self._local.confirmed()

    def find(self, key: bytes, revision: int) -> Kept | None:
        """Return what a key has at a revision, which is at most `self.revision`; None when that is not known."""
        kept = self._young.get(key)
        if kept is None:
            kept = self._old.pop(key, None)
            if kept is not None:
                self._put(key, kept)
        if kept is None or kept.since > revision:
            self.misses += 1
            return None
        self.hits += 1
        return kept

    def keep(self, key: bytes, value: object | None, since: int, revision: int) -> None:
        """Keep what was read of a key at `revision`: it has had the value since `since`, or does not exist.

        Does nothing when the key may have changed after `revision`: what other threads read comes late.
        """
        if revision < self.revision and (revision < self._floor or self._changed.get(key, 0) > revision):
            return
        self._put(key, Kept(since, value))

    def _put(self, key: bytes, kept: Kept) -> None:
        if len(self._young) >= self._half:  # what nobody has looked up since the last time is given up
            self._old, self._young = self._young, {}
        self._young[key] = kept

    def _applied(self, revision: int, changed: Sequence[bytes] | None) -> None:
        """Take note of a step of the store; `changed` None says that anything may be different."""
        self.revision = revision
        if changed is None:
            self._young, self._old = {}, {}
            self._changed, self._floor = {}, revision
            return
        young, old, late = self._young, self._old, self._changed
        for key in changed:
            young.pop(key, None)
            old.pop(key, None)
            late[key] = revision
        if len(late) > _LATE:
            self._changed, self._floor = {}, revision
