"""Exact answers of the machine: what etcd documents, and what is ours (dedup, floors, alarms, checkpoints, batches)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest
from google.protobuf.message import Message
from harness.machines import Feed, command, machine

from raftmeta.consensus.contract import Entry
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2 as kv
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import KeyRange, LeaseRecord, Machine, SpacePolicy, checks, dedup
from raftmeta.machine.ranges import encode_range
from raftmeta.store import Store
from raftmeta.v1 import command_pb2

EVERYTHING = pb.RangeRequest(key=b"\0", range_end=b"\0")


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with machine(tmp_path / "machine") as under_test:
        yield Feed(under_test)


def put_op(key: bytes) -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key))


def delete_op(key: bytes, end: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end))


def range_op(revision: int) -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=b"k", revision=revision))


def txn_op(then: list[pb.RequestOp], otherwise: list[pb.RequestOp] | None = None) -> pb.RequestOp:
    return pb.RequestOp(request_txn=pb.TxnRequest(success=then, failure=otherwise or []))


def nested(depth: int) -> pb.TxnRequest:
    return pb.TxnRequest(success=[txn_op(list(nested(depth - 1).success))] if depth else [put_op(b"k")])


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (pb.PutRequest(), Fault.EMPTY_KEY),
        (pb.PutRequest(key=b"k", value=b"v", ignore_value=True), Fault.VALUE_PROVIDED),
        (pb.PutRequest(key=b"k", lease=1, ignore_lease=True), Fault.LEASE_PROVIDED),
        (pb.PutRequest(key=b"k", ignore_value=True), Fault.KEY_NOT_FOUND),
        (pb.PutRequest(key=b"k", lease=1), Fault.LEASE_NOT_FOUND),
        (pb.DeleteRangeRequest(), Fault.EMPTY_KEY),
        (pb.TxnRequest(success=[pb.RequestOp()]), Fault.KEY_NOT_FOUND),
        (pb.TxnRequest(compare=[pb.Compare()]), Fault.EMPTY_KEY),
        (pb.TxnRequest(success=[put_op(b"k")] * 2), Fault.DUPLICATE_KEY),
        (pb.TxnRequest(success=[put_op(b"k"), delete_op(b"a", b"z")]), Fault.DUPLICATE_KEY),
        (pb.TxnRequest(success=[put_op(b"k"), txn_op([put_op(b"k")])]), Fault.DUPLICATE_KEY),
        (pb.TxnRequest(success=[delete_op(b"k"), txn_op([], [put_op(b"k")])]), Fault.DUPLICATE_KEY),
        (pb.TxnRequest(success=[txn_op([put_op(b"k")]), txn_op([put_op(b"k")])]), Fault.DUPLICATE_KEY),
        (pb.TxnRequest(success=[put_op(b"%d" % n) for n in range(129)]), Fault.TOO_MANY_OPS),
        (
            pb.TxnRequest(success=[*(put_op(b"%d" % n) for n in range(126)), txn_op([put_op(b"a"), put_op(b"b")])]),
            Fault.TOO_MANY_OPS,
        ),
        (nested(32), Fault.TOO_MANY_OPS),
        (pb.TxnRequest(success=[put_op(b"k"), range_op(9)]), Fault.FUTURE_REVISION),
        (pb.CompactionRequest(revision=2), Fault.FUTURE_REVISION),
        (pb.CompactionRequest(revision=-1), Fault.COMPACTED),
        (pb.LeaseGrantRequest(TTL=10), Fault.LEASE_NOT_FOUND),
        (pb.LeaseGrantRequest(ID=1, TTL=9_000_000_001), Fault.LEASE_TTL_TOO_LARGE),
        (pb.LeaseRevokeRequest(ID=1), Fault.LEASE_NOT_FOUND),
        (command_pb2.Floor(holder="", revision=1), Fault.EMPTY_KEY),
        (command_pb2.Floor(holder="h" * 129, revision=1), Fault.EMPTY_KEY),
    ],
)
def test_a_refused_request_changes_nothing(feed: Feed, request_: Message, fault: Fault) -> None:
    before = feed.machine.hash_kv(0, 0)
    assert feed.fault(request_) is fault
    assert feed.machine.hash_kv(0, 0) == before
    assert feed.steps[-1].changes == {}
    assert feed.machine.applied() == (1, 1)


@pytest.mark.parametrize(
    "request_",
    [
        pb.TxnRequest(success=[put_op(b"k")], failure=[put_op(b"k")]),
        pb.TxnRequest(success=[delete_op(b"k"), delete_op(b"a", b"z")]),
        pb.TxnRequest(success=[put_op(b"k"), delete_op(b"z", b"a"), delete_op(b"a", b"k"), delete_op(b"k\0", b"z")]),
        pb.TxnRequest(success=[txn_op([put_op(b"k")], [put_op(b"k")])]),
        pb.TxnRequest(success=[put_op(b"k"), delete_op(b"a", b"\0")]),
        pb.TxnRequest(success=[*(put_op(b"%d" % n) for n in range(127)), txn_op([put_op(b"a")])][1:]),
        nested(31),
    ],
)
def test_a_txn_that_etcd_accepts_is_accepted(feed: Feed, request_: pb.TxnRequest) -> None:
    checks.check_txn(request_)
    assert isinstance(feed(request_), pb.TxnResponse)


@pytest.mark.parametrize(("order", "target", "fault"), [(0, 9, True), (1, 9, True), (9, 9, False), (9, 1, False)])
def test_an_unknown_sort_target_is_refused_where_etcd_would_die(order: int, target: int, fault: bool) -> None:
    request = pb.RangeRequest(key=b"k", sort_order=order, sort_target=target)  # type: ignore[arg-type]
    if fault:
        with pytest.raises(MetastoreError, match="invalid sort option"):
            checks.check_range(request)
    else:
        checks.check_range(request)


def test_revisions_versions_and_lives_are_counted_like_etcds(feed: Feed) -> None:
    feed.put(b"k", b"1")
    feed.put(b"k", b"2")
    feed(pb.DeleteRangeRequest(key=b"k"))
    feed(pb.DeleteRangeRequest(key=b"k"))
    feed.put(b"k", b"3")
    found = [
        [(item.create_revision, item.mod_revision, item.version) for item in answer.kvs]
        for revision in range(1, 6)
        if (answer := feed.machine.range(0, pb.RangeRequest(key=b"k", revision=revision)))
    ]
    assert found == [[], [(2, 2, 1)], [(2, 3, 2)], [], [(5, 5, 1)]]


def test_headers_inside_a_txn_carry_the_revision_only_and_nested_ones_nothing(feed: Feed) -> None:
    feed.put(b"a")
    answer = feed(pb.TxnRequest(success=[delete_op(b"none"), put_op(b"b"), txn_op([put_op(b"c")]), delete_op(b"none")]))
    assert isinstance(answer, pb.TxnResponse)
    first, second, third, fourth = answer.responses
    assert first.response_delete_range.header.revision == 2
    assert second.response_put.header.revision == 3
    assert third.response_txn.HasField("header")
    assert third.response_txn.header.revision == 0
    assert third.response_txn.responses[0].response_put.header.revision == 3
    assert fourth.response_delete_range.header.revision == 3
    assert answer.header.revision == 3


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (pb.Compare(key=b"none", target=pb.Compare.VALUE, result=pb.Compare.NOT_EQUAL, value=b"x"), False),
        (pb.Compare(key=b"none", target=pb.Compare.VERSION, result=pb.Compare.EQUAL), True),
        (pb.Compare(key=b"n", range_end=b"o", target=pb.Compare.MOD, result=pb.Compare.LESS, mod_revision=1), True),
        (pb.Compare(key=b"a", range_end=b"c", target=pb.Compare.VALUE, result=pb.Compare.EQUAL, value=b"1"), False),
        (pb.Compare(key=b"a", range_end=b"c", target=pb.Compare.VALUE, result=pb.Compare.LESS, value=b"3"), True),
        (pb.Compare(key=b"a", target=9, result=pb.Compare.EQUAL), True),  # type: ignore[arg-type]
        (pb.Compare(key=b"a", result=9), True),  # type: ignore[arg-type]
    ],
)
def test_compares_hold_as_in_etcd(feed: Feed, compare: pb.Compare, holds: bool) -> None:
    feed.put(b"a", b"1")
    feed.put(b"b", b"2")
    answer = feed.machine.read_txn(0, pb.TxnRequest(compare=[compare]))
    assert answer.succeeded is holds


def test_nested_compares_do_not_see_the_outer_operations(feed: Feed) -> None:
    inner = pb.TxnRequest(
        compare=[pb.Compare(key=b"k", target=pb.Compare.VERSION, result=pb.Compare.GREATER, version=0)],
        success=[put_op(b"seen")],
        failure=[put_op(b"unseen")],
    )
    feed(pb.TxnRequest(success=[put_op(b"k"), pb.RequestOp(request_txn=inner)]))
    assert [item.key for item in feed.machine.range(0, EVERYTHING).kvs] == [b"k", b"unseen"]


def test_a_lease_takes_its_keys_along_sorted_in_one_revision(feed: Feed) -> None:
    granted = feed(pb.LeaseGrantRequest(ID=5, TTL=-3))
    assert isinstance(granted, pb.LeaseGrantResponse)
    assert granted.TTL == 2
    assert feed.fault(pb.LeaseGrantRequest(ID=5, TTL=10)) is Fault.LEASE_EXISTS
    for key in (b"c", b"a", b"b", b"detached"):
        feed.put(key, lease=5)
    feed.put(b"detached")
    feed.put(b"b", ignore_lease=True)
    assert feed.machine.lease_keys(0, 5) == [b"a", b"b", b"c"]
    feed(pb.LeaseRevokeRequest(ID=5))
    change = feed.steps[-1].changes[0]
    assert change.revoked == [5]
    assert [[one.key for one in changes] for _, changes in change.revisions] == [[b"a", b"b", b"c"]]
    assert [item.key for item in feed.machine.range(0, EVERYTHING).kvs] == [b"detached"]
    assert feed.machine.leases(0) == {}


def test_checkpoints_are_remembered_and_bounded_by_the_ttl(feed: Feed) -> None:
    feed(pb.LeaseGrantRequest(ID=5, TTL=100))
    remaining = command_pb2.LeaseCheckpoint.Remaining
    feed(command_pb2.LeaseCheckpoint(leases=[remaining(id=5, ttl=40), remaining(id=6, ttl=1)]))
    assert feed.machine.leases(0) == {5: LeaseRecord(100, 40)}
    feed(command_pb2.LeaseCheckpoint(leases=[remaining(id=5, ttl=400)]))
    assert feed.machine.lease(0, 5) == LeaseRecord(100, 100)
    assert feed.machine.lease(0, 6) is None
    assert feed.steps[-1].changes[0].checkpointed == {5: 100}


def test_nospace_refuses_what_grows_and_lets_the_rest_pass(feed: Feed) -> None:
    feed.put(b"k")
    feed(pb.LeaseGrantRequest(ID=1, TTL=10))
    alarm = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=3, alarm=pb.NOSPACE)
    raised = feed(alarm)
    assert isinstance(raised, pb.AlarmResponse)
    assert feed.machine.alarms() == list(raised.alarms)
    hidden = pb.TxnRequest(failure=[txn_op([], [put_op(b"x")])])
    for request in (pb.PutRequest(key=b"k"), pb.LeaseGrantRequest(ID=2, TTL=10), hidden):
        assert feed.fault(request) is Fault.NO_SPACE
    assert isinstance(feed.put(b"k", space=1), pb.PutResponse), "a full keyspace does not stop another"
    harmless: list[Message] = [
        pb.TxnRequest(success=[delete_op(b"k")]),
        pb.DeleteRangeRequest(key=b"k"),
        pb.LeaseRevokeRequest(ID=1),
        pb.CompactionRequest(revision=2),
    ]
    for allowed in harmless:
        assert not isinstance(feed(allowed), Fault)
    feed(pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=4, alarm=pb.NOSPACE))
    feed(pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=3, alarm=pb.NOSPACE))
    assert feed.fault(pb.PutRequest(key=b"k")) is Fault.NO_SPACE, "another member's alarm is still up"
    feed(pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=4, alarm=pb.NOSPACE))
    assert isinstance(feed.put(b"k"), pb.PutResponse)


def test_corrupt_refuses_every_change_until_cleared(feed: Feed) -> None:
    feed(pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=3, alarm=pb.CORRUPT))
    for request in (pb.PutRequest(key=b"k"), pb.DeleteRangeRequest(key=b"k"), pb.CompactionRequest(revision=1)):
        assert feed.fault(request) is Fault.CORRUPT
    answer = feed(pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=3, alarm=pb.CORRUPT))
    assert isinstance(answer, pb.AlarmResponse)
    assert [(member.memberID, member.alarm) for member in answer.alarms] == [(3, pb.CORRUPT)]
    assert isinstance(feed.put(b"k"), pb.PutResponse)


def test_compaction_stops_at_the_lowest_floor_and_says_so(feed: Feed) -> None:
    for _ in range(10):
        feed.put(b"k")
    feed(command_pb2.Floor(holder="events", revision=6))
    feed(command_pb2.Floor(holder="versions", revision=8))
    assert feed.machine.floors(0) == {"events": 6, "versions": 8}
    assert isinstance(feed(pb.CompactionRequest(revision=10)), pb.CompactionResponse)
    assert feed.machine.revisions(0) == (11, 6)
    assert feed.fault(pb.CompactionRequest(revision=10)) is Fault.COMPACTED
    assert feed.fault(command_pb2.Floor(holder="late", revision=5)) is Fault.COMPACTED
    feed(command_pb2.Floor(holder="events", revision=0))
    feed(pb.CompactionRequest(revision=10))
    assert feed.machine.revisions(0) == (11, 8)
    history = feed.machine.events(0, KeyRange(b"", None), 8, 11, 1 << 20)
    assert [revision for revision, _ in history.revisions] == [8, 9, 10, 11]


def test_compaction_keeps_what_can_be_read_and_frees_the_rest(feed: Feed) -> None:
    for number in range(200):
        feed.put(b"k%d" % (number % 4), b"v" * 2_000)
    feed(pb.DeleteRangeRequest(key=b"k0"))
    feed.machine._store.flush()
    before = feed.machine.size()[1]
    at = feed.machine.range(0, pb.RangeRequest(key=b"\0", range_end=b"\0", revision=150))
    feed(pb.CompactionRequest(revision=150))
    after = feed.machine.range(0, pb.RangeRequest(key=b"\0", range_end=b"\0", revision=150))
    assert after.kvs == at.kvs
    with pytest.raises(MetastoreError) as refused:
        feed.machine.range(0, pb.RangeRequest(key=b"k1", revision=149))
    assert refused.value.fault is Fault.COMPACTED
    feed(pb.CompactionRequest(revision=202))
    assert feed.machine.range(0, EVERYTHING).count == 3
    feed.machine._store.flush()
    assert feed.machine.size()[1] < before / 4
    assert not feed.machine.sweep()


def test_sweeping_in_slices_ends_with_the_same_hash(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmeta.machine.machine.SWEEP", 3)
    for number in range(40):
        feed.put(b"k%d" % (number % 4))
        if number % 7 == 0:
            feed(pb.DeleteRangeRequest(key=b"k1"))
    feed(pb.CompactionRequest(revision=20))
    unswept = feed.machine.hash_kv(0, 0)
    feed(pb.CompactionRequest(revision=40))
    rounds = 0
    while feed.machine.sweep():
        assert feed.machine.hash_kv(0, 0)[1:] == (40, feed.machine.revisions(0)[0])
        rounds += 1
    assert rounds > 3
    assert feed.machine.hash_kv(0, 0) != unswept
    with feed.machine._store.read() as view:
        kept = [name for name, _ in view.records(0, b"\0")]
    below = [name for name in kept if int.from_bytes(name[:8], "big") < 40]
    assert len(below) <= 4, "at most the newest record of each key is left below the compacted revision"


def test_hash_kv_is_the_checksum_of_the_records_as_etcd_writes_them(feed: Feed) -> None:
    feed.put(b"k", b"v")
    feed(pb.DeleteRangeRequest(key=b"k"))

    def revision(main: int) -> bytes:
        return main.to_bytes(8, "big") + b"_" + bytes(8)

    value = kv.KeyValue(key=b"k", create_revision=2, mod_revision=2, version=1, value=b"v").SerializeToString()
    first = b"key" + revision(2) + value
    both = first + revision(3) + b"t" + kv.KeyValue(key=b"k").SerializeToString()
    assert feed.machine.hash_kv(0, 2) == (google_crc32c.value(first), -1, 3)
    assert feed.machine.hash_kv(0, 0) == (google_crc32c.value(both), -1, 3)
    with pytest.raises(MetastoreError) as refused:
        feed.machine.hash_kv(0, 4)
    assert refused.value.fault is Fault.FUTURE_REVISION
    feed(pb.CompactionRequest(revision=2))
    with pytest.raises(MetastoreError) as refused:
        feed.machine.hash_kv(0, 2)
    assert refused.value.fault is Fault.COMPACTED


def test_a_batch_proposed_twice_is_applied_once(feed: Feed) -> None:
    batch = command_pb2.Batch(
        client=9, sequence=1, commands=[command(pb.PutRequest(key=b"k")), command(pb.PutRequest())]
    ).SerializeToString()
    feed.machine.apply([Entry(1, 1, batch), Entry(2, 1, b""), Entry(3, 2, batch)])
    first, again = feed.steps[-1].outcomes
    assert first == again
    assert first.results[1] is Fault.EMPTY_KEY
    assert feed.machine.revisions(0) == (2, -1)
    assert feed.machine.applied() == (3, 2)


def test_the_dedup_window_survives_a_restart_and_then_answers_unknown(tmp_path: Path) -> None:
    batch = command_pb2.Batch(client=9, sequence=1, commands=[command(pb.PutRequest(key=b"k"))]).SerializeToString()
    with machine(tmp_path / "machine") as under_test:
        under_test.apply([Entry(1, 1, batch)])
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        under_test.apply([Entry(2, 1, batch)])
        assert [type(result) for result in feed.steps[-1].outcomes[0].results] == [pb.PutResponse]
        under_test.apply([Entry(2 + dedup.WINDOW, 1, b""), Entry(3 + dedup.WINDOW, 1, batch)])
        assert feed.steps[-1].outcomes[0].results == [Fault.TIMEOUT]
        assert under_test.revisions(0) == (2, -1)
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        under_test.apply([Entry(4 + dedup.WINDOW, 1, batch)])
        assert feed.steps[-1].outcomes[0].results == [Fault.TIMEOUT]


def test_an_answer_too_large_to_keep_is_unknown_the_second_time(feed: Feed) -> None:
    feed.put(b"k", b"v" * (dedup.MAX_ANSWER + 1))
    reads = pb.TxnRequest(success=[put_op(b"x"), pb.RequestOp(request_range=pb.RangeRequest(key=b"k"))])
    batch = command_pb2.Batch(client=9, sequence=1, commands=[command(reads)]).SerializeToString()
    feed.machine.apply([Entry(2, 1, batch), Entry(3, 1, batch)])
    first, again = feed.steps[-1].outcomes
    assert isinstance(first.results[0], pb.TxnResponse)
    assert again.results == [Fault.TIMEOUT]
    assert feed.machine.revisions(0)[0] == 3


def test_entries_already_applied_are_skipped(feed: Feed) -> None:
    entries = [feed.entry(command(pb.PutRequest(key=b"k")))]
    feed.machine.apply(entries)
    feed.machine.apply(entries)
    assert len(feed.steps) == 1
    assert feed.machine.revisions(0) == (2, -1)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05abc", b"\x08\x01", b"\x1a\x00"])
def test_an_entry_that_is_no_sound_batch_is_passed_over(feed: Feed, data: bytes) -> None:
    feed.machine.apply([Entry(1, 1, data)])
    assert feed.machine.applied() == (1, 1)
    assert feed.machine.revisions(0) == (1, -1)


@pytest.mark.parametrize(
    "bad", [command_pb2.Command(), command_pb2.Command(space=9, put=pb.PutRequest(key=b"k")), b"unknown"]
)
def test_an_unknown_command_is_refused_and_the_rest_of_its_batch_applied(
    feed: Feed, bad: command_pb2.Command | bytes
) -> None:
    unknown = command_pb2.Command.FromString(b"\xfa\x01\x02hi") if isinstance(bad, bytes) else bad
    feed.machine.apply([feed.entry(unknown, command(pb.PutRequest(key=b"k")))])
    results = feed.steps[-1].outcomes[0].results
    assert results[0] is Fault.INVALID_CLIENT_API_VERSION
    assert isinstance(results[1], pb.PutResponse)


def test_a_failing_listener_harms_nobody(feed: Feed) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a bug in a consumer")

    heard: list[object] = []
    end = feed.machine.on_applied(fail)
    feed.machine.on_applied(heard.append)
    feed.put(b"k")
    end()
    feed.put(b"k")
    assert len(heard) == len(feed.steps) == 2


def test_keyspaces_are_apart(feed: Feed) -> None:
    feed.put(b"k", b"0")
    feed(pb.LeaseGrantRequest(ID=1, TTL=10))
    feed.put(b"k", b"1", space=1)
    assert feed.fault(pb.PutRequest(key=b"k", lease=1), space=1) is Fault.LEASE_NOT_FOUND
    assert [feed.machine.range(space, EVERYTHING).kvs[0].value for space in (0, 1)] == [b"0", b"1"]
    assert feed.machine.revisions(0) == feed.machine.revisions(1) == (2, -1)


def test_policies_say_when_compaction_and_the_alarm_are_due(tmp_path: Path) -> None:
    under_test = Machine(
        Store(tmp_path / "machine", map_size=1 << 28),
        policies={1: SpacePolicy(quota=100_000, keep_revisions=20)},
    )
    feed = Feed(under_test)
    for number in range(30):
        assert not under_test.over_quota(1)
        feed.put(b"k%d" % number, b"v" * 1_000, space=1)
    assert under_test.compaction_due(1) == 11
    assert under_test.compaction_due(0) is None
    feed(command_pb2.Floor(holder="events", revision=5), space=1)
    assert under_test.compaction_due(1) == 5
    for number in range(100):
        feed.put(b"k%d" % number, b"v" * 1_000, space=1)
    assert under_test.over_quota(1)
    assert not under_test.over_quota(0)
    under_test.close()


@pytest.mark.parametrize("size", [0, 50, 90, 200, 16_300, 16_400, 3_000_000])
@pytest.mark.parametrize("options", [{}, {"limit": 1}, {"keys_only": True}, {"count_only": True}, {"revision": 2}])
def test_an_encoded_range_is_the_message(feed: Feed, size: int, options: dict[str, int]) -> None:
    for key in (b"a", b"b"):
        feed.put(key, b"v" * size)
    request = pb.RangeRequest(key=b"a", range_end=b"c", **options)  # type: ignore[arg-type]
    answer = feed.machine.find(0, request)
    assert answer is not None
    found, revision = answer
    header = pb.ResponseHeader(cluster_id=1 << 63, member_id=9, revision=revision, raft_term=4)
    wanted = feed.machine.range(0, request)
    wanted.header.CopyFrom(header)
    assert encode_range(found, header.SerializeToString()) == wanted.SerializeToString()


def test_a_range_of_more_than_a_few_keys_is_left_to_another_thread(feed: Feed) -> None:
    for number in range(20):
        feed.put(b"k%02d" % number)
    feed(pb.DeleteRangeRequest(key=b"k03", range_end=b"k19"))
    few = [pb.RangeRequest(key=b"k00", range_end=b"k05"), pb.RangeRequest(key=b"k00", range_end=b"l", limit=2)]
    many = [
        pb.RangeRequest(key=b"k00", range_end=b"l"),
        pb.RangeRequest(key=b"k00", range_end=b"k02", revision=9),
        pb.RangeRequest(key=b"k00", range_end=b"k02", sort_order=pb.RangeRequest.DESCEND),
    ]
    for request in few:
        assert feed.machine.find(0, request, 6) == feed.machine.find(0, request)
    for request in many:
        assert feed.machine.find(0, request, 6) is None
