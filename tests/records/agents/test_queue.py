"""Queues: what waits, who may have it when, and what makes room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import aio
from harness.conversations import Ledger, structure
from harness.failures import reason_of
from harness.records import Clock
from quartet.agents.v1 import queue_calls_pb2 as calls
from quartet.agents.v1 import queue_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")
UNKNOWN: Any = 99
COLLECT, FOLLOWUP, STEER = pb.QUEUE_MODE_COLLECT, pb.QUEUE_MODE_FOLLOWUP, pb.QUEUE_MODE_STEER


async def put(
    ledger: Ledger, text: str, mode: pb.QueueMode.ValueType = pb.QUEUE_MODE_UNSPECIFIED
) -> calls.EnqueueResponse:
    """Put a message into the queue."""
    request = calls.EnqueueRequest(session_label="mom", message=structure(text=text), mode=mode)
    return await ledger.calls.Enqueue(request)


async def claim(ledger: Ledger, **fields: object) -> calls.ClaimQueueItemsResponse:
    """Take what is due."""
    return await ledger.calls.ClaimQueueItems(calls.ClaimQueueItemsRequest(session_label="mom", **fields))  # type: ignore[arg-type]


def texts(items: object) -> list[str]:
    """Return what messages of items say."""
    return [item.message["text"] for item in items]  # type: ignore[attr-defined]


async def test_what_is_collected_is_given_out_together_when_nothing_came_for_a_while(
    ledger: Ledger, clock: Clock
) -> None:
    await ledger.session()
    await put(ledger, "a")
    clock.now += 0.6
    assert (await put(ledger, "b")).item.mode == COLLECT
    clock.now += 0.6
    early = await claim(ledger)
    assert (texts(early.items), early.waiting) == ([], 2)
    assert 0 < early.due_in.ToMilliseconds() <= 400
    clock.now += 0.5
    due = await claim(ledger)
    assert (texts(due.items), due.waiting) == (["a", "b"], 0)
    assert not (await claim(ledger)).items


async def test_what_follows_up_is_given_out_one_by_one_and_what_steers_comes_first(ledger: Ledger) -> None:
    await ledger.session()
    await put(ledger, "a", FOLLOWUP)
    await put(ledger, "b", FOLLOWUP)
    await put(ledger, "c", STEER)
    await put(ledger, "d", pb.QUEUE_MODE_INTERRUPT)
    given = [texts((await claim(ledger)).items) for _ in range(5)]
    assert given == [["d"], ["c"], ["a"], ["b"], []]


async def test_two_callers_never_get_the_same_item(ledger: Ledger) -> None:
    await ledger.session()
    for n in range(6):
        await put(ledger, str(n), FOLLOWUP)
    given = await asyncio.gather(*(claim(ledger) for _ in range(8)))
    assert sorted(text for one in given for text in texts(one.items)) == ["0", "1", "2", "3", "4", "5"]


async def test_an_item_is_delivered_once_and_only_by_whoever_claimed_it(ledger: Ledger) -> None:
    await ledger.session()
    item = (await put(ledger, "a", FOLLOWUP)).item
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.DeliverQueueItem(calls.DeliverQueueItemRequest(id=item.id))
    assert reason_of(error.value) == "ALREADY_SETTLED"
    await claim(ledger)
    done = await ledger.calls.DeliverQueueItem(calls.DeliverQueueItemRequest(id=item.id))
    assert (done.status, done.HasField("delivered_at")) == (pb.QUEUE_STATUS_DELIVERED, True)
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.FailQueueItem(calls.FailQueueItemRequest(id=item.id, error="late"))
    assert reason_of(error.value) == "ALREADY_SETTLED"


async def test_what_was_claimed_by_somebody_who_is_gone_can_be_claimed_again(ledger: Ledger, clock: Clock) -> None:
    await ledger.session()
    await put(ledger, "a", FOLLOWUP)
    await claim(ledger)
    clock.now += 30
    assert not (await claim(ledger)).items
    assert texts((await claim(ledger, stale_age=Duration(seconds=29))).items) == ["a"]
    assert not (await claim(ledger, stale_age=Duration(seconds=29))).items


@pytest.mark.parametrize("policy", [pb.DROP_POLICY_OLD, pb.DROP_POLICY_SUMMARIZE])
async def test_a_full_queue_drops_the_oldest_and_tells_of_what_is_to_be_summarised(
    ledger: Ledger, policy: pb.DropPolicy.ValueType
) -> None:
    await ledger.session()
    await settings(ledger, cap=2, drop_policy=policy)
    for text in "abc":
        dropped = (await put(ledger, text, FOLLOWUP)).dropped
    assert (texts(dropped), dropped[0].status) == (["a"], pb.QUEUE_STATUS_FAILED)
    stored = await ledger.calls.ListQueueItems(calls.ListQueueItemsRequest(status=pb.QUEUE_STATUS_FAILED))
    assert list(stored.queue_items) == list(dropped)
    first, second = await claim(ledger), await claim(ledger)
    told = ["a"] if policy == pb.DROP_POLICY_SUMMARIZE else []
    assert (texts(first.dropped), texts(second.dropped)) == (told, [])
    assert (texts(first.items), texts(second.items)) == (["b"], ["c"])


async def test_a_full_queue_may_refuse_what_is_new(ledger: Ledger) -> None:
    await ledger.session()
    await settings(ledger, cap=1, drop_policy=pb.DROP_POLICY_NEW)
    await put(ledger, "a")
    with pytest.raises(aio.AioRpcError) as error:
        await put(ledger, "b")
    assert reason_of(error.value) == "QUEUE_FULL"


async def test_settings_have_defaults_and_change_by_their_mask(ledger: Ledger) -> None:
    await ledger.session()
    usual = await ledger.calls.GetQueueSettings(calls.GetQueueSettingsRequest(session_label="mom"))
    assert (usual.mode, usual.debounce_ms, usual.cap, usual.drop_policy) == (
        COLLECT,
        1000,
        20,
        pb.DROP_POLICY_SUMMARIZE,
    )
    await settings(ledger, cap=5)
    changed = await settings(ledger, ("mode",), mode=STEER, cap=9)
    assert (changed.cap, changed.mode) == (5, STEER)
    assert changed == await ledger.calls.GetQueueSettings(calls.GetQueueSettingsRequest(session_label="mom"))


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("Enqueue", calls.EnqueueRequest(session_label="gone"), "SESSION_NOT_FOUND"),
        ("Enqueue", calls.EnqueueRequest(session_label="mom", mode=UNKNOWN), "FIELD_INVALID"),
        (
            "Enqueue",
            calls.EnqueueRequest(session_label="mom", message=structure(text="x" * 300_000)),
            "FIELD_INVALID",
        ),
        ("ClaimQueueItems", calls.ClaimQueueItemsRequest(session_label="mom", max_items=-1), "FIELD_INVALID"),
        (
            "ClaimQueueItems",
            calls.ClaimQueueItemsRequest(session_label="mom", stale_age=Duration(seconds=-1)),
            "FIELD_INVALID",
        ),
        ("DeliverQueueItem", calls.DeliverQueueItemRequest(id="gone"), "RECORD_NOT_FOUND"),
        ("FailQueueItem", calls.FailQueueItemRequest(id="gone"), "FIELD_INVALID"),
        (
            "UpdateQueueSettings",
            calls.UpdateQueueSettingsRequest(queue_settings=pb.QueueSettings(session_label="mom", cap=0)),
            "FIELD_INVALID",
        ),
        (
            "UpdateQueueSettings",
            calls.UpdateQueueSettingsRequest(queue_settings=pb.QueueSettings(session_label="mom", debounce_ms=-1)),
            "FIELD_INVALID",
        ),
        (
            "UpdateQueueSettings",
            calls.UpdateQueueSettingsRequest(
                queue_settings=pb.QueueSettings(session_label="mom"), update_mask=FieldMask(paths=["etag"])
            ),
            "FIELD_INVALID",
        ),
    ],
)
async def test_what_cannot_be_done_with_a_queue_has_its_reason(
    ledger: Ledger, method: str, request_: object, reason: str
) -> None:
    await ledger.session()
    with pytest.raises(aio.AioRpcError) as error:
        await getattr(ledger.calls, method)(request_)
    assert reason_of(error.value) == reason


async def settings(ledger: Ledger, fields: tuple[str, ...] = (), **values: object) -> pb.QueueSettings:
    """Say how the queue behaves."""
    given = pb.QueueSettings(session_label="mom", **values)  # type: ignore[arg-type]
    request = calls.UpdateQueueSettingsRequest(queue_settings=given, update_mask=FieldMask(paths=fields))
    return await ledger.calls.UpdateQueueSettings(request)
