"""Whatever comes between the steps of rounds, no blob that something refers to is lost; without the second look one is."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest
from harness.blobs import Clock, owned
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from quartet_server.objects.digest import Digest
from quartet_server.objects.gc.collector import Collector, Tally
from quartet_server.objects.gc.reached import Reached
from quartet_server.objects.memory import MemoryBlobs

T = TypeVar("T")
GRACE, LAG, ZONE = 100.0, 10.0, "a"
NUMBERS = st.sampled_from([0, 0, 0, 1])


def content(number: int) -> bytes:
    return b"blob %d" % number


def digest(number: int) -> Digest:
    return Digest.of(content(number))


@dataclass
class References:
    """A holder: how many refer to each numbered blob."""

    of: Counter[int] = field(default_factory=Counter)

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        return {digest(number) for number in +self.of}.intersection(digests)

    async def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        for number in +self.of:
            yield digest(number)


class Forgetful(Collector):
    """A collector without the second look: the bug that the test must find."""

    def is_kept(self, reached: Reached, digest: Digest) -> bool:
        return False


class Rounds(RuleBasedStateMachine):
    """Clients that keep the rule, files whose versions take over what they refer to, and rounds in three steps."""

    kind = Collector

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryBlobs(self.clock, LAG)
        self.files, self.versions = References(), References()
        self.collectors = [
            self.kind(self.store, [holder], GRACE, clock=self.clock, draw=random.Random(1).randbytes, demand=owned)
            for holder in (self.files, self.versions)
        ]
        self.told = dict[int, float]()  # when a client was last told that a blob is there
        self.marked: tuple[Reached, float, int] | None = None  # by as many holders

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what never waits, without a loop, which would take most of the time."""
        try:
            work.send(None)
        except StopIteration as done:
            return cast("T", done.value)
        raise AssertionError("a store in memory waits for nothing")

    def teardown(self) -> None:
        """In the end everything that nothing refers to goes, and nothing else."""
        for _ in range(2):
            self.clock.now += GRACE + LAG
            self.begin(0.0)
            self.mark_versions()
            self.finish()
        left = {info.digest for info in self.run(self.store.scan(ZONE))}
        assert left == {digest(number) for number in +(self.files.of + self.versions.of)}

    @rule(number=NUMBERS, wait=st.sampled_from([9.0, 0.0, 50.0]), how=st.sampled_from(["put", "missing"]))
    def ask(self, number: int, wait: float, how: str) -> None:
        self.clock.now += wait
        if how == "put":
            self.run(self.store.put(ZONE, content(number)))
        elif self.run(self.store.missing(ZONE, [digest(number)])):
            return
        self.told[number] = self.clock.now

    @rule(number=NUMBERS)
    def refer(self, number: int) -> None:
        if self.clock.now - self.told.get(number, -GRACE) < GRACE:
            self.files.of[number] += 1

    @rule(number=NUMBERS, how=st.sampled_from(["copied", "overwritten"]))
    def take_over(self, number: int, how: str) -> None:
        if self.files.of[number]:
            self.files.of[number] += 1 if how == "copied" else -1
            self.versions.of[number] += how == "overwritten"

    @rule(number=NUMBERS, of=st.sampled_from(["files", "versions"]))
    def forget(self, number: int, of: str) -> None:
        holder: References = getattr(self, of)
        holder.of[number] = 0

    @rule(wait=st.sampled_from([95.0, 100.0, 0.0]))
    def begin(self, wait: float) -> None:
        self.clock.now += wait
        reached = Reached(random.Random(1).randbytes, smallest=4, largest=6)
        began = self.clock.now
        self.run(self._mark(0, reached))
        self.marked = (reached, began, 1)

    async def _mark(self, at: int, reached: Reached) -> None:
        async for _ in self.collectors[at].mark(ZONE, reached):
            pass

    @precondition(lambda self: self.marked is not None and self.marked[2] == 1)
    @rule()
    def mark_versions(self) -> None:
        assert self.marked is not None
        self.run(self._mark(1, self.marked[0]))
        self.marked = (*self.marked[:2], 2)

    @precondition(lambda self: self.marked is not None)
    @rule()
    def finish(self) -> None:
        assert self.marked is not None
        if self.marked[2] == 1:
            self.mark_versions()
        reached, began, _ = self.marked
        self.marked = None

        async def work() -> None:
            async for _ in self.collectors[0].pass_through(ZONE, reached, began, Tally(ZONE), dry=False):
                pass

        self.run(work())

    @rule()
    def crash(self) -> None:
        self.marked = None

    @invariant()
    def what_is_referred_to_is_there(self) -> None:
        for number in +(self.files.of + self.versions.of):
            assert self.run(self.store.stat(ZONE, digest(number))) is not None


ACTIONS: tuple[Callable[[Rounds], None], ...] = (
    lambda rounds: rounds.ask(0, 9.0, "put"),
    lambda rounds: rounds.refer(0),
    lambda rounds: rounds.take_over(0, "overwritten"),
    lambda rounds: rounds.begin(95.0),
    lambda rounds: rounds.finish() if rounds.marked else None,
)
"""One blob, and waits just short of the grace: what is on the edge."""


def test_any_sequence_of_steps_loses_nothing_that_is_referred_to() -> None:
    run_state_machine_as_test(
        Rounds,
        settings=settings(
            max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("kind", [Collector, Forgetful])
def test_every_sequence_of_five_steps_on_the_edge_is_safe_and_one_is_not_without_the_second_look(
    kind: type[Collector],
) -> None:
    machine = type("Machine", (Rounds,), {"kind": kind})
    losses = 0
    for actions in itertools.product(ACTIONS, repeat=5):
        rounds = machine()
        try:
            for act in actions:
                act(rounds)
                rounds.what_is_referred_to_is_there()
            rounds.teardown()
        except AssertionError:
            losses += 1
            if kind is Forgetful:
                break
    assert losses == (kind is Forgetful)
