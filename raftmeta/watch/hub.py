"""Hands live events of a keyspace to the watchers that are up to date."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from raftmeta._handing import hand_over
from raftmeta.machine.applied import Applied, Change
from raftmeta.machine.history import History
from raftmeta.machine.machine import Machine
from raftmeta.watch.intervals import Intervals
from raftmeta.watch.replies import events_field
from raftmeta.watch.watcher import Watcher

PROGRESS_INTERVAL = 600.0
FRAGMENT_BYTES = (1536 + 512) << 10
HISTORY_BYTES = 512 << 10

Revisions = list[tuple[int, list[Change]]]


class WatchHub:
    """The watchers of one keyspace of a machine, on one event loop.

    All methods belong to the loop. The machine tells it once per step that changed the keyspace, on whatever loop consensus
    runs; events go out in a later turn of this loop, and as long as there is a stream: without one nothing is done.

    Attributes:
        current: Newest revision the loop has seen; what is above it reaches every synced watcher as it comes.
    """

    def __init__(
        self,
        machine: Machine,
        space: int,
        loop: asyncio.AbstractEventLoop,
        *,
        progress_interval: float = PROGRESS_INTERVAL,
        fragment_bytes: int = FRAGMENT_BYTES,
        max_responses: int = 128,
        max_bytes: int = 16 << 20,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Start following the machine.

        Args:
            machine: What to watch.
            space: Keyspace.
            loop: Loop of the streams.
            progress_interval: Seconds between progress notifications, to which up to a tenth is added.
            fragment_bytes: Size above which a response is split for watchers that allow it.
            max_responses: Responses waiting on a stream (or four times its watchers, if that is more) above which live
                events no longer wait there: the watchers concerned catch up from history later.
            max_bytes: The same for bytes.
            jitter: Draws the added part from [0, 1).
        """
        self.machine = machine
        self.space = space
        self.loop = loop
        self.progress_interval = progress_interval
        self.fragment_bytes = fragment_bytes
        self.max_responses = max_responses
        self.max_bytes = max_bytes
        self.jitter = jitter
        self._by_key: dict[bytes, dict[Watcher, None]] = {}
        self._by_range = Intervals()
        self._waiting: dict[Watcher, None] = {}
        self._streams = 0
        self._end = machine.on_applied(self._on_applied)
        # listening first: a step that lands in between is recognised by its revision
        self.current = machine.revisions(space)[0]

    def close(self) -> None:
        """Stop following the machine."""
        self._end()

    def join(self) -> None:
        """Follow the machine for one more stream."""
        self._streams += 1
        if self._streams == 1:
            # counted first, then looked: the machine changes its revision first and looks for streams then, so that a
            # step is either in the revision read here or delivered. Nobody is there yet who could miss what lies between
            self.current = max(self.current, self.machine.revisions(self.space)[0])

    def part(self) -> None:
        """Follow the machine for one stream less; its watchers are removed."""
        self._streams -= 1

    @property
    def watchers(self) -> int:
        """Number of synced watchers."""
        return sum(map(len, self._by_key.values())) + len(self._by_range)

    def add(self, watcher: Watcher) -> None:
        """Serve a watcher live from the next revision on (or from its start, if that is later)."""
        watcher.synced = True
        if watcher.keys.end == b"":
            self._by_key.setdefault(watcher.keys.start, {})[watcher] = None
        else:
            self._by_range.add(watcher)
        if watcher.start > self.current:
            self._waiting[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        """Serve a watcher no longer."""
        watcher.synced = False
        self._waiting.pop(watcher, None)
        if watcher.keys.end == b"":
            same = self._by_key.get(watcher.keys.start, {})
            same.pop(watcher, None)
            if not same:
                self._by_key.pop(watcher.keys.start, None)
        else:
            self._by_range.remove(watcher)

    def history(self, watcher: Watcher) -> History:
        """Read a bounded piece of what a watcher has missed. Raises MetastoreError: COMPACTED."""
        return self.machine.events(
            self.space, watcher.keys, watcher.next_revision, self.current, HISTORY_BYTES, previous=watcher.previous
        )

    def _on_applied(self, applied: Applied) -> None:
        if not self._streams:
            return
        if applied.installed:
            hand_over(self.loop, self._resync)
            return
        change = applied.changes.get(self.space)
        if change is not None and change.revisions:
            hand_over(self.loop, self._deliver, change.revisions)

    def _deliver(self, revisions: Revisions) -> None:
        fresh = [item for item in revisions if item[0] > self.current]
        if not fresh:
            return
        matched: dict[Watcher, list[Change]] = {}
        for revision, changes in fresh:
            for change in changes:
                for watchers in (self._by_key.get(change.key, {}), *self._by_range.holding(change.key)):
                    for watcher in watchers:
                        if revision >= watcher.start:
                            matched.setdefault(watcher, []).append(change)
        self.current = fresh[-1][0]
        # what many watchers are told is put into bytes once
        encoded: dict[tuple[bool, tuple[int, ...]], list[bytes]] = {}
        for watcher, found in matched.items():
            changes = watcher.wanted(found)
            if not changes:
                continue
            if watcher.stream.full:
                self.remove(watcher)
                watcher.next_revision = found[0].revision
                watcher.stream.fall_behind(watcher)
                continue
            told = watcher.previous, tuple(map(id, changes))
            events = encoded.get(told)
            if events is None:
                if watcher.previous:
                    changes = self.machine.with_previous(self.space, changes)
                events = encoded[told] = events_field(changes)
            watcher.stream.send_events(watcher, self.current, events)
        reached = [watcher for watcher in self._waiting if watcher.start <= self.current]
        for watcher in reached:
            del self._waiting[watcher]
            watcher.stream.wake()

    def _resync(self) -> None:
        """Another state was installed: whoever is below its revision reads what it missed from its history."""
        before, self.current = self.current, max(self.current, self.machine.revisions(self.space)[0])
        if self.current == before:
            return
        synced = [*self._by_range.all(), *(watcher for same in self._by_key.values() for watcher in same)]
        for watcher in synced:
            if watcher.start <= self.current:
                self.remove(watcher)
                watcher.next_revision = max(watcher.start, before + 1)
                watcher.stream.fall_behind(watcher)
