"""Queues of sessions: what waits for an agent that is at work, and who may have it when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from quartet.agents.v1 import queue_calls_pb2 as calls
from quartet.agents.v1 import queue_pb2 as pb

from quartet_server.agent_errors import AlreadySettled, QueueFull
from quartet_server.agents import lookup
from quartet_server.agents.drafts import small
from quartet_server.agents.fields import forget, said
from quartet_server.agents.schema import QUEUE_ITEMS, QUEUE_SETTINGS
from quartet_server.errors import FieldInvalid
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session as Transaction

DEBOUNCE_MS, CAP = 1000, 20
LONGEST_DEBOUNCE_MS, HIGHEST_CAP = 600_000, 1000
DROPPED, UNTOLD, TOLD = "dropped: the queue was full", "dropped: to be summarised", "dropped: summarised"
ITEM_BYTES = 256 << 10
_ROOM = 1 << 20  # bytes of each list of an answer
_AT_ONCE, _MOST = 100, 1000
_COLUMNS = QUEUE_ITEMS.table.c
_OLDEST_FIRST = (_COLUMNS.enqueued_at, _COLUMNS.id)
_URGENT, _COLLECT = ("interrupt", "steer"), "collect"
_FIELDS = ("mode", "debounce_ms", "cap", "drop_policy")


def usual(label: str) -> pb.QueueSettings:
    """Return how the queue of a session behaves for which nobody said anything."""
    return pb.QueueSettings(
        session_label=label,
        mode=pb.QUEUE_MODE_COLLECT,
        debounce_ms=DEBOUNCE_MS,
        cap=CAP,
        drop_policy=pb.DROP_POLICY_SUMMARIZE,
    )


def settings(at: Transaction, label: str) -> pb.QueueSettings:
    """Return how the queue of the session with this label behaves."""
    return rows.find(at, QUEUE_SETTINGS, label) or usual(label)


def get_settings(at: Transaction, request: calls.GetQueueSettingsRequest) -> pb.QueueSettings:
    """Return how the queue of a session behaves. Raises SessionNotFound, FieldInvalid."""
    return settings(at, lookup.session(at, request.session_label).label)


def update_settings(at: Transaction, request: calls.UpdateQueueSettingsRequest) -> pb.QueueSettings:
    """Say how the queue of a session shall behave. Raises SessionNotFound, EtagStale, FieldInvalid."""
    given = request.queue_settings
    label = lookup.session(at, given.session_label, "queue_settings.session_label").label
    fields = tuple(dict.fromkeys(request.update_mask.paths)) or _FIELDS
    changed = settings(at, label)
    for name in fields:
        if name not in _FIELDS:
            raise FieldInvalid.of("update_mask", f"takes: {', '.join(_FIELDS)}")
        forget(changed, name)
        if name in ("mode", "drop_policy") or said(given, name):
            setattr(changed, name, getattr(given, name))
    otherwise = usual(label)
    for name, lowest, highest in (("debounce_ms", 0, LONGEST_DEBOUNCE_MS), ("cap", 1, HIGHEST_CAP)):
        if not said(changed, name):
            setattr(changed, name, getattr(otherwise, name))
        if not lowest <= getattr(changed, name) <= highest:
            raise FieldInvalid.of(f"queue_settings.{name}", f"must be from {lowest} to {highest}")
    changed.mode = changed.mode or otherwise.mode
    changed.drop_policy = changed.drop_policy or otherwise.drop_policy
    changed.session_label = label
    if rows.find(at, QUEUE_SETTINGS, label) is None:
        return rows.insert(at, QUEUE_SETTINGS, changed)
    return rows.update(at, QUEUE_SETTINGS, changed, _FIELDS, etag=given.etag)


class Waiting(NamedTuple):
    """An item that waits."""

    id: str
    mode: str
    enqueued_at: int


def enqueue(at: Transaction, request: calls.EnqueueRequest) -> calls.EnqueueResponse:
    """Put a message into a queue, and make room for it. Raises SessionNotFound, QueueFull, RecordExists, FieldInvalid."""
    small(request.message, "message", ITEM_BYTES)
    label = lookup.session(at, request.session_label).label
    rule = settings(at, label)
    waiting = _waiting(at, label)
    answer = calls.EnqueueResponse()
    if len(waiting) >= rule.cap:
        if rule.drop_policy == pb.DROP_POLICY_NEW:
            raise QueueFull(f"{rule.cap} messages wait for session {label}", label=label, cap=rule.cap)
        why = DROPPED if rule.drop_policy == pb.DROP_POLICY_OLD else UNTOLD
        gone = [one.id for one in waiting[: len(waiting) - rule.cap + 1]]
        answer.dropped.extend(_fetched(at, gone))
        values = {"status": "failed", "error": why}
        rows.change(at, QUEUE_ITEMS, _COLUMNS.id.in_(gone), values)
        for item in answer.dropped:
            item.status, item.error = pb.QUEUE_STATUS_FAILED, why
            item.etag = str(int(item.etag) + 1)
    item = pb.QueueItem(
        id=request.id,
        session_label=label,
        message=request.message,
        mode=request.mode or rule.mode,
        enqueued_at=stamp(at.now),
    )
    answer.item.CopyFrom(rows.insert(at, QUEUE_ITEMS, item))
    return answer


def claim(at: Transaction, request: calls.ClaimQueueItemsRequest) -> calls.ClaimQueueItemsResponse:
    """Give out what is due. Raises SessionNotFound, FieldInvalid."""
    if not 0 <= request.max_items <= _MOST:
        raise FieldInvalid.of("max_items", f"0 to {_MOST} are taken")
    label = lookup.session(at, request.session_label).label
    rule = settings(at, label)
    if request.HasField("stale_age"):
        _take_back(at, label, request.stale_age)
    waiting = _waiting(at, label)
    answer = calls.ClaimQueueItemsResponse(dropped=_untold(at, label))
    due, wait = _due(waiting, rule, at.now)
    for item in _fetched(at, [one.id for one in due[: request.max_items or _AT_ONCE]]):
        item.status = pb.QUEUE_STATUS_PROCESSING
        item.claimed_at.CopyFrom(stamp(at.now))
        answer.items.append(rows.update(at, QUEUE_ITEMS, item, ("status", "claimed_at")))
    answer.waiting = len(waiting) - len(answer.items)
    if wait:
        answer.due_in.FromMicroseconds(wait)
    return answer


def _due(waiting: Sequence[Waiting], rule: pb.QueueSettings, now: int) -> tuple[Sequence[Waiting], int]:
    """Return which of the items that wait, the oldest first, are due; if none is, after how many microseconds some are."""
    for mode in _URGENT:
        if urgent := [item for item in waiting if item.mode == mode]:
            return urgent, 0
    if not waiting or waiting[0].mode != _COLLECT:
        return waiting[:1], 0
    collected = [item for item in waiting if item.mode == _COLLECT]
    wait = rule.debounce_ms * 1000 - (now - max(item.enqueued_at for item in collected))
    return ([], wait) if wait > 0 else (collected, 0)


def deliver(at: Transaction, request: calls.DeliverQueueItemRequest) -> pb.QueueItem:
    """Say that the agent has an item. Raises RecordNotFound, AlreadySettled, FieldInvalid."""
    item = _item(at, request.id)
    if item.status != pb.QUEUE_STATUS_PROCESSING:
        raise AlreadySettled(f"item {item.id} is not claimed, or has ended", item=item.id)
    return _end(at, item, pb.QUEUE_STATUS_DELIVERED)


def fail(at: Transaction, request: calls.FailQueueItemRequest) -> pb.QueueItem:
    """Give an item up. Raises RecordNotFound, AlreadySettled, FieldInvalid."""
    if not request.error:
        raise FieldInvalid.of("error", "is empty")
    item = _item(at, request.id)
    if item.status not in (pb.QUEUE_STATUS_PENDING, pb.QUEUE_STATUS_PROCESSING):
        raise AlreadySettled(f"item {item.id} has ended", item=item.id)
    return _end(at, item, pb.QUEUE_STATUS_FAILED, request.error)


def _item(at: Transaction, item_id: str) -> pb.QueueItem:
    rows.check_id(item_id)
    return rows.fetch(at, QUEUE_ITEMS, item_id)


def _waiting(at: Transaction, label: str) -> list[Waiting]:
    """Return the items that wait for a session, the oldest first: no more than a queue can have."""
    chosen = (
        sa.select(_COLUMNS.id, _COLUMNS.mode, _COLUMNS.enqueued_at)
        .where(_COLUMNS.zone == at.zone, _COLUMNS.session_label == label, _COLUMNS.status == "pending")
        .order_by(*_OLDEST_FIRST)
        .limit(HIGHEST_CAP + 1)
    )
    return [Waiting(*row) for row in at.connection.execute(chosen)]


def _fetched(at: Transaction, ids: Iterable[str]) -> list[pb.QueueItem]:
    """Return the first of the items `ids`, as many as have room in an answer."""
    found: list[pb.QueueItem] = []
    room = _ROOM
    for one in ids:
        item = rows.fetch(at, QUEUE_ITEMS, one)
        room -= item.ByteSize()
        if found and room < 0:
            break
        found.append(item)
    return found


def _untold(at: Transaction, label: str) -> list[pb.QueueItem]:
    """Return what was dropped to be summarised and nobody was told of; it counts as told from now on."""
    chosen = (
        sa.select(_COLUMNS.id)
        .where(_COLUMNS.zone == at.zone, _COLUMNS.session_label == label)
        .where(_COLUMNS.status == "failed", _COLUMNS.error == UNTOLD)
        .order_by(*_OLDEST_FIRST)
        .limit(_MOST)
    )
    found = _fetched(at, at.connection.execute(chosen).scalars().all())
    return [_end(at, item, pb.QUEUE_STATUS_FAILED, TOLD) for item in found]


def _take_back(at: Transaction, label: str, age: Duration) -> None:
    """Let what was claimed longer ago than `age` wait again. Raises FieldInvalid."""
    if not 0 <= age.seconds <= 315_576_000_000:
        raise FieldInvalid.of("stale_age", "must not be negative")
    before = at.now - age.seconds * 1_000_000 - age.nanos // 1000
    where = (_COLUMNS.session_label == label) & (_COLUMNS.status == "processing") & (_COLUMNS.claimed_at < before)
    rows.change(at, QUEUE_ITEMS, where, {"status": "pending"})


def _end(at: Transaction, item: pb.QueueItem, status: pb.QueueStatus.ValueType, error: str = "") -> pb.QueueItem:
    item.status = status
    changed = ["status"]
    if status == pb.QUEUE_STATUS_DELIVERED:
        item.delivered_at.CopyFrom(stamp(at.now))
        changed.append("delivered_at")
    if error:
        item.error = error
        changed.append("error")
    return rows.update(at, QUEUE_ITEMS, item, changed)
