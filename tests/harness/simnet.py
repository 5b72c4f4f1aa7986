"""A Raft cluster on a simulated network and a virtual clock: no threads, no sleeps, every run repeatable by its seed."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raftmeta.consensus import Entry, Member, RaftConfig, Refusal
from raftmeta.consensus.contract import Snapshot
from raftmeta.consensus.core import Core
from raftmeta.consensus.membership import store_membership
from raftmeta.consensus.state import Surroundings

from .memlog import Disk, MemoryLog

EVENTS = 200_000
"""In one wait: members that send each other ever more messages are an error, too."""
CONFIG = RaftConfig(heartbeat=0.05, election_min=0.4, election_max=0.8, snapshot_entries=1000, tail_entries=100)


class Store:
    """A key-value state machine. Commands: b"key=value" or any bytes.

    The last `lag` calls of `apply` are not durable yet: a crash takes back some of them, or none.
    """

    def __init__(self, lag: int = 0) -> None:
        self.lag = lag
        self.before: list[tuple[int, int]] = []  # (index, term) before each call that is not durable, oldest first
        self.index, self.term = 0, 0
        self.data: dict[str, str] = {}
        self.commands: list[tuple[int, bytes]] = []
        self.calls = 0

    def applied(self) -> tuple[int, int]:
        return self.index, self.term

    def durable(self) -> tuple[int, int]:
        return self.before[0] if self.before else self.applied()

    def crash(self, rng: random.Random) -> None:
        """Go back to one of the moments from the last that was durable on."""
        if not self.before:
            return
        self.index, self.term = rng.choice([*self.before, self.applied()])
        self.before = []
        self.commands = [(index, data) for index, data in self.commands if index <= self.index]
        self.data = dict(data.decode().partition("=")[::2] for _, data in self.commands)

    def apply(self, entries: Sequence[Entry]) -> None:
        self.calls += 1
        if self.lag:
            self.before = [*self.before, self.applied()][-self.lag :]
        for entry in entries:
            assert entry.index == self.index + 1, f"applied {entry.index} after {self.index}"
            assert entry.term >= self.term
            self.index, self.term = entry.index, entry.term
            if entry.data:
                self.commands.append((entry.index, entry.data))
                key, _, value = entry.data.decode().partition("=")
                self.data[key] = value

    def snapshot(self, directory: Path) -> Snapshot:
        commands = [[index, data.decode()] for index, data in self.commands]
        state = {"index": self.index, "term": self.term, "data": self.data, "commands": commands}
        (directory / "state.json").write_text(json.dumps(state))
        (directory / "empty").touch()
        return Snapshot((self.index, self.term))

    def install(self, directory: Path) -> None:
        state = json.loads((directory / "state.json").read_text())
        assert state["index"] >= self.index, "snapshot older than the state"
        self.index, self.term, self.data = state["index"], state["term"], state["data"]
        self.commands = [(index, data.encode()) for index, data in state["commands"]]
        self.before = []
        shutil.rmtree(directory)


class Drawer:
    """A cabinet whose records are in memory and whose directories are real."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records: dict[str, bytes] = {}

    def save(self, name: str, data: bytes) -> None:
        self.records[name] = data

    def load(self, name: str) -> bytes | None:
        return self.records.get(name)

    def directory(self, name: str) -> Path:
        self.discard(name)
        path = self.root / name
        path.mkdir(parents=True)
        return path

    def discard(self, name: str) -> None:
        shutil.rmtree(self.root / name, ignore_errors=True)


class Machine:
    """One computer: its disk, its state and, while it is up, its core."""

    def __init__(self, number: int, root: Path, lag: int = 0) -> None:
        self.number = number
        self.disk = Disk()
        self.store = Store(lag)
        self.drawer = Drawer(root)
        self.core: Core | None = None
        self.failure: BaseException | None = None
        self.slow = 0.0
        self.sync_seconds = (
            0.0  # how long the disk takes; above 0 the core's turn waits for it as it does beside a thread
        )
        self.syncing = False


class Simulation:
    """Machines, the network between them and the clock.

    `delay` is (shortest, longest) seconds of a message; `loss` and `duplicate` are probabilities. With a longest delay
    over the shortest, messages overtake each other. `lag` is that of every `Store`.
    """

    def __init__(
        self,
        root: Path,
        members: int = 3,
        seed: int = 1,
        config: RaftConfig = CONFIG,
        delay: tuple[float, float] = (0.001, 0.001),
        lag: int = 0,
    ) -> None:
        self.root = root
        self.seed = seed
        self.rng = random.Random(seed)
        self.config = config
        self.delay = delay
        self.lag = lag
        self.loss = 0.0
        self.background_seconds = 0.02
        self.duplicate = 0.0
        self.now = 100.0
        self.machines: dict[int, Machine] = {}
        self.cut: set[tuple[int, int]] = set()
        self.leaders: dict[int, int] = {}
        self.commits: dict[int, tuple[int, bytes]] = {}
        self.commit_of: dict[int, int] = {}
        self.on_message: Callable[[int, int, bytes], bool] | None = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._due: set[int] = set()
        self.founding = {n: self.member(n) for n in range(1, members + 1)}
        for number in self.founding:
            self.add_machine(number, self.founding)

    def __repr__(self) -> str:
        return f"Simulation(seed={self.seed}, now={self.now:.3f})"

    @staticmethod
    def member(number: int, learner: bool = False) -> Member:
        return Member(number, f"n{number}", f"host{number}:1", "", learner)

    # --- machines ------------------------------------------------------------------------------------------------

    def add_machine(self, number: int, founding: Mapping[int, Member] | None = None) -> None:
        """Set up a machine, with the founding membership or as one that waits to be added, and start it."""
        machine = self.machines[number] = Machine(number, self.root / str(number), self.lag)
        store_membership(machine.drawer, 7, number, 0, dict(founding or {}))
        self.start(number)

    def start(self, number: int) -> None:
        """Start a machine on what its disk holds."""
        machine = self.machines[number]
        assert machine.core is None
        machine.failure = None
        machine.syncing = False
        given = Surroundings(
            member_id=number,
            cluster_id=7,
            config=self.config,
            log=MemoryLog(machine.disk),
            machine=machine.store,
            cabinet=machine.drawer,
            wire=_Port(self, number),
            background=lambda work, done: self._work(number, work, done),
            clock=lambda: self.now,
            rng=random.Random(self.rng.getrandbits(64)),
        )
        machine.core = Core(given)
        self.commit_of[number] = 0
        self._beat(number, machine.core)

    def crash(self, number: int, power: bool = True) -> None:
        """Stop a machine at once; with `power` lost, what was not synced may be gone.

        What the state machine had not made durable may be gone either way: a store that was not closed goes back.
        """
        machine = self.machines[number]
        machine.core = None
        machine.store.crash(self.rng)
        if power:
            machine.disk.lose_power(self.rng)
        else:
            for change in machine.disk.pending:
                machine.disk.settle(change)
            machine.disk.pending = []

    def wipe(self, number: int) -> None:
        """Give a machine that is down an empty disk, set up as its first one was."""
        assert self.machines[number].core is None
        machine = self.machines[number] = Machine(number, self.root / str(number), self.lag)
        store_membership(machine.drawer, 7, number, 0, self.founding if number in self.founding else {})

    def restart(self, number: int) -> None:
        """Start a machine, after a crash if it is up."""
        if self.machines[number].core is not None:
            self.crash(number)
        self.start(number)

    def core(self, number: int) -> Core:
        """Return a machine's core; it must be up."""
        core = self.machines[number].core
        assert core is not None, f"{number} is down in {self!r}"
        return core

    @property
    def up(self) -> list[Core]:
        """Cores of all machines that are up."""
        return [machine.core for machine in self.machines.values() if machine.core is not None]

    def _work(self, number: int, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        core = self.core(number)
        outcome: Any
        try:
            outcome = work()
        except Exception as error:
            outcome = error

        def finish() -> None:
            if self.machines[number].core is core:
                core.later(lambda: done(outcome))
                self.touch(number)

        self.at(self.background_seconds, finish)

    # --- time ----------------------------------------------------------------------------------------------------

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        """Do something `seconds` from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))

    def _beat(self, number: int, core: Core) -> None:
        if self.machines[number].core is not core:
            return
        if self.machines[number].syncing:
            core.pulse()
        else:
            self.touch(number)
        self.at(self.config.heartbeat / 2, lambda: self._beat(number, core))

    def touch(self, number: int) -> None:
        """Let a machine's core take a turn at this moment, after everything else that happens in it."""
        if number not in self._due:
            self._due.add(number)
            self.at(self.machines[number].slow, lambda: self._turn(number))

    def _turn(self, number: int) -> None:
        self._due.discard(number)
        machine = self.machines[number]
        if machine.core is None or machine.failure is not None or machine.syncing:
            return
        try:
            if machine.sync_seconds:
                self._begin_slow_turn(machine, machine.core)
            else:
                machine.core.turn()
        except Exception as error:
            machine.failure = error
            machine.core = None
            raise
        self._watch(machine.core)

    def _begin_slow_turn(self, machine: Machine, core: Core) -> None:
        core.begin_turn()
        if core.unsynced and core.sync_due:
            machine.syncing = True
            self.at(machine.sync_seconds, lambda: self._end_slow_turn(machine, core))
            return
        if core.sync_due:
            core.make_durable()
        core.end_turn()

    def _end_slow_turn(self, machine: Machine, core: Core) -> None:
        if machine.core is not core:
            return
        machine.syncing = False
        core.sync_log()
        core.end_sync()
        core.end_turn()
        self._watch(core)
        self.touch(machine.number)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        for _ in range(EVENTS):
            if not self._events or self._events[0][0] > until:
                self.now = until
                return
            self.now, _, event = heapq.heappop(self._events)
            event()
        raise AssertionError(f"more than {EVENTS} events in {seconds} s: {self!r}")

    def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Let time pass until the condition holds; fail after `seconds`."""
        until = self.now + seconds
        for _ in range(EVENTS):
            if condition():
                return
            assert self.now < until, f"not within {seconds} s: {self!r}: {[core.status for core in self.up]}"
            self.now, _, event = heapq.heappop(self._events)
            event()
        raise AssertionError(f"not within {EVENTS} events: {self!r}: {[core.status for core in self.up]}")

    # --- the network ---------------------------------------------------------------------------------------------

    def partition(self, *sides: Iterable[int]) -> None:
        """Cut every connection between members of different sides; whoever is on no side is alone."""
        groups = [set(side) for side in sides]
        for a, b in itertools.permutations(self.machines, 2):
            if not any(a in group and b in group for group in groups):
                self.cut.add((a, b))

    def heal(self) -> None:
        """Restore all connections."""
        self.cut.clear()

    def deliver(self, sender: int, receiver: int, frame: bytes) -> bool:
        """Put a frame on the network."""
        if receiver not in self.machines:
            return False
        if self.on_message is not None and not self.on_message(sender, receiver, frame):
            return True
        for _ in range(2 if self.rng.random() < self.duplicate else 1):
            if self.rng.random() >= self.loss:
                self.at(self.rng.uniform(*self.delay), lambda: self._arrive(sender, receiver, frame))
        return True

    def _arrive(self, sender: int, receiver: int, frame: bytes) -> None:
        core = self.machines[receiver].core
        if core is None or (sender, receiver) in self.cut:
            return
        core.inbox.append((sender, frame))
        self.touch(receiver)

    # --- doing things --------------------------------------------------------------------------------------------

    @property
    def leader(self) -> Core | None:
        """The leader of the highest term among those that are up."""
        leading = [core for core in self.up if core.leads]
        return max(leading, key=lambda core: core.term) if leading else None

    def elect(self, number: int | None = None) -> Core:
        """Let time pass until there is a leader that has committed in its term; make it `number` if given."""
        self.until(lambda: self.leader is not None and self.leader.committed_in_term)
        leader = self.leader
        assert leader is not None
        for _ in range(10):  # a transfer that something came across is asked for again
            if number is None or leader.me == number:
                return leader
            ended = self.now + 5.0
            leader.begin_transfer(number, lambda outcome: None)
            self.touch(leader.me)
            self.until(
                lambda: (self.core(number).leads and self.core(number).committed_in_term) or self.now > ended  # noqa: B023
            )
            leader = self.elect()
        raise AssertionError(f"{number} was never elected: {self!r}")

    def propose(self, number: int, data: bytes) -> list[Refusal]:
        """Propose on a machine; the list returned gets the refusal if there is one."""
        refusals: list[Refusal] = []
        self.core(number).proposals.append((data, refusals.append))
        self.touch(number)
        return refusals

    def put(self, key: str, value: str) -> None:
        """Write through the leader and wait until it has applied the write; written again if its leader went away."""
        wanted = f"{key}={value}".encode()
        for _ in range(50):
            leader = self.elect()
            if self._written(leader, self.propose(leader.me, wanted), wanted):
                return
            self.run(0.1)
        raise AssertionError(f"never taken: {self!r}")

    def _written(self, leader: Core, refusals: list[Refusal], wanted: bytes) -> bool:
        store = self.machines[leader.me].store
        self.until(
            lambda: bool(refusals) or not leader.leads or any(data == wanted for _, data in store.commands[-50:])
        )
        return any(data == wanted for _, data in store.commands[-50:])

    def read_index(self, number: int) -> list[int | Refusal]:
        """Ask for a read index on a machine; the list returned gets the answer."""
        answers: list[int | Refusal] = []
        self.core(number).begin_read(answers.append)
        self.touch(number)
        return answers

    def settle(self) -> None:
        """Let time pass until every member that is up has applied the same."""

        def settled() -> bool:
            leader = self.leader
            if leader is None:
                return False
            members = [core for core in self.up if core.me in leader.members]
            return {core.last_applied for core in members} == {leader.last_index}

        self.until(settled)

    # --- what must always hold -----------------------------------------------------------------------------------

    def _watch(self, core: Core) -> None:
        """Check, after every turn: one leader a term, commits that never move back and agree everywhere."""
        if core.leads:
            owner = self.leaders.setdefault(core.term, core.me)
            assert owner == core.me, f"two leaders in term {core.term}: {owner} and {core.me} in {self!r}"
        before = self.commit_of[core.me]
        assert core.commit >= before, f"commit of {core.me} went back from {before} to {core.commit} in {self!r}"
        for index in range(max(before, core.base_index) + 1, core.commit + 1):
            with contextlib.suppress(LookupError):
                entry = core.log.entries(index, 1)[0]
                known = self.commits.setdefault(index, (entry.term, entry.data))
                assert known == (entry.term, entry.data), f"{core.me} committed another entry at {index} in {self!r}"
        self.commit_of[core.me] = core.commit


class _Port:
    """One machine's plug in the simulated network."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        self._simulation = simulation
        self._number = number

    def send(self, member_id: int, frame: bytes) -> bool:
        return self._simulation.deliver(self._number, member_id, frame)

    def set_peers(self, peers: Mapping[int, Member]) -> None:
        pass
