"""A model of the log with power cuts in the middle of anything: what was synced is there, what was not is whole or gone."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis.strategies as st
from harness.disks import MemoryDisk
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from raftmeta.wal import Wal

D = Path("/data/wal")


class PowerCut(BaseException):
    """Raised by the disk in the middle of an operation; no handler for errors sees it."""


@dataclass(frozen=True)
class Picture:
    """What a log holds: everything before `first` is gone, `before` is the term of the last entry gone."""

    first: int
    before: int
    entries: tuple[tuple[int, bytes], ...]

    @property
    def next(self) -> int:
        return self.first + len(self.entries)

    @property
    def term(self) -> int:
        return self.entries[-1][0] if self.entries else self.before

    def cut_from(self, index: int) -> Picture:
        return replace(self, entries=self.entries[: index - self.first])

    def trim_to(self, index: int) -> Picture:
        gone = index + 1 - self.first
        return Picture(index + 1, self.entries[gone - 1][0], self.entries[gone:])


def picture(log: Wal) -> Picture:
    found = log.entries(log.first_index, 10_000) if log.last_index >= log.first_index else []
    assert [entry.index for entry in found] == list(range(log.first_index, log.last_index + 1))
    assert [log.term_of(entry.index) for entry in found] == [entry.term for entry in found]
    assert log.durable_index <= log.last_index
    return Picture(
        log.first_index, log.term_of(log.first_index - 1), tuple((entry.term, entry.data) for entry in found)
    )


class LogUnderPowerCuts(RuleBasedStateMachine):
    """`now` is what the log shows; `possible` what a crash may leave, oldest first; likewise for term and vote."""

    @initialize(segment=st.sampled_from([200, 500, 3000]), cache=st.sampled_from([0, 60, 10_000]))
    def begin(self, segment: int, cache: int) -> None:
        self.segment, self.cache = segment, cache
        self.disk = MemoryDisk()
        self.log = self.open()
        self.now = Picture(1, 0, ())
        self.possible = [self.now]
        self.votes = [(0, 0)]

    def open(self) -> Wal:
        return Wal.open(
            D,
            create=True,
            files=self.disk,
            segment_bytes=self.segment,
            cache_bytes=self.cache,
            random=lambda n: b"i" * n,
        )

    @rule(
        sizes=st.lists(st.integers(0, 300), min_size=1, max_size=8),
        raised=st.integers(0, 1),
        fill=st.binary(max_size=9),
    )
    def append(self, sizes: list[int], raised: int, fill: bytes) -> None:
        term = self.now.term + raised
        for size in sizes:
            data = (fill or b"-") * (size // 5)
            self.log.append(self.now.next, term, data)
            self.now = replace(self.now, entries=(*self.now.entries, (term, data)))
            self.possible.append(self.now)

    @rule()
    def sync(self) -> None:
        assert self.log.sync() == self.now.next - 1
        self.possible = [self.now]

    @rule(back=st.integers(0, 10))
    def truncate(self, back: int) -> None:
        index = max(self.now.first, self.now.next - back)
        self.log.truncate_from(index)
        self.now = self.now.cut_from(index)
        self.possible.append(self.now)

    @rule(share=st.floats(0, 1))
    def trim(self, share: float) -> None:
        index = self.now.first - 1 + round(share * len(self.now.entries))
        if index >= self.now.first:
            self.log.sync()
            self.log.trim_to(index)
            self.now = self.now.trim_to(index)
            self.possible = [self.now]

    @rule(ahead=st.integers(-5, 5), raised=st.integers(0, 1))
    def reset(self, ahead: int, raised: int) -> None:
        index = max(self.now.first - 1, self.now.next + ahead)
        self.now = Picture(index + 1, self.now.term + raised, ())
        self.log.reset(index, self.now.before)
        self.possible = [self.now]

    @rule(raised=st.integers(0, 2), vote=st.integers(1, 3))
    def vote(self, raised: int, vote: int) -> None:
        term, voted = self.votes[-1]
        self.votes.append((term + raised, vote if raised or not voted else voted))
        self.log.save_hard_state(*self.votes[-1])
        self.votes = self.votes[-1:]

    @rule(
        what=st.sampled_from(["sync", "trim", "reset", "vote"]),
        share=st.floats(0, 1),
        step=st.integers(1, 14),
        seed=st.integers(0, 2**32),
        kept=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def cut_power(self, what: str, share: float, step: int, seed: int, kept: float) -> None:
        """Cut the power at the `step`-th device operation of something, or after it; pages survive by chance."""
        left = step

        def fault(operation: str, path: Path) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise PowerCut

        before, possible, votes = self.now, list(self.possible), list(self.votes)
        self.disk.fault = fault
        try:
            match what:
                case "sync":
                    self.sync()
                case "trim":
                    index = self.now.first - 1 + round(share * len(self.now.entries))
                    if index >= self.now.first:
                        possible += [seen.trim_to(index) for seen in [*self.possible, self.now] if seen.next > index]
                    self.trim(share)
                case "reset":
                    self.reset(round(share * 10) - 5, 1)
                case "vote":
                    self.vote(1, 2)
            finished = True
        except PowerCut:
            finished = False
        self.disk.fault = lambda operation, path: None
        chance = random.Random(seed)
        self.disk.crash(lambda: chance.random() < kept)
        self.log = self.open()
        found = picture(self.log)
        if finished:
            assert found in self.possible
            assert self.log.hard_state == self.votes[-1]
        else:
            assert found in [*possible, before, self.now]
            assert self.log.hard_state in [*votes, *self.votes]
        self.now = found
        self.possible = [found]
        self.votes = [(self.log.hard_state.term, self.log.hard_state.voted_for)]
        assert self.log.durable_index == found.next - 1

    @rule()
    def kill(self) -> None:
        """kill -9: what was written stays, and is durable once the log is open again."""
        self.disk.kill()
        self.log = self.open()
        assert picture(self.log) in self.possible
        self.now = picture(self.log)
        self.possible = [self.now]
        self.disk.crash()
        self.log = self.open()

    @invariant()
    def reads_what_was_written(self) -> None:
        if hasattr(self, "now"):
            assert picture(self.log) == self.now
            assert self.log.hard_state == self.votes[-1]
            assert self.log.durable_index >= self.possible[0].first - 1


TestLogUnderPowerCuts = LogUnderPowerCuts.TestCase
TestLogUnderPowerCuts.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
