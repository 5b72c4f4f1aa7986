"""Watching a session: what happens is told in order, once, and from where one was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import aio
from harness.conversations import ASSISTANT, Ledger, said
from harness.failures import reason_of
from quartet.agents.v1 import messages_pb2, sessions_pb2, turn_calls_pb2, turns_pb2
from quartet.agents.v1 import session_calls_pb2 as calls

pytestmark = pytest.mark.asyncio(loop_scope="session")
SESSION, MOVED = calls.SESSION_EVENT_TYPE_SESSION, calls.SESSION_EVENT_TYPE_HEAD_MOVED
MESSAGE, CALL = calls.SESSION_EVENT_TYPE_MESSAGE, calls.SESSION_EVENT_TYPE_TOOL_CALL
STATUS = calls.SESSION_EVENT_TYPE_TURN_STATUS


@asynccontextmanager
async def watching(ledger: Ledger, **place: int) -> AsyncIterator[Any]:
    """Watch the session; yields what reads so many events."""
    stream = ledger.calls.WatchSession(calls.WatchSessionRequest(session_label="mom", **place))

    async def read(count: int) -> list[calls.WatchSessionResponse]:
        async with asyncio.timeout(60):
            found = [await stream.read() for _ in range(count)]
        assert all(isinstance(one, calls.WatchSessionResponse) for one in found)
        return found  # type: ignore[return-value]

    try:
        yield read
    finally:
        stream.cancel()


async def test_a_turn_is_told_as_it_comes_from_its_question_to_its_end(ledger: Ledger) -> None:
    await ledger.session()
    await ledger.append()
    async with watching(ledger) as read:
        [first] = await read(1)
        assert (first.type, first.session.label, first.history_id) == (SESSION, "mom", 1)
        turn = (await ledger.start()).turn.id
        moved, asked = await read(2)
        assert (moved.type, moved.move.id, moved.turn.id) == (MOVED, 2, turn)
        assert (asked.type, asked.message.message.content, asked.sequence) == (MESSAGE, "why?", 1)
        call = messages_pb2.ToolCall(turn_id=turn, tool_name="ls")
        made = await ledger.calls.RecordToolCall(turn_calls_pb2.RecordToolCallRequest(tool_call=call))
        called, streams = await read(2)
        assert (called.type, called.tool_call.id) == (CALL, made.id)
        assert (streams.type, streams.turn.status) == (STATUS, turns_pb2.TURN_STATUS_STREAMING)
        await ledger.calls.FinishToolCall(turn_calls_pb2.FinishToolCallRequest(tool_call_id=made.id))
        [ended] = await read(1)
        assert (ended.type, ended.tool_call.status) == (CALL, messages_pb2.TOOL_CALL_STATUS_COMPLETED)
        answer = said("so", ASSISTANT)
        await ledger.calls.AppendMessage(turn_calls_pb2.AppendMessageRequest(turn_id=turn, contents=answer))
        [answered] = await read(1)
        assert (answered.type, answered.history_id, answered.sequence) == (MESSAGE, 2, 2)
        await ledger.calls.CompleteTurn(turn_calls_pb2.CompleteTurnRequest(turn_id=turn))
        [done] = await read(1)
        assert (done.type, done.turn.status) == (STATUS, turns_pb2.TURN_STATUS_COMPLETED)
        archived = sessions_pb2.Session(label="mom", status=sessions_pb2.SESSION_STATUS_ARCHIVED)
        request = calls.UpdateSessionRequest(session=archived, update_mask=FieldMask(paths=["status"]))
        await ledger.calls.UpdateSession(request)
        [put_away] = await read(1)
        assert (put_away.type, put_away.session.status) == (SESSION, sessions_pb2.SESSION_STATUS_ARCHIVED)


async def test_a_watch_from_the_beginning_tells_all_and_resumes_behind_any_event(ledger: Ledger) -> None:
    await ledger.session()
    for _ in range(3):
        await ledger.append()
    async with watching(ledger, after_history_id=0) as read:
        told = (await read(10))[1:]
    assert [one.type for one in told] == [MOVED, MESSAGE, MESSAGE] * 3
    for place, event in enumerate(told[:-1]):
        position = {"after_history_id": event.history_id, "after_sequence": event.sequence}
        async with watching(ledger, **position) as read:
            rest = (await read(len(told) - place))[1:]
        assert rest == told[place + 1 :]


async def test_a_long_history_is_told_whole_and_in_order(ledger: Ledger) -> None:
    await ledger.session()
    turns = [(await ledger.append()).turn.id for _ in range(100)]
    async with watching(ledger, after_history_id=0) as read:
        told = await read(301)
    assert [one.turn.id for one in told if one.type == MOVED] == turns
    assert [one.sequence for one in told if one.type == MESSAGE] == [1, 2] * 100


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"session_label": "gone"}, "SESSION_NOT_FOUND"),
        ({"session_label": "mom", "after_history_id": 2}, "FIELD_INVALID"),  # a move of another session
        ({"session_label": "mom", "after_history_id": 99}, "FIELD_INVALID"),
        ({"session_label": "mom", "after_history_id": -1}, "FIELD_INVALID"),
        ({"session_label": "mom", "after_sequence": -1}, "FIELD_INVALID"),
    ],
)
async def test_a_watch_from_nowhere_has_its_reason(ledger: Ledger, place: dict[str, Any], reason: str) -> None:
    for label in ("mom", "dad"):
        await ledger.session(label)
        await ledger.append(label)
    stream = ledger.calls.WatchSession(calls.WatchSessionRequest(**place))
    with pytest.raises(aio.AioRpcError) as error:
        await stream.read()
    assert reason_of(error.value) == reason
