"""Consensus at work, in a thread and on the loop of its host: real files, real loops, a network inside the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from harness.hosting import start_consensus
from harness.simnet import Simulation, Store

from raftmeta._handing import nothing_waits
from raftmeta.consensus import (
    Member,
    RaftConfig,
    Refusal,
    Role,
    RunningConsensus,
    StartError,
    host_consensus,
)
from raftmeta.consensus.runtime import Runtime
from raftmeta.wal.files import DiskFile

CONFIG = RaftConfig(heartbeat=0.02, election_min=1.0, election_max=2.0)  # so that a busy machine changes no leader
CALM = RaftConfig(heartbeat=0.02, election_min=2.0, election_max=4.0)  # for members that share a loop


class Hub:
    """Links between members of this process."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[asyncio.AbstractEventLoop, Callable[[int, bytes, bool], None]]] = {}

    def factory(self, number: int) -> Callable[[Callable[[int, bytes, bool], None]], Any]:
        async def start(receive: Callable[[int, bytes, bool], None]) -> _Link:
            self._ends[number] = (asyncio.get_running_loop(), receive)
            return _Link(self._ends, number)

        return start


class _Link:
    def __init__(
        self, ends: dict[int, tuple[asyncio.AbstractEventLoop, Callable[[int, bytes, bool], None]]], number: int
    ) -> None:
        self._ends, self._number = ends, number

    def send(self, member_id: int, frame: bytes) -> bool:
        end = self._ends.get(member_id)
        if end is None:
            return False
        end[0].call_soon_threadsafe(end[1], self._number, frame, False)
        return True

    def set_peers(self, peers: Mapping[int, Member]) -> None:
        assert self._number not in peers

    async def close(self) -> None:
        self._ends.pop(self._number, None)


class Watched(Store):
    """A store that tells waiting tests about what it applies."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def apply(self, entries: Any) -> None:
        with self._changed:
            super().apply(entries)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 20)

    def wait_for_keys(self, count: int) -> None:
        self.wait_for(lambda: len(self.data) == count)


def ask(method: Callable[..., None], *arguments: Any, **named: Any) -> Any:
    """Call a method of Consensus and wait for what it answers."""
    answer: Future[Any] = Future()
    method(*arguments, done=answer.set_result, **named)
    return answer.result(20)


def start(tmp_path: Path, number: int, members: list[Member], store: Store, hub: Hub | None) -> Runtime:
    return start_consensus(
        CONFIG, number, 7, members, store, tmp_path / str(number), hub.factory(number) if hub else None
    )


def leader_of(nodes: Mapping[int, RunningConsensus]) -> int:
    """Wait until somebody leads and has committed in its term."""
    done = threading.Event()
    for node in nodes.values():
        node.on_status(lambda status: done.set() if status.role is Role.LEADER else None)
    if not any(node.status().role is Role.LEADER for node in nodes.values()):
        assert done.wait(20)
    return next(number for number, node in nodes.items() if node.status().role is Role.LEADER)


def echo_of(number: int) -> Callable[[int, bytes, Callable[[bytes | Refusal], None]], None]:
    """Answer a call with who was asked, who asked, and what."""
    return lambda caller, payload, reply: reply(b"%d<%d:" % (number, caller) + payload)


def test_a_single_member_leads_at_once_and_keeps_what_it_applied_over_a_restart(tmp_path: Path) -> None:
    store = Watched()
    members = [Simulation.member(1)]
    node = start(tmp_path, 1, members, store, None)
    assert node.status().role is Role.LEADER
    node.propose(b"a=1", lambda refusal: pytest.fail(str(refusal)))
    store.wait_for(lambda: store.data == {"a": "1"})
    assert ask(node.read_index) >= store.index
    node.stop()
    assert ask(node.read_index) is Refusal.STOPPED
    node = start(tmp_path, 1, members, store, None)
    node.propose(b"b=2", lambda refusal: pytest.fail(str(refusal)))
    store.wait_for(lambda: store.data == {"a": "1", "b": "2"})
    node.stop()


def test_three_members_in_three_threads_replicate_read_call_and_hand_over(tmp_path: Path) -> None:
    hub, members = Hub(), [Simulation.member(n) for n in (1, 2, 3)]
    stores = {n: Watched() for n in (1, 2, 3)}
    nodes = {n: start(tmp_path, n, members, stores[n], hub) for n in (1, 2, 3)}
    try:
        leader = leader_of(nodes)
        for i in range(50):
            nodes[leader].propose(f"k{i}={i}".encode(), lambda refusal: pytest.fail(str(refusal)))
        for store in stores.values():
            store.wait_for_keys(50)
        follower = next(n for n in nodes if n != leader)
        assert ask(nodes[follower].read_index) >= stores[follower].index
        for number, node in nodes.items():
            node.serve("echo", echo_of(number))
        assert ask(nodes[follower].call, leader, "echo", b"hello", timeout=5.0) == b"%d<%d:hello" % (leader, follower)
        assert ask(nodes[leader].transfer_leadership, follower) == follower
        refused: Future[Refusal] = Future()
        nodes[leader].propose(b"x=1", refused.set_result)
        assert refused.result(20) in (Refusal.NOT_LEADER, Refusal.LEADER_CHANGED, Refusal.NO_LEADER)
    finally:
        for node in nodes.values():
            node.stop()


def test_a_state_without_its_log_is_refused(tmp_path: Path) -> None:
    store = Watched()
    store.index, store.term = 5, 1
    with pytest.raises(StartError, match="part of the directory is lost"):
        start(tmp_path, 1, [Simulation.member(1)], store, None)


def test_the_directory_of_another_member_is_refused(tmp_path: Path) -> None:
    start(tmp_path, 1, [Simulation.member(1)], Watched(), None).stop()
    (tmp_path / "1").rename(tmp_path / "2")
    with pytest.raises(ValueError, match="belongs to member 1"):
        start(tmp_path, 2, [Simulation.member(2)], Watched(), None)


def test_a_state_machine_that_fails_stops_the_member_and_says_so(tmp_path: Path) -> None:
    class Broken(Watched):
        def apply(self, entries: Any) -> None:
            if any(entry.data for entry in entries):
                raise OSError("disk on fire")
            super().apply(entries)

    node = start(tmp_path, 1, [Simulation.member(1)], Broken(), None)
    failed: Future[BaseException] = Future()
    node.on_failure(failed.set_result)
    node.propose(b"a=1", lambda refusal: None)
    assert "disk on fire" in str(failed.result(20))
    node.stop()
    assert "disk on fire" in str(node.failure)
    assert ask(node.read_index) is Refusal.STOPPED


class Meeting(list[Any]):
    """Reads that wait: whoever takes them waits for a second thread that does the same, as long as that may take."""

    def __init__(self, reads: list[Any], arrived: threading.Event) -> None:
        super().__init__(reads)
        self._arrived = arrived
        self._barrier = threading.Barrier(2)

    def __add__(self, other: Any) -> Any:
        self._arrived.set()
        with contextlib.suppress(threading.BrokenBarrierError):
            self._barrier.wait(0.5)
        return list(self) + other


def test_two_threads_that_find_a_member_stopped_answer_everybody_once(tmp_path: Path) -> None:
    node = start(tmp_path, 1, [Simulation.member(n) for n in (1, 2, 3)], Watched(), Hub())
    answers: list[Any] = []
    arrived = threading.Event()
    node._core.waiting = Meeting([(1e12, answers.append)], arrived)
    stopping = threading.Thread(target=node.stop)
    stopping.start()
    assert arrived.wait(20)
    node._flush()
    stopping.join()
    assert answers == [Refusal.STOPPED]


class EndsMeanwhile(threading.Event):
    """Says no that often, then yes: the member stops while somebody asks it for something."""

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self._left = times

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize(
    ("limit", "times", "outcome"), [(100, 1, Refusal.STOPPED), (1, 1, Refusal.STOPPED), (1, 2, Refusal.BUSY)]
)
def test_a_proposal_that_meets_the_end_of_its_member_is_answered_once(
    tmp_path: Path, limit: int, times: int, outcome: Refusal
) -> None:
    config = replace(CONFIG, queued_proposals=limit)
    node = start_consensus(config, 1, 7, [Simulation.member(1)], Watched(), tmp_path, None)
    node.stop()
    waiting: list[Refusal] = []
    refused: list[Refusal] = []
    node._core.proposals.append((b"a=1", waiting.append))
    node._stopped = EndsMeanwhile(times)
    node.propose(b"b=2", refused.append)
    node._flush()
    assert waiting == [Refusal.STOPPED]
    assert refused == [outcome]


def test_what_is_asked_while_a_member_stops_leaves_its_log_alone(tmp_path: Path) -> None:
    node = start(tmp_path, 1, [Simulation.member(1)], Watched(), None)
    assert ask(node.read_index)
    node.stop()
    last = node.status().last_index
    answers: list[Any] = []
    asked: list[Callable[[], None]] = [
        lambda: node.add_member(Simulation.member(2), answers.append),
        lambda: node.remove_member(9, answers.append),
        lambda: node.transfer_leadership(0, answers.append),
        lambda: node.read_index(answers.append),
        lambda: node.call(1, "echo", b"", answers.append, 1.0),
    ]
    for ask_for in asked:
        node._stopped = EndsMeanwhile()
        ask_for()
    node._stopped = EndsMeanwhile()
    node.trim_log(0)
    assert answers == [Refusal.STOPPED] * 5
    assert (node._core.last_index, node.counters.trims, node.counters.callback_failures) == (last, 0, 0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds, 20 seconds at most."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def host(tmp_path: Path, number: int, members: list[Member], store: Store, hub: Hub | None) -> RunningConsensus:
    return await host_consensus(
        CALM, number, 7, members, store, tmp_path / str(number), hub.factory(number) if hub else None
    )


async def test_three_members_on_one_loop_replicate_and_answer_on_it(tmp_path: Path) -> None:
    hub, members, loop = Hub(), [Simulation.member(n) for n in (1, 2, 3)], asyncio.get_running_loop()
    stores = {n: Watched() for n in (1, 2, 3)}
    nodes = {n: await host(tmp_path, n, members, stores[n], hub) for n in (1, 2, 3)}
    try:
        await until(lambda: any(node.status().role is Role.LEADER for node in nodes.values()))
        leader = next(node for node in nodes.values() if node.status().role is Role.LEADER)
        for i in range(50):
            leader.propose(f"k{i}={i}".encode(), lambda refusal: pytest.fail(str(refusal)))
        await until(lambda: all(len(store.data) == 50 for store in stores.values()))
        heard: list[Any] = []
        for node in nodes.values():
            node.read_index(lambda told: heard.append((told, asyncio.get_running_loop() is loop)))
        await until(lambda: len(heard) == 3)
        assert all(isinstance(told, int) and here for told, here in heard)
    finally:
        for node in nodes.values():
            await loop.run_in_executor(None, node.stop)
    assert await loop.run_in_executor(None, ask, nodes[1].read_index) is Refusal.STOPPED


async def test_a_frame_has_its_turn_at_once_unless_others_came_with_it_or_something_else_waits(tmp_path: Path) -> None:
    hub, members, loop = Hub(), [Simulation.member(n) for n in (1, 2, 3)], asyncio.get_running_loop()
    node = cast(Runtime, await host(tmp_path, 1, members, Watched(), hub))
    seen: list[int] = []

    def frame(more: bool) -> None:
        before = node.counters.messages_refused
        node._receive(2, b"\xff", more)
        seen.append(node.counters.messages_refused - before)

    try:
        for more in (False, True, False, False):
            await asyncio.sleep(0.001)
            async with asyncio.timeout(20):
                while not nothing_waits(loop):
                    await asyncio.sleep(0)
            frame(more)
        await until(lambda: node.counters.messages_refused == 4)
        loop.call_soon(lambda: None)
        frame(False)  # of five: the loop has something to do
        await until(lambda: node.counters.messages_refused == 5)
        assert seen == [1, 0, 1, 1, 0]
    finally:
        await loop.run_in_executor(None, node.stop)


async def test_what_keeps_a_hosted_member_from_starting_is_raised(tmp_path: Path) -> None:
    store = Watched()
    store.index, store.term = 5, 1
    with pytest.raises(StartError, match="part of the directory is lost"):
        await host(tmp_path, 1, [Simulation.member(1)], store, None)


async def test_a_leader_whose_disk_is_slow_serves_its_loop_and_sends_heartbeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, members, loop = Hub(), [Simulation.member(n) for n in (1, 2, 3)], asyncio.get_running_loop()
    stores = {n: Watched() for n in (1, 2, 3)}
    nodes = {n: await host(tmp_path, n, members, stores[n], hub) for n in (1, 2, 3)}
    released = threading.Event()
    released.set()
    quick = DiskFile.sync
    waiting: list[int] = []

    def sync(self: DiskFile) -> None:
        if threading.current_thread().name.startswith("raft-sync"):
            waiting.append(1)
            assert released.wait(20)
        quick(self)

    try:
        await until(lambda: any(node.status().role is Role.LEADER for node in nodes.values()))
        leader = cast(Runtime, next(node for node in nodes.values() if node.status().role is Role.LEADER))
        await until(lambda: leader._core.committed_in_term)
        monkeypatch.setattr(DiskFile, "sync", sync)
        leader._slow_disk, leader._core.last_sync = True, 1.0
        released.clear()
        leader.propose(b"a=1", lambda refusal: pytest.fail(str(refusal)))
        await until(lambda: bool(waiting))
        sent = leader.counters.messages_sent
        await until(lambda: leader.counters.messages_sent >= sent + 4)
        assert leader.status().role is Role.LEADER
        released.set()
        await until(lambda: all(store.data == {"a": "1"} for store in stores.values()))
    finally:
        released.set()
        for node in nodes.values():
            await loop.run_in_executor(None, node.stop)
