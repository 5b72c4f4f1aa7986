"""What is wrong in stock pysyncobj (P1 to P23 in raftmeta/DESIGN.md) and right here; stock's side is test_stock_defects.py."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from harness.simnet import CONFIG, Simulation

from raftmeta.consensus import Refusal, SafetyError, StartError
from raftmeta.consensus.cabinet import DiskCabinet
from raftmeta.consensus.codec import HEADERS, VERSION
from raftmeta.v1 import peer_pb2
from raftmeta.wal import HardState, LogEntry, Wal
from raftmeta.wal.recovery import Index
from raftmeta.wal.segment import Segment


def _failing(*_: object) -> None:
    raise RuntimeError("callback")


@pytest.fixture
def sim(tmp_path: Path) -> Simulation:
    """Three members that have elected 1 and written a=1 (index 2) everywhere, in term 1."""
    simulation = Simulation(tmp_path)
    simulation.elect(1)
    simulation.put("a", "1")
    simulation.settle()
    simulation.run(0.1)
    return simulation


def say(sim: Simulation, sender: int, receiver: int, term: int, **body: Any) -> list[peer_pb2.PeerMessage]:
    """Let a message arrive at once and return what the receiver answers the sender."""
    answers: list[peer_pb2.PeerMessage] = []

    def listen(source: int, target: int, frame: bytes) -> bool:
        if (source, target) == (receiver, sender):
            answers.append(peer_pb2.PeerMessage.FromString(frame))
        return False

    sim.on_message = listen
    core = sim.core(receiver)
    core.inbox.append((sender, peer_pb2.PeerMessage(version=VERSION, term=term, **body).SerializeToString()))
    try:
        core.turn()
    finally:
        sim.on_message = None
    return answers


def entries(*terms: int) -> list[peer_pb2.LogEntry]:
    return [peer_pb2.LogEntry(term=term, data=HEADERS[0] + b"x=%d" % n) for n, term in enumerate(terms)]


def append(prev: tuple[int, int], *terms: int, commit: int = 0) -> peer_pb2.Append:
    return peer_pb2.Append(prev_index=prev[0], prev_term=prev[1], entries=entries(*terms), commit=commit)


def test_p1_here_no_acknowledgement_and_no_vote_leaves_before_it_is_durable(sim: Simulation) -> None:
    checked = []

    def watch(sender: int, receiver: int, frame: bytes) -> bool:
        message, disk = peer_pb2.PeerMessage.FromString(frame), sim.machines[sender].disk
        reply = message.append_reply
        if message.HasField("append_reply") and reply.success:
            assert reply.index <= disk.last
            checked.append("append")
        if message.HasField("vote_reply") and message.vote_reply.granted and not message.vote_reply.pre:
            assert disk.hard == HardState(message.term, receiver)
            checked.append("grant")
        if message.HasField("vote") and not message.vote.pre:
            assert disk.hard == HardState(message.term, sender)
            checked.append("ask")
        return True

    sim.on_message = watch
    for number in range(20):
        sim.put(f"k{number}", "v")
    sim.crash(1)
    sim.put("after", "1")
    assert set(checked) == {"append", "grant", "ask"}


def test_p1_here_a_leader_does_not_count_itself_before_its_own_disk_has_the_entry(sim: Simulation) -> None:
    leader = sim.core(1)
    assert leader.append_own(HEADERS[0] + b"b=2") == 3
    for peer in leader.peers.values():
        leader.match[peer] = 0
    leader.match[leader.peers[2]] = 3
    assert not leader.advance_commit()
    leader.sync()
    assert leader.advance_commit()


def test_p2_here_an_old_append_removes_nothing(sim: Simulation) -> None:
    say(sim, 1, 2, 1, append=append((2, 1), *[1] * 10, commit=2))
    answers = say(sim, 1, 2, 1, append=append((2, 1), 1, commit=2))
    assert sim.core(2).last_index == 12
    assert answers[-1].append_reply.index == 3


def test_p2_here_a_conflict_at_or_below_the_commit_index_stops_the_member(sim: Simulation) -> None:
    with pytest.raises(SafetyError, match="committed here"):
        say(sim, 1, 2, 9, append=append((0, 0), 7, 7, 7, commit=3))


def test_p3_here_only_what_was_verified_is_committed(sim: Simulation) -> None:
    say(sim, 1, 2, 1, append=append((2, 1), 1, 1, 1, commit=2))
    chunk = peer_pb2.SnapshotChunk(last_index=50, last_term=5, id=1, offset=0, data=b"x", crc=1)
    say(sim, 3, 2, 5, snapshot_chunk=chunk)
    say(sim, 3, 2, 5, append=append((2, 1), commit=100))
    assert sim.core(2).commit == 2


def test_p8_here_a_damaged_record_is_refused(tmp_path: Path) -> None:
    DiskCabinet(tmp_path).save("membership", b"x" * 20)
    file = tmp_path / "membership.rec"
    for damaged in (b"", file.read_bytes()[:-1], file.read_bytes()[:-1] + b"y"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="checksum"):
            DiskCabinet(tmp_path).load("membership")


def test_p9_here_a_full_disk_makes_a_leader_step_down_and_lose_nothing(sim: Simulation) -> None:
    for number in sim.machines:
        sim.machines[number].disk.capacity = 2000
    acknowledged = []
    for number in range(60):
        where, command = (sim.leader or sim.core(1)).me, b"k%d=%s" % (number, b"v" * 80)
        refusals = sim.propose(where, command)
        sim.run(0.05)
        if command in [data for _, data in sim.machines[where].store.commands]:
            assert not refusals
            acknowledged.append(command)
    assert refusals
    assert 0 < len(acknowledged) < 60
    assert any(core.status.read_only for core in sim.up)
    for machine in sim.machines.values():
        machine.disk.capacity = 1 << 30
    sim.run(2.0)
    sim.put("again", "1")
    sim.settle()
    assert len({tuple(machine.store.commands) for machine in sim.machines.values()}) == 1
    applied = [data for _, data in sim.machines[1].store.commands]
    assert [applied.count(command) for command in acknowledged] == [1] * len(acknowledged)


def test_p10_here_a_log_goes_on_beyond_32_bits(tmp_path: Path) -> None:
    start = 1 << 32
    log = Wal.open(tmp_path, create=True, segment_bytes=4096)
    log.reset(start - 50, start - 1)
    log.save_hard_state(start + 1, start + 2)
    for index in range(start - 49, start + 51):
        log.append(index, start + (index > start), b"v" * 200)
    log.sync()
    log.trim_to(start - 20)
    log.close()
    log = Wal.open(tmp_path, create=False)
    assert (log.first_index, log.last_index, log.durable_index) == (start - 19, start + 50, start + 50)
    assert (log.hard_state, log.last_term) == (HardState(start + 1, start + 2), start + 1)
    assert [(entry.index, entry.term) for entry in log.entries(start, 2)] == [(start, start), (start + 1, start + 1)]
    log.truncate_from(start + 10)
    log.append(start + 10, start + 1, b"w")
    log.sync()
    assert log.entries(start + 10, 5) == [LogEntry(start + 10, start + 1, b"w")]
    log.close()
    places = Index(1)
    places.add(cast(Segment, None), 1, start + 7, start + 9)
    assert (places.offsets[0], places.sizes[0]) == (start + 7, start + 9)


def test_p5_here_a_restart_keeps_the_log_above_what_is_applied(sim: Simulation) -> None:
    say(sim, 1, 2, 1, append=append((2, 1), *[1] * 100, commit=50))
    assert sim.core(2).last_applied == 50
    sim.restart(2)
    assert (sim.core(2).last_index, sim.core(2).last_applied) == (102, 50)


def test_p6_here_nothing_is_committed_at_boot_but_what_is_applied(sim: Simulation) -> None:
    say(sim, 1, 2, 1, append=append((2, 1), 1, 1, 1, commit=2))
    sim.crash(1)
    sim.crash(3)
    sim.restart(2)
    sim.run(5.0)
    assert (sim.core(2).commit, sim.core(2).last_index) == (2, 5)


def test_p11_here_a_reply_of_another_term_is_dropped_and_a_stale_leader_is_told(sim: Simulation) -> None:
    leader = sim.core(1)
    leader.append_own(HEADERS[0] + b"b=2")
    before = dict(leader.match)
    say(sim, 2, 1, 0, append_reply=peer_pb2.AppendReply(success=True, index=3))
    assert leader.match == before
    assert leader.leads
    answer = say(sim, 3, 1, 0, append=append((0, 0)))[-1]
    assert (answer.term, answer.append_reply.success) == (1, False)


def test_p12_here_a_member_that_was_cut_off_neither_raises_its_term_nor_deposes(sim: Simulation) -> None:
    sim.partition([1, 2], [3])
    sim.run(20.0)
    sim.heal()
    sim.run(2.0)
    assert {core.term for core in sim.up} == {1}
    assert sim.core(1).leads


def test_p12_here_a_vote_is_refused_while_a_leader_is_heard_but_given_for_a_transfer(sim: Simulation) -> None:
    vote = peer_pb2.Vote(last_index=99, last_term=1)
    assert not say(sim, 3, 2, 5, vote=vote)[-1].vote_reply.granted
    assert sim.core(2).term == 1
    vote.transfer = True
    assert say(sim, 3, 2, 5, vote=vote)[-1].vote_reply.granted


def test_p13_here_a_leader_alone_answers_no_read_and_steps_down(sim: Simulation) -> None:
    sim.partition([1], [2, 3])
    answers = sim.read_index(1)
    sim.run(CONFIG.election_max + 2 * CONFIG.heartbeat)
    assert answers in ([Refusal.NO_LEADER], [Refusal.TIMED_OUT])
    assert not sim.core(1).leads


def test_p14_here_a_callback_that_raises_harms_nobody(sim: Simulation) -> None:
    leader = sim.core(1)
    leader.on_status(_failing)
    leader.proposals.append((b"b=2", _failing))
    sim.core(2).proposals.append((b"c=3", _failing))
    leader.begin_read(_failing)
    leader.begin_transfer(2, _failing)
    sim.put("d", "4")
    sim.settle()
    assert [data for _, data in sim.machines[3].store.commands].count(b"b=2") <= 1
    assert leader.counters.callback_failures >= 2


def test_p15_here_a_state_machine_that_raises_stops_the_member_where_it_was(sim: Simulation) -> None:
    store = sim.machines[2].store
    apply, store.apply = store.apply, _failing  # type: ignore[method-assign,assignment]
    sim.propose(1, b"b=1")
    with pytest.raises(RuntimeError):
        sim.run(1.0)
    assert store.index == 2
    store.apply = apply  # type: ignore[method-assign]
    sim.restart(2)
    sim.put("b", "2")
    sim.settle()
    assert store.data["b"] == "2"


def test_p16_here_the_log_is_trimmed_only_below_what_is_durably_applied(sim: Simulation) -> None:
    core, store = sim.core(1), sim.machines[1].store
    for number in range(5):
        sim.put(f"k{number}", "v")
    store.applied = lambda: (4, 1)  # type: ignore[method-assign]
    core.trim(100)
    assert core.base_index == 4


@pytest.mark.parametrize(
    ("applied", "complaint"),
    [((1, 1), "older than the log"), ((99, 1), "lost its tail"), ((4, 7), "do not belong together")],
)
def test_p17_here_a_state_that_does_not_fit_its_log_keeps_the_member_from_starting(
    sim: Simulation, applied: tuple[int, int], complaint: str
) -> None:
    for number in range(4):
        sim.put(f"k{number}", "v")
    sim.core(1).trim(3)
    sim.crash(1)
    sim.machines[1].store.index, sim.machines[1].store.term = applied
    with pytest.raises(StartError, match=complaint):
        sim.start(1)


def test_p18_here_a_snapshot_that_is_not_newer_is_refused(sim: Simulation) -> None:
    say(sim, 1, 2, 1, append=append((2, 1), *[1] * 40, commit=42))
    chunk = peer_pb2.SnapshotChunk(last_index=3, last_term=1, id=1)
    chunk.manifest.sha256 = b""
    answer = say(sim, 1, 2, 1, snapshot_chunk=chunk)[-1]
    assert answer.snapshot_reply.installed
    assert (sim.core(2).last_index, sim.core(2).base_index, sim.machines[2].store.index) == (42, 0, 42)


@pytest.mark.parametrize("trimmed", [False, True])
def test_p19_here_a_restart_has_the_membership_of_the_log(sim: Simulation, trimmed: bool) -> None:
    sim.add_machine(4)
    done: list[int | Refusal] = []
    sim.core(1).later(lambda: sim.core(1).add_member(sim.member(4), done.append))
    sim.until(lambda: bool(done))
    sim.put("b", "2")
    sim.settle()
    if trimmed:
        assert sim.core(2).trim(sim.core(2).last_applied)
    sim.restart(2)
    assert set(sim.core(2).members) == {1, 2, 3, 4}
    assert len(sim.core(2).voters) == 3


def test_p19_here_an_uncommitted_change_is_taken_back_with_its_entry(sim: Simulation) -> None:
    sim.partition([1], [2, 3])
    sim.core(1).later(lambda: sim.core(1).add_member(sim.member(4, learner=True), lambda outcome: None))
    sim.run(0.1)
    assert set(sim.core(1).members) == {1, 2, 3, 4}
    sim.run(2.0)
    sim.put("b", "2")
    sim.heal()
    sim.settle()
    assert set(sim.core(1).members) == {1, 2, 3}


def test_p20_here_nothing_forks(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", _failing)
    sim.crash(3)
    sim.put("b", "2")
    sim.core(1).trim(3)
    sim.start(3)
    sim.settle()
    assert sim.core(3).counters.snapshots_installed == 1
    assert not sim.core(1).conf.useFork


def test_p21_here_what_waits_is_read_before_anybody_is_blamed(sim: Simulation) -> None:
    follower = sim.core(2)
    sim.machines[2].slow = 5.0  # its next turn comes five seconds late
    sim.run(0.1)
    sim.machines[2].slow = 0.0
    sim.run(6.0)
    assert follower.counters.stalls >= 1
    assert sim.core(1).leads
    assert {core.term for core in sim.up} == {1}
    assert sum(core.counters.elections for core in sim.up) == 1


def test_p21_here_a_leader_that_stalled_listens_before_it_steps_down(sim: Simulation) -> None:
    leader = sim.core(1)
    sim.now += 0.35  # shorter than any follower's patience, with a full turn missed
    leader.turn()
    sim.run(0.1)
    assert leader.leads
    assert leader.counters.step_downs == 0


def test_p22_here_a_trim_leaves_the_tail_that_was_asked_for(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, snapshot_entries=10, tail_entries=7))
    for number in range(40):
        sim.put(f"k{number}", "v")
    core = sim.elect()
    assert core.counters.trims >= 1
    assert 7 <= core.last_index - core.base_index <= 18


def test_a_snapshot_that_changes_on_its_way_is_refused_and_sent_again(sim: Simulation) -> None:
    sim.crash(3)
    sim.put("b", "2")
    sim.core(1).trim(3)
    damaged: list[int] = []

    def damage(sender: int, receiver: int, frame: bytes) -> bool:
        message = peer_pb2.PeerMessage.FromString(frame)
        if message.HasField("snapshot_chunk") and not damaged:
            damaged.append(1)
            message.snapshot_chunk.data = b"!" + message.snapshot_chunk.data[1:]
            sim.core(receiver).inbox.append((sender, message.SerializeToString()))
            return False
        return True

    sim.on_message = damage
    sim.start(3)
    sim.settle()
    assert damaged
    assert sim.core(3).counters.snapshots_failed == 1
    assert sim.machines[3].store.data == {"a": "1", "b": "2"}


@pytest.mark.parametrize("moment", ["before the install", "after the install", "after the reset"])
def test_a_crash_while_a_snapshot_is_installed_is_made_good_at_the_next_start(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    sim.crash(3)
    sim.put("b", "2")
    sim.core(1).trim(3)
    sim.start(3)
    core, machine = sim.core(3), sim.machines[3]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    if moment == "before the install":
        monkeypatch.setattr(machine.store, "install", stop)
    elif moment == "after the install":
        monkeypatch.setattr(core.log, "reset", stop)
    else:
        monkeypatch.setattr("raftmeta.consensus.installing.INSTALLING", "unused")
        monkeypatch.setattr(core, "replace_history", stop)
    with pytest.raises(KeyboardInterrupt):
        sim.settle()
    monkeypatch.undo()
    sim.restart(3)
    sim.settle()
    assert machine.store.data == {"a": "1", "b": "2"}
    assert set(sim.core(3).members) == {1, 2, 3}


def test_junk_is_counted_and_changes_nothing(sim: Simulation) -> None:
    core = sim.core(2)
    before = core.status
    entry = LogEntry(1, 1, b"\xff")
    junk = [
        b"",
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        peer_pb2.PeerMessage(version=9, term=99, timeout_now=peer_pb2.TimeoutNow()).SerializeToString(),
        peer_pb2.PeerMessage(version=VERSION, term=99).SerializeToString(),
        peer_pb2.PeerMessage(
            version=VERSION, term=1, append=peer_pb2.Append(entries=[peer_pb2.LogEntry(term=1, data=entry.data)])
        ).SerializeToString(),
        peer_pb2.PeerMessage(
            version=VERSION, term=1, append=peer_pb2.Append(entries=entries(7), prev_index=2, prev_term=1)
        ).SerializeToString(),
    ]
    core.inbox.extend((1, frame) for frame in junk)
    core.turn()
    assert core.counters.messages_refused == len(junk)
    assert core.status == before
