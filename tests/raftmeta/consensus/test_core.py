"""The core on the simulated network: proposals, reads, calls, flow control and limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness.simnet import CONFIG, Simulation
from pysyncobj.syncobj import SyncObj

from raftmeta.consensus import Member, RaftConfig, Refusal, SafetyError
from raftmeta.consensus.codec import FormatError, decode, entry_kind, unpack_members
from raftmeta.consensus.engine import EngineError, check_engine, field
from raftmeta.consensus.installing import check_paths
from raftmeta.v1 import peer_pb2


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_a_cluster_elects_one_leader_and_applies_a_write_everywhere(tmp_path: Path, members: int) -> None:
    sim = Simulation(tmp_path, members)
    sim.put("a", "1")
    sim.settle()
    assert [machine.store.data for machine in sim.machines.values()] == [{"a": "1"}] * members


def test_everything_proposed_in_one_turn_costs_one_sync_and_one_apply(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 1)
    sim.elect()
    sim.run(0.1)
    machine = sim.machines[1]
    syncs, calls = machine.disk.syncs, machine.store.calls
    for number in range(500):
        sim.propose(1, b"k%d=v" % number)
    sim.run(0.1)
    assert len(machine.store.data) == 500
    assert (machine.disk.syncs - syncs, machine.store.calls - calls) == (1, 1)


def test_reads_that_wait_together_share_one_round(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    before = leader.counters.read_rounds
    answers = [sim.read_index(1) for _ in range(100)]
    answers += [sim.read_index(2) for _ in range(100)]
    sim.run(0.1)
    assert all(answer == [leader.commit] for answer in answers)
    assert leader.counters.read_rounds - before <= 3


def test_a_new_leader_answers_no_read_before_it_has_committed_in_its_term(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    sim.elect(1)
    sim.put("a", "1")
    sim.settle()
    sim.on_message = lambda sender, receiver, frame: not decode(frame).HasField("append_reply")
    sim.core(1).begin_transfer(2, lambda outcome: None)
    sim.until(lambda: sim.core(2).leads)
    answers = sim.read_index(2)
    sim.run(0.3)
    assert answers == []
    sim.on_message = None
    sim.until(lambda: bool(answers))
    assert answers == [sim.core(2).noop_index]


@pytest.mark.parametrize(
    ("limit", "refusal"),
    [
        ({"queued_bytes": 100}, Refusal.BUSY),
        ({"queued_proposals": 2}, Refusal.BUSY),
        ({"proposal_bytes": 9}, Refusal.BUSY),
    ],
)
def test_proposals_beyond_a_limit_are_refused_and_appended_by_nobody(
    tmp_path: Path, limit: dict[str, Any], refusal: Refusal
) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, **limit))
    leader = sim.elect(1)
    sim.partition([1], [2, 3])
    answers = [sim.propose(1, b"k%d=%s" % (number, b"v" * 20)) for number in range(10)]
    sim.run(0.1)
    assert answers[-1] == [refusal]
    assert leader.last_index - (leader.noop_index or 0) == answers.count([])
    sim.heal()
    sim.settle()
    leader = sim.elect()
    assert sim.propose(leader.me, b"a=1") == []


def test_a_follower_refuses_proposals_and_names_why(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    sim.elect(1)
    sim.run(0.1)
    refused = sim.propose(2, b"a=1")
    sim.run(0.1)
    assert refused == [Refusal.NOT_LEADER]
    sim.partition([2])
    sim.run(2.0)
    refused = sim.propose(2, b"a=1")
    sim.run(0.1)
    assert refused == [Refusal.NO_LEADER]


def test_a_slow_follower_has_a_bounded_number_of_appends_on_its_way(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, inflight_messages=3, append_bytes=100, queued_proposals=100_000))
    leader = sim.elect(1)
    sim.run(0.2)
    carried = [0]

    def count(sender: int, receiver: int, frame: bytes) -> bool:
        if receiver == 3 and decode(frame).append.entries:
            carried[0] += 1
        return sender != 3

    sim.on_message = count
    for number in range(300):
        sim.propose(1, b"k%d=%s" % (number, b"v" * 50))
        sim.run(0.001)
    sim.run(0.3)
    assert leader.commit >= 300
    assert carried[0] <= 3 + 2  # a window, and what a heartbeat's answer on its way may have freed
    sim.on_message = None
    sim.settle()
    assert len(sim.machines[3].store.data) == 300


def test_a_follower_that_lost_messages_is_brought_back_without_an_election(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    sim.elect(1)
    sim.loss = 0.3
    for number in range(50):
        sim.put(f"k{number}", "v")
    sim.loss = 0.0
    sim.settle()
    assert [len(machine.store.data) for machine in sim.machines.values()] == [50] * 3


def echo(caller: int, payload: bytes, reply: Callable[[Any], None]) -> None:
    reply(b"%d:" % caller + payload)


def broken(caller: int, payload: bytes, reply: Callable[[Any], None]) -> None:
    raise RuntimeError("handler")


def test_a_call_is_answered_refused_or_times_out(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    sim.elect(1)
    sim.core(2).handlers["echo"] = echo
    sim.core(2).handlers["no"] = lambda caller, payload, reply: reply(Refusal.NO_LEADER)
    sim.core(2).handlers["big"] = lambda caller, payload, reply: reply(bytes(CONFIG.call_bytes + 1))
    sim.core(2).handlers["raises"] = broken
    sim.core(1).handlers["echo"] = echo
    got: dict[str, Any] = {}

    def ask(name: str, member: int, method: str, payload: bytes = b"") -> None:
        sim.core(1).begin_call(member, method, payload, lambda answer: got.setdefault(name, answer), 1.0)

    ask("answered", 2, "echo", b"hello")
    ask("here", 1, "echo", b"me")
    ask("refused", 2, "no")
    ask("too large an answer", 2, "big")
    ask("too large", 2, "echo", bytes(CONFIG.call_bytes + 1))
    ask("no such method", 2, "none")
    ask("no such member", 9, "echo")
    ask("never answered", 2, "raises")
    sim.run(2.0)
    assert got == {
        "answered": b"1:hello",
        "here": b"1:me",
        "refused": Refusal.NO_LEADER,
        "too large an answer": Refusal.BUSY,
        "too large": Refusal.BUSY,
        "no such method": Refusal.UNKNOWN,
        "no such member": Refusal.NOT_MEMBER,
        "never answered": Refusal.TIMED_OUT,
    }


def test_what_is_told_arrives_without_an_answer_or_is_known_not_to_have_left(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    heard: list[tuple[int, int, bytes]] = []

    def hear(number: int, caller: int, payload: bytes, reply: Callable[[Any], None]) -> None:
        heard.append((number, caller, payload))
        reply(b"nobody waits")

    for number in sim.machines:
        sim.core(number).handlers["hear"] = partial(hear, number)
    unsent: list[Any] = []
    for member, payload in ((2, b"there"), (1, b"here"), (9, b"nowhere"), (2, bytes(CONFIG.call_bytes + 1))):
        leader.begin_tell(member, "hear", payload, unsent.append)
    before = sim.core(2).counters.messages_sent
    leader.wire = NoWire()
    leader.begin_tell(2, "hear", b"cut off", unsent.append)
    sim.run(0.01)
    assert heard == [(1, 1, b"here"), (2, 1, b"there")]
    assert unsent == [Refusal.NOT_MEMBER, Refusal.BUSY, Refusal.NOT_MEMBER]
    assert sim.core(2).counters.messages_sent == before


class NoWire:
    """A wire that takes nothing."""

    def send(self, member_id: int, frame: bytes) -> bool:
        return False

    def set_peers(self, peers: Mapping[int, Member]) -> None:
        raise AssertionError("nobody's membership changes here")


def test_a_member_that_stops_answers_everything_that_waits(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    sim.partition([1])
    got: list[Any] = []
    leader.begin_read(got.append)
    leader.begin_call(2, "echo", b"", got.append, 60.0)
    leader.begin_transfer(2, got.append)
    leader.turn()
    leader.proposals.append((b"a=1", got.append))
    leader.later(lambda: leader.begin_read(got.append))
    leader.flush_later()
    assert got == [Refusal.STOPPED] * 5


def test_a_transfer_that_was_overtaken_is_answered_when_the_next_begins(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    sim.run(0.1)
    sim.on_message = lambda sender, receiver, frame: not decode(frame).HasField("timeout_now")
    got: dict[str, Any] = {}
    first: list[Any] = []
    leader.begin_transfer(2, first.append)
    leader.follow(leader.term + 1, None)
    leader.campaign(transfer=True)
    sim.until(lambda: leader.leads)
    assert first == []
    leader.begin_transfer(3, lambda answer: got.setdefault("second", answer))
    assert first == [Refusal.LEADER_CHANGED]
    sim.run(2.0)
    assert (len(first), got) == (1, {"second": Refusal.TIMED_OUT})


@pytest.mark.parametrize("trimmed", [False, True])
def test_whoever_sees_an_entry_applied_sees_the_membership_before_it(tmp_path: Path, trimmed: bool) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    sim.settle()
    sim.crash(3)
    done: list[int | Refusal] = []
    leader.later(lambda: leader.update_member(replace(sim.member(2), client_address="host2:2"), done.append))
    sim.until(lambda: bool(done))
    sim.put("a", "1")
    if trimmed:
        leader.trim(leader.last_applied)
    store, seen = sim.machines[3].store, []
    told: list[str] = []
    sim.start(3)
    sim.core(3).on_status(lambda status: told.append(status.members[2].client_address))
    for name in ("apply", "install"):
        original = getattr(store, name)

        def then_look(what: Any, original: Callable[[Any], None] = original) -> None:
            original(what)
            if store.data:
                seen.append(sim.core(3).status.members[2].client_address)

        setattr(store, name, then_look)
    sim.settle()
    assert sim.core(3).counters.snapshots_installed == trimmed
    assert seen[0] == "host2:2"
    assert told[-1] == "host2:2"


def test_a_change_is_refused_where_it_cannot_be_made(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    sim.run(0.1)
    got: dict[str, Any] = {}

    def note(name: str) -> Callable[[Any], None]:
        return lambda answer: got.setdefault(name, answer)

    leader.add_member(replace(sim.member(9), peer_address="host2:1"), note("address"))
    leader.update_member(replace(sim.member(3), peer_address="host2:1"), note("moved onto another"))
    leader.update_member(sim.member(9), note("update nobody"))
    leader.remove_member(9, note("remove nobody"))
    leader.promote_member(9, note("promote nobody"))
    sim.core(2).add_member(sim.member(9), note("follower"))
    leader.update_member(replace(sim.member(3), client_address="host3:2"), note("update"))
    leader.update_member(replace(sim.member(3), client_address="host3:3"), note("another"))
    sim.run(0.2)
    assert got == {
        "address": Refusal.ADDRESS_EXISTS,
        "moved onto another": Refusal.ADDRESS_EXISTS,
        "update nobody": Refusal.NOT_MEMBER,
        "remove nobody": Refusal.NOT_MEMBER,
        "promote nobody": Refusal.NOT_MEMBER,
        "follower": Refusal.NOT_LEADER,
        "another": Refusal.BUSY,
        "update": leader.commit,
    }
    assert sim.core(2).members[3].client_address == "host3:2"


def test_a_removed_member_that_was_away_is_told_when_it_asks(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    sim.run(0.1)
    sim.partition([1, 2], [3])
    done: list[int | Refusal] = []
    leader.later(lambda: leader.remove_member(3, done.append))
    sim.until(lambda: bool(done))
    sim.run(100.0)  # longer than the leader goes on sending to it
    sim.heal()
    sim.run(3.0)
    assert 3 not in sim.core(3).status.members
    assert {core.term for core in sim.up} == {leader.term}
    refused = sim.propose(3, b"a=1")
    sim.run(0.1)
    assert refused == [Refusal.NOT_MEMBER]


def test_two_leaders_in_one_term_stop_the_one_that_notices(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    message = peer_pb2.PeerMessage(version=1, term=leader.term, append=peer_pb2.Append())
    leader.inbox.append((2, message.SerializeToString()))
    with pytest.raises(SafetyError, match="two leaders"):
        leader.turn()


@pytest.mark.parametrize("path", ["", "/etc/x", "a/../b", "..", "a//b", "./a", "a\\b", "a\0b", "a/."])
def test_a_snapshot_with_a_bad_file_name_is_refused(path: str) -> None:
    manifest = peer_pb2.SnapshotManifest(files=[peer_pb2.SnapshotManifest.File(path=path, size=1)])
    with pytest.raises(FormatError):
        check_paths(manifest)


def test_a_snapshot_of_many_files_and_chunks_arrives_as_it_was(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, snapshot_chunk_bytes=97))
    sim.elect(1)
    sim.crash(3)
    for number in range(40):
        sim.put(f"k{number}", "v" * number)
    sim.core(1).trim(40)
    sim.loss = 0.1
    sim.start(3)
    sim.run(20.0)
    sim.loss = 0.0
    sim.settle()
    assert sim.core(3).counters.snapshots_installed == 1
    assert sim.machines[3].store.data == sim.machines[1].store.data


@pytest.mark.parametrize(
    "wrong",
    [
        {"election_min": 0.1},
        {"election_max": 0.4},
        {"heartbeat": 0.0},
        {"tail_entries": -1},
        {"append_bytes": 0},
        {"promote_ratio": 1.5},
    ],
)
def test_settings_no_leader_could_live_under_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        RaftConfig(**wrong)


def test_another_pysyncobj_is_refused_with_what_to_install() -> None:
    with pytest.raises(EngineError, match=r"needs pysyncobj 0\.3\.17 exactly, found 0\.3\.18"):
        check_engine(SyncObj, "0.3.18")


def test_a_pysyncobj_without_a_private_name_is_refused() -> None:
    class Other:
        def __init__(self) -> None:
            self._SyncObj__raftLog = 1

    with pytest.raises(EngineError, match=r"_SyncObj__applyLogEntries.*raftCommitIndex"):
        check_engine(Other, "0.3.17")
    with pytest.raises(EngineError, match="not among the names checked"):
        field("raftSomething")


def test_entries_and_memberships_of_another_form_are_refused() -> None:
    for data in (b"", b"\x20", b"\x13", b"\x00"):
        with pytest.raises(FormatError):
            entry_kind(data)
    for ids in ([0], [1, 1]):
        with pytest.raises(FormatError):
            unpack_members(peer_pb2.Membership(members=[peer_pb2.Member(id=n) for n in ids]))


def test_pysyncobjs_own_ways_in_are_closed(tmp_path: Path) -> None:
    core = Simulation(tmp_path, 1).core(1)
    with pytest.raises(SafetyError):
        core._applyCommand(b"x", None, 0)
    with pytest.raises(SafetyError):
        core._SyncObj__sendNextNodeIdx(core.selfNode)
    with pytest.raises(SafetyError):
        core.set_term(-1, None)


def test_the_design_names_tests_that_exist() -> None:
    root = Path(__file__).parents[3]
    design = (root / "raftmeta" / "DESIGN.md").read_text()
    sources = "\n".join(path.read_text() for path in (root / "tests" / "raftmeta").rglob("test_*.py"))
    for number in range(1, 24):
        assert f"| P{number} |" in design
    for name in set(re.findall(r"`(test_[a-z0-9_]+)`", design)):
        assert f"def {name}(" in sources, name
    for name in set(re.findall(r"`([a-z0-9]+\.txt)`", design)):
        assert (root / "tests" / "raftmeta" / "testdata" / name).exists(), name
