"""Watchers that break their promises, one way each; the check of watchers names it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults.checks.judging import judge
from faults.history import Heard
from faults.scripted import ALL, Script

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

NARROW = pb.WatchCreateRequest(key=b"a", range_end=b"c", start_revision=2)
Case = Callable[[Script], None]


def story() -> Script:
    """Four writes, of which one transaction, that a watcher of everything heard as they were."""
    script = Script()
    script.put(1, b"a", b"1", 2)
    script.puts(2, [(b"a", b"2"), (b"b", b"2")], 3)
    script.put(3, b"z", b"3", 4)
    script.put(4, b"a", b"4", 5)
    script.wrote(2, (b"a", b"1"))
    script.wrote(3, (b"a", b"2"), (b"b", b"2"))
    script.wrote(4, (b"z", b"3"))
    script.wrote(5, (b"a", b"4"))
    script.watched()
    return script


def heard(script: Script, *responses: list[kv_pb2.Event] | int, request: pb.WatchCreateRequest = NARROW) -> None:
    """Add a watcher with these responses: events, or the revision that progress says."""
    watching = script.watch(request)
    for number, response in enumerate(responses):
        if isinstance(response, int):
            script.hear(watching, 10 + number, response)
        else:
            script.hear(watching, 10 + number, 5, *response)


def previous(event: kv_pb2.Event, value: bytes) -> kv_pb2.Event:
    copy = kv_pb2.Event()
    copy.CopyFrom(event)
    copy.prev_kv.CopyFrom(kv_pb2.KeyValue(key=b"a", value=value, mod_revision=2, create_revision=2, version=1))
    return copy


def wanting(**options: object) -> pb.WatchCreateRequest:
    request = pb.WatchCreateRequest()
    request.CopyFrom(NARROW)
    request.MergeFrom(pb.WatchCreateRequest(**options))  # type: ignore[arg-type]
    return request


GOOD: list[Case] = [
    lambda it: heard(it, it.log[2], it.log[3], it.log[5]),
    lambda it: heard(it, it.log[2] + it.log[3], 4, it.log[5], 5),
    lambda it: heard(it, it.log[2], it.log[3], 3, 4),
    lambda it: heard(it, it.log[3][:1], it.log[5], request=pb.WatchCreateRequest(key=b"a", start_revision=3)),
    lambda it: heard(it, [previous(it.log[3][0], b"1"), it.log[3][1]], request=wanting(prev_kv=True, start_revision=3)),
    lambda it: heard(it, 5, request=wanting(filters=[0])),
]
BAD: list[tuple[str, Case]] = [
    ("events out of order", lambda it: heard(it, it.log[3] + it.log[2])),
    ("revision twice or too late", lambda it: heard(it, it.log[3], it.log[2])),
    ("gap in a watch", lambda it: heard(it, it.log[2], it.log[5])),
    ("gap in a watch", lambda it: heard(it, it.log[3])),
    ("revision in two responses", lambda it: heard(it, it.log[2], it.log[2])),
    ("revision in two responses", lambda it: heard(it, it.log[2], it.log[3][:1], it.log[3][1:])),
    ("torn revision", lambda it: heard(it, it.log[2], it.log[3][:1])),
    ("wrong events", lambda it: heard(it, it.log[2], it.log[3] + it.log[3][:1])),
    ("wrong events", lambda it: heard(it, it.log[2], it.log[3][::-1])),
    ("progress ahead of events", lambda it: heard(it, it.log[2], 3, it.log[3])),
    ("progress ahead of events", lambda it: heard(it, it.log[2], it.log[3], 5)),
    ("revision twice or too late", lambda it: heard(it, it.log[2], 3, it.log[3])),
    ("revision twice or too late", lambda it: heard(it, it.log[2], it.log[3], request=wanting(start_revision=3))),
    ("event of another range", lambda it: heard(it, it.log[2], it.log[3], it.log[4])),
    ("event that was filtered out", lambda it: heard(it, it.log[2], request=wanting(filters=[0]))),
    ("previous value", lambda it: heard(it, it.log[2], [previous(it.log[3][0], b"1"), it.log[3][1]])),
    ("previous value", lambda it: heard(it, it.log[3], request=wanting(prev_kv=True, start_revision=3))),
    (
        "previous value",
        lambda it: heard(
            it, [previous(it.log[3][0], b"x"), it.log[3][1]], request=wanting(prev_kv=True, start_revision=3)
        ),
    ),
]


@pytest.mark.parametrize("tell", GOOD)
def test_watchers_that_keep_their_promises_pass(tell: Case) -> None:
    script = story()
    tell(script)
    report = judge(script.history)
    assert report.ok, str(report)


@pytest.mark.parametrize(("check", "tell"), BAD)
def test_a_watcher_that_breaks_a_promise_is_named(check: str, tell: Case) -> None:
    script = story()
    tell(script)
    report = judge(script.history)
    assert check in {violation.check for violation in report.violations}, str(report)


def test_fragments_of_a_revision_count_as_one_response() -> None:
    script = story()
    watching = script.watch(NARROW)
    script.hear(watching, 10, 5, *script.log[2], script.log[3][0])
    script.hear(watching, 11, 5, script.log[3][1])
    assert not judge(script.history).ok
    watching.heard[1].response.fragment = True
    assert judge(script.history).ok


def test_a_header_older_than_its_events_is_noticed() -> None:
    script = story()
    script.hear(script.watch(NARROW), 10, 1, *script.log[2])
    assert "header behind its events" in {violation.check for violation in judge(script.history).violations}


@pytest.mark.parametrize(("asked", "told", "good"), [(4, 4, True), (4, 2, False), (3, 4, False), (None, 4, False)])
def test_a_watcher_is_compacted_only_below_what_somebody_compacted(asked: int | None, told: int, good: bool) -> None:
    script = story()
    if asked is not None:
        script.call(5, pb.CompactionRequest(revision=asked), pb.CompactionResponse(), 5)
    watching = script.watch(NARROW)
    script.hear(watching, 10, 0, compact=told)
    assert judge(script.history).ok is good


def test_what_comes_after_the_end_of_a_watcher_is_noticed() -> None:
    script = story()
    watching = script.watch(NARROW)
    watching.heard.append(Heard(10, pb.WatchResponse(canceled=True)))
    script.hear(watching, 11, 5, *script.log[2])
    assert "events after the end" in {violation.check for violation in judge(script.history).violations}


def test_events_before_a_watcher_was_created_are_noticed() -> None:
    script = story()
    watching = script.watch(NARROW)
    watching.heard.clear()
    script.hear(watching, 11, 5, *script.log[2])
    assert "events before created" in {violation.check for violation in judge(script.history).violations}


def test_a_watcher_that_hears_nothing_more_for_long_after_the_faults_is_noticed() -> None:
    script = story()
    script.history.healed, script.history.ended = 100.0, 200.0
    watching = script.watch(NARROW)
    script.hear(watching, 10, 2, *script.log[2])
    assert "watcher went silent" in {violation.check for violation in judge(script.history).violations}
    watching.end = 150.0
    assert judge(script.history).ok


def test_a_watcher_from_now_on_begins_after_the_revision_it_was_created_at() -> None:
    script = story()
    watching = script.watch(pb.WatchCreateRequest(key=b"a"))
    watching.heard[0].response.header.revision = 3
    script.hear(watching, 12, 5, *script.log[5])
    assert judge(script.history).ok
    watching.heard[0].response.header.revision = 1
    assert "gap in a watch" in {violation.check for violation in judge(script.history).violations}


def test_the_log_is_what_watchers_of_everything_heard_and_no_other() -> None:
    script = story()
    script.history.watches.clear()
    heard(script, script.log[2], script.log[3], script.log[5], request=wanting())
    assert "lost write" in {violation.check for violation in judge(script.history).violations}
    assert ALL.start_revision == 1
