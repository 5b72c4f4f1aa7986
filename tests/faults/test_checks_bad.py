"""Every promise, broken by hand: the check that is there for it notices, and says so under its name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults.checks import linearizable
from faults.checks.judging import judge
from faults.scripted import ALL, Script

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb


def lost_write(script: Script) -> None:
    script.put(1, b"a", b"1", 2)
    script.put(2, b"a", b"2", 3)
    script.wrote(2, (b"a", b"2"))


def write_with_other_contents(script: Script) -> None:
    script.put(1, b"a", b"1", 2)
    script.wrote(2, (b"a", b"x"))


def stale_read(script: Script) -> None:
    script.put(1, b"a", b"1", 2)
    script.put(2, b"a", b"2", 3)
    script.get(3, b"a", b"1", 2, 2)
    script.wrote(2, (b"a", b"1"))
    script.wrote(3, (b"a", b"2"))


def stale_read_under_a_new_revision(script: Script) -> None:
    stale_read(script)
    script.history.operations[-1].attempts[0].answer.header.revision = 3  # type: ignore[union-attr]


def dirty_read(script: Script) -> None:
    script.put(1, b"a", b"1", 2)
    script.call(1.1, pb.PutRequest(key=b"a", value=b"never"), None, failed=True)
    script.get(2, b"a", b"never", 2, 2)
    script.wrote(2, (b"a", b"1"))


def duplicate_apply(script: Script, answered: int = 2) -> None:
    script.put(1, b"a", b"1", answered)
    script.wrote(2, (b"a", b"1"))
    script.wrote(3, (b"a", b"1"))


def duplicate_apply_of_an_unanswered_write(script: Script) -> None:
    duplicate_apply(script, answered=0)


def split_txn(script: Script) -> None:
    script.puts(1, [(b"a", b"1"), (b"b", b"1")], 2)
    script.wrote(2, (b"a", b"1"))
    script.wrote(3, (b"b", b"1"))


def split_txn_seen_by_a_reader(script: Script) -> None:
    script.puts(1, [(b"a", b"1"), (b"b", b"1")], 2)
    script.get(2, b"a", b"1", 2, 2)
    script.get(3, b"b", None, 2)
    script.wrote(2, (b"a", b"1"), (b"b", b"1"))


def failed_write_took_effect(script: Script) -> None:
    script.put(1, b"a", b"1", failed=True)
    script.wrote(2, (b"a", b"1"))


def write_of_nobody(script: Script) -> None:
    script.put(1, b"a", b"1", 2)
    script.wrote(2, (b"a", b"1"))
    script.wrote(3, (b"b", b"1"))


def effect_before_its_call(script: Script) -> None:
    script.put(100, b"a", b"1")
    script.wrote(2, (b"a", b"1"))


def delete_that_does_not_count(script: Script) -> None:
    script.put(1, b"a", b"1", 2)
    script.call(2, pb.DeleteRangeRequest(key=b"a"), pb.DeleteRangeResponse(deleted=0), 2)
    script.wrote(2, (b"a", b"1"))


def two_writes_at_one_revision(script: Script) -> None:
    script.put(1, b"a", b"1", 2)
    script.put(1, b"b", b"1", 2)
    script.wrote(2, (b"a", b"1"))


def lost_update(script: Script) -> None:
    script.put(1, b"a", b"0", 2)
    script.swap(2, b"a", b"0", b"1", 3)
    script.swap(2, b"a", b"0", b"2", 4)
    script.wrote(2, (b"a", b"0"))
    script.wrote(3, (b"a", b"1"))
    script.wrote(4, (b"a", b"2"))


def order_against_real_time(script: Script) -> None:
    script.put(1, b"a", b"1", 3)
    script.put(2, b"a", b"2", 2)
    script.wrote(2, (b"a", b"2"))
    script.wrote(3, (b"a", b"1"))


def revision_going_back_on_a_member(script: Script) -> None:
    script.put(1, b"a", b"1", 2)
    script.put(2, b"b", b"1", 3)
    script.get(3, b"a", b"1", 3, 2, client="c", serializable=True)
    script.get(4, b"a", b"1", 2, 2, client="c", serializable=True)
    script.wrote(2, (b"a", b"1"))
    script.wrote(3, (b"b", b"1"))


def read_of_the_future(script: Script) -> None:
    script.get(1, b"a", b"1", 2, 2, serializable=True)
    script.put(2, b"a", b"1", 2)
    script.wrote(2, (b"a", b"1"))


def read_at_no_revision(script: Script) -> None:
    script.get(1, b"a", None, 9)


def member_with_two_ids(script: Script) -> None:
    for member_id in (7, 8):
        answer = script.get(1, b"a", None, 1).attempts[0].answer
        assert isinstance(answer, pb.RangeResponse)
        answer.header.cluster_id, answer.header.member_id = 1, member_id


def request_applied_twice(script: Script) -> None:
    operation = script.put(1, b"a", b"id-1", 3, request_id=b"id-1")
    operation.attempts.insert(0, script.put(0.5, b"a", b"id-1").attempts[0])
    script.history.operations.pop()
    script.wrote(2, (b"a", b"id-1"))
    script.wrote(3, (b"a", b"id-1"))


def request_without_its_id(script: Script) -> None:
    script.put(1, b"a", b"1", 2, request_id=b"id-1")
    script.wrote(2, (b"a", b"1"))


def lease_over_early(script: Script, ended: float = 4.0) -> None:
    script.call(1, pb.LeaseGrantRequest(ID=5, TTL=3), pb.LeaseGrantResponse(ID=5, TTL=3), 1)
    script.put(1.6, b"a", b"1", 2, lease=5)
    script.call(2.2, pb.LeaseKeepAliveRequest(ID=5), pb.LeaseKeepAliveResponse(ID=5, TTL=3), 2)
    script.wrote(2, (b"a", b"1"), lease=5)
    script.wrote(3, (b"a", None))
    watching = script.watch()
    script.hear(watching, 2.0, 2, *script.log[2])
    script.hear(watching, ended, 3, *script.log[3])


def lease_without_end(script: Script) -> None:
    script.call(1, pb.LeaseGrantRequest(ID=5, TTL=3), pb.LeaseGrantResponse(ID=5, TTL=3), 1)
    script.put(2, b"a", b"1", 2, lease=5)
    script.wrote(2, (b"a", b"1"), lease=5)
    script.history.healed, script.history.ended = 100.0, 200.0


CASES: list[tuple[Callable[[Script], None], str]] = [
    (lost_write, "lost write"),
    (write_with_other_contents, "lost write"),
    (stale_read, "stale read"),
    (stale_read, "not linearizable"),
    (stale_read_under_a_new_revision, "wrong read"),
    (stale_read_under_a_new_revision, "not linearizable"),
    (dirty_read, "wrong read"),
    (dirty_read, "not linearizable"),
    (duplicate_apply, "write applied twice"),
    (duplicate_apply_of_an_unanswered_write, "write applied twice"),
    (split_txn, "torn write"),
    (split_txn_seen_by_a_reader, "wrong read"),
    (split_txn_seen_by_a_reader, "not linearizable"),
    (failed_write_took_effect, "failed write took effect"),
    (write_of_nobody, "write of nobody"),
    (effect_before_its_call, "write of nobody"),
    (delete_that_does_not_count, "wrong answer to a write"),
    (delete_that_does_not_count, "not linearizable"),
    (two_writes_at_one_revision, "two writes at one revision"),
    (lost_update, "lost write"),
    (lost_update, "not linearizable"),
    (order_against_real_time, "revision does not follow real time"),
    (revision_going_back_on_a_member, "revision went back"),
    (read_of_the_future, "revision from the future"),
    (read_at_no_revision, "revision from nowhere"),
    (member_with_two_ids, "member changed its id"),
    (request_applied_twice, "request applied twice"),
    (request_without_its_id, "cannot be judged"),
    (lease_over_early, "lease ended early"),
    (lease_without_end, "lease never ended"),
]


@pytest.mark.parametrize(("case", "check"), CASES)
def test_a_broken_promise_is_noticed_under_its_name(case: Callable[[Script], None], check: str) -> None:
    script = Script()
    case(script)
    if not script.history.watches:
        script.watched()
    report = judge(script.history)
    assert check in {violation.check for violation in report.violations}, str(report)
    assert not report.ok


def test_a_lease_that_ended_when_its_time_was_over_is_fine() -> None:
    script = Script()
    lease_over_early(script, ended=5.3)
    assert judge(script.history).ok


def test_reads_that_look_back_after_a_restart_of_their_member_are_fine() -> None:
    script = Script()
    revision_going_back_on_a_member(script)
    script.watched()
    script.history.starts.append((3.8, "m0"))
    assert judge(script.history).ok


@pytest.mark.parametrize("missing", [2, 3])
def test_a_log_with_a_hole_is_no_proof_of_anything(missing: int) -> None:
    script = Script()
    for number in (2, 3, 4):
        script.put(number, b"a", b"%d" % number, number)
        script.wrote(number, (b"a", b"%d" % number))
    del script.log[missing]
    script.watched()
    assert "gap in the log" in {violation.check for violation in judge(script.history).violations}


def test_a_search_that_takes_too_long_gives_up_and_that_is_no_pass() -> None:
    script = Script()
    for number in range(30):
        script.put(1, b"a", b"%d" % number, until=2.0)
    script.get(3, b"a", b"never written", 1, 1)
    found = linearizable.check(script.history, budget=1000)
    assert found.gave_up
    report = judge(script.history, budget=1000)
    assert report.gave_up
    assert not report.ok


def test_members_that_tell_two_stories_are_noticed() -> None:
    script = Script()
    script.put(1, b"a", b"1", 2)
    script.wrote(2, (b"a", b"1"))
    script.watched()
    other = script.watch(member="m1")
    script.hear(
        other,
        3,
        2,
        kv_pb2.Event(kv=kv_pb2.KeyValue(key=b"a", value=b"2", mod_revision=2, create_revision=2, version=1)),
    )
    assert "two stories of one revision" in {violation.check for violation in judge(script.history).violations}


def test_a_version_that_skips_is_noticed() -> None:
    script = Script()
    watching = script.watch(ALL)
    script.hear(
        watching, 3, 2, kv_pb2.Event(kv=kv_pb2.KeyValue(key=b"a", mod_revision=2, create_revision=2, version=2))
    )
    assert "log does not follow from itself" in {violation.check for violation in judge(script.history).violations}
