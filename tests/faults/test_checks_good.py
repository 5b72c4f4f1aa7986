"""Histories of a store without faults pass; with one thing in them dropped, doubled or changed they do not."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from functools import cache

import pytest
from faults.checks import linearizable
from faults.checks.by_revision import changes
from faults.checks.judging import judge
from faults.checks.truth import sees_all
from faults.history import Attempt, Heard, History, Outcome
from faults.imitation import Imitation

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

Change = Callable[[History, random.Random], None]


@cache
def told(seed: int) -> History:
    """A good history; not to be changed."""
    return Imitation(seed).run(150)


@pytest.mark.parametrize("seed", range(30))
def test_what_a_correct_store_does_under_concurrent_clients_passes(seed: int) -> None:
    report = judge(told(seed))
    assert report.ok, str(report)
    assert report.counts["ok"] > 75
    assert report.counts["revisions"] > 30
    assert report.counts["steps searched"] > 60


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_the_search_needs_no_advice_to_find_an_order(seed: int) -> None:
    found = linearizable.check(Imitation(seed).run(60), budget=200_000)
    assert not found.violations
    assert not found.gave_up


def answered(history: History, *kinds: type) -> list[Attempt]:
    """Attempts whose answer is of one of these kinds."""
    return [attempt for _, attempt in history.calls() if isinstance(attempt.answer, kinds)]


def shown(history: History) -> list[kv_pb2.KeyValue]:
    """What linearizable reads showed."""
    return [
        kv
        for operation, attempt in history.calls()
        if isinstance(attempt.answer, pb.RangeResponse) and not operation.request.serializable  # type: ignore[attr-defined]
        for kv in attempt.answer.kvs
    ]


def writes(history: History) -> list[Attempt]:
    return [
        attempt
        for attempt in answered(history, pb.PutResponse, pb.DeleteRangeResponse, pb.TxnResponse)
        if attempt.answer is not None and changes(attempt.answer)
    ]


def with_events(history: History, *, whole: bool) -> list[Heard]:
    return [
        heard
        for watching in history.watches
        if sees_all(watching) is whole
        for heard in watching.heard
        if heard.response.events
    ]


def claim_another_revision(history: History, dice: random.Random) -> None:
    dice.choice(writes(history)).answer.header.revision += 1  # type: ignore[union-attr]


def acknowledge_what_did_not_happen(history: History, dice: random.Random) -> None:
    operation = dice.choice([one for one in history.operations if isinstance(one.request, pb.PutRequest)])
    operation.request.value += b"!"  # type: ignore[attr-defined]
    operation.attempts[0].outcome = Outcome.OK
    operation.attempts[0].answer = pb.PutResponse()
    operation.attempts[0].answer.header.revision = 5


def refuse_what_happened(history: History, dice: random.Random) -> None:
    attempt = dice.choice(writes(history))
    attempt.outcome, attempt.answer = Outcome.FAILED, None


def read_another_value(history: History, dice: random.Random) -> None:
    dice.choice(shown(history)).value += b"!"


def read_an_older_version(history: History, dice: random.Random) -> None:
    dice.choice([kv for kv in shown(history) if kv.version > 1]).version -= 1


def read_nothing(history: History, dice: random.Random) -> None:
    attempt = dice.choice([one for one in answered(history, pb.RangeResponse) if one.answer.kvs])  # type: ignore[union-attr]
    revision = attempt.answer.header.revision  # type: ignore[union-attr]
    attempt.answer = pb.RangeResponse()
    attempt.answer.header.revision = revision


def flip_a_compare(history: History, dice: random.Random) -> None:
    answer = dice.choice(answered(history, pb.TxnResponse)).answer
    assert isinstance(answer, pb.TxnResponse)
    answer.succeeded = not answer.succeeded


def drop_an_event(history: History, dice: random.Random) -> None:
    heard = dice.choice(with_events(history, whole=False)[:-1])
    del heard.response.events[dice.randrange(len(heard.response.events))]


def double_an_event(history: History, dice: random.Random) -> None:
    heard = dice.choice(with_events(history, whole=False))
    heard.response.events.append(heard.response.events[-1])


def double_a_response(history: History, dice: random.Random) -> None:
    watching = dice.choice([one for one in history.watches if any(heard.response.events for heard in one.heard)])
    at = dice.choice([place for place, heard in enumerate(watching.heard) if heard.response.events])
    watching.heard.insert(at, watching.heard[at])


def swap_two_responses(history: History, dice: random.Random) -> None:
    full = [[place for place, heard in enumerate(one.heard) if heard.response.events] for one in history.watches]
    number = dice.choice([number for number, places in enumerate(full) if len(places) > 1])
    heard = history.watches[number].heard
    first, second = full[number][:2]
    heard[first], heard[second] = heard[second], heard[first]


def change_an_event(history: History, dice: random.Random) -> None:
    event = dice.choice(dice.choice(with_events(history, whole=True)).response.events)
    event.kv.value += b"!"


def forget_a_writer(history: History, dice: random.Random) -> None:
    attempt = dice.choice(writes(history))
    operation = next(one for one in history.operations if attempt in one.attempts)
    operation.attempts = [Attempt("m0", 1.0, 1.0, Outcome.FAILED)]


def move_a_read_behind_everything(history: History, dice: random.Random) -> None:
    reads = [
        attempt
        for operation, attempt in history.calls()
        if isinstance(attempt.answer, pb.RangeResponse) and not operation.request.serializable  # type: ignore[attr-defined]
    ]
    reads[0].start, reads[0].end = 9998.0, 9999.0


CHANGES: list[Change] = [
    claim_another_revision,
    acknowledge_what_did_not_happen,
    refuse_what_happened,
    read_another_value,
    read_an_older_version,
    read_nothing,
    flip_a_compare,
    drop_an_event,
    double_an_event,
    double_a_response,
    swap_two_responses,
    change_an_event,
    forget_a_writer,
    move_a_read_behind_everything,
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("change", CHANGES)
def test_a_good_history_with_one_thing_changed_does_not_pass(change: Change, seed: int) -> None:
    history = History()
    good = told(seed)
    history.operations, history.watches = copy.deepcopy(good.operations), copy.deepcopy(good.watches)
    history.healed, history.ended = good.healed, good.ended
    change(history, random.Random(seed))
    assert judge(history, budget=3_000).violations


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("change", [read_another_value, read_an_older_version])
def test_the_search_alone_notices_what_a_read_cannot_have_shown(change: Change, seed: int) -> None:
    history = Imitation(seed, losses=0.0).run(100)
    change(history, random.Random(seed))
    found = linearizable.check(history, budget=50_000)
    assert found.violations, found.gave_up
