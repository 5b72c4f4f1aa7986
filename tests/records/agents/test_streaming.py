"""Turns that go on: what may come into them, how they end, and that they change no more then."""

from __future__ import annotations

import pytest
from grpc import aio
from harness.conversations import ASSISTANT, Ledger, exchange, said, structure
from harness.failures import reason_of
from quartet.agents.v1 import messages_pb2, turns_pb2
from quartet.agents.v1 import turn_calls_pb2 as calls

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_turn_streams_from_its_question_to_its_answer(ledger: Ledger) -> None:
    await ledger.session()
    await ledger.append(contents=exchange(total_tokens=7))
    begun = await ledger.start()
    assert (begun.turn.status, begun.move.thread_id) == (turns_pb2.TURN_STATUS_PENDING, await ledger.head())
    turn = begun.turn.id
    call = await record(ledger, turn, "ls")
    message = await ledger.calls.AppendMessage(calls.AppendMessageRequest(turn_id=turn, contents=said("so", ASSISTANT)))
    assert (call.sequence, message.message.sequence) == (1, 2)
    whole = await ledger.calls.GetTurn(calls.GetTurnRequest(id=turn))
    assert (whole.turn.status, whole.turn.tool_call_count) == (turns_pb2.TURN_STATUS_STREAMING, 1)
    running = messages_pb2.TOOL_CALL_STATUS_RUNNING
    await ledger.calls.FinishToolCall(calls.FinishToolCallRequest(tool_call_id=call.id, status=running))
    ended = calls.FinishToolCallRequest(tool_call_id=call.id, spawned_session_label="sub")
    ended.result.struct_value.update({"files": ["a"]})
    finished = await ledger.calls.FinishToolCall(ended)
    assert (finished.status, finished.spawned_session_label) == (messages_pb2.TOOL_CALL_STATUS_COMPLETED, "sub")
    assert finished.HasField("completed_at")
    usage = calls.TurnUsage(input_tokens=10, output_tokens=3, model="claude", permissions_used=["read"])
    done = await ledger.calls.CompleteTurn(calls.CompleteTurnRequest(turn_id=turn, usage=usage))
    assert (done.status, done.total_tokens, done.model) == (turns_pb2.TURN_STATUS_COMPLETED, 13, "claude")
    assert (done.response_message_id, list(done.permissions_used)) == (message.message.id, ["read"])
    thread = (await ledger.calls.GetTurn(calls.GetTurnRequest(id=turn))).thread
    assert (thread.total_tokens, thread.depth) == (20, 1)


async def test_nothing_follows_a_turn_that_is_not_finished(ledger: Ledger) -> None:
    await ledger.session()
    turn = (await ledger.start()).turn.id
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.append()
    assert reason_of(error.value) == "TURN_UNFINISHED"
    await ledger.calls.CompleteTurn(calls.CompleteTurnRequest(turn_id=turn))
    assert (await ledger.append()).turn.parent_turn_id == turn


async def test_a_turn_is_not_complete_before_its_tool_calls_have_ended(ledger: Ledger) -> None:
    await ledger.session()
    turn = (await ledger.start()).turn.id
    call = await record(ledger, turn, "ls")
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.CompleteTurn(calls.CompleteTurnRequest(turn_id=turn))
    assert reason_of(error.value) == "TURN_UNFINISHED"
    failed = await ledger.calls.FailTurn(calls.FailTurnRequest(turn_id=turn, error="out of tokens"))
    assert failed.status == turns_pb2.TURN_STATUS_FAILED
    whole = await ledger.calls.GetTurn(calls.GetTurnRequest(id=turn))
    assert [(one.id, one.status, one.error) for one in whole.tool_calls] == [
        (call.id, messages_pb2.TOOL_CALL_STATUS_FAILED, "out of tokens")
    ]


async def test_a_turn_that_is_finished_changes_no_more(ledger: Ledger) -> None:
    await ledger.session()
    turn = (await ledger.append()).turn.id
    before = await ledger.calls.GetTurn(calls.GetTurnRequest(id=turn))
    for attempt in (
        ledger.calls.AppendMessage(calls.AppendMessageRequest(turn_id=turn, contents=said("more"))),
        record(ledger, turn, "ls"),
        ledger.calls.CompleteTurn(calls.CompleteTurnRequest(turn_id=turn)),
        ledger.calls.FailTurn(calls.FailTurnRequest(turn_id=turn)),
    ):
        with pytest.raises(aio.AioRpcError) as error:
            await attempt
        assert reason_of(error.value) == "TURN_FINISHED"
    assert await ledger.calls.GetTurn(calls.GetTurnRequest(id=turn)) == before


async def test_a_tool_call_ends_once(ledger: Ledger) -> None:
    await ledger.session()
    turn = (await ledger.start()).turn.id
    call = await record(ledger, turn, "ls")
    failed = await ledger.calls.FinishToolCall(calls.FinishToolCallRequest(tool_call_id=call.id, error="no"))
    assert (failed.status, failed.error) == (messages_pb2.TOOL_CALL_STATUS_FAILED, "no")
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.FinishToolCall(calls.FinishToolCallRequest(tool_call_id=call.id))
    assert reason_of(error.value) == "ALREADY_SETTLED"


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("AppendMessage", calls.AppendMessageRequest(turn_id="gone", contents=said("x")), "TURN_NOT_FOUND"),
        ("AppendMessage", calls.AppendMessageRequest(turn_id="t"), "FIELD_INVALID"),
        ("AppendMessage", calls.AppendMessageRequest(turn_id="t", contents=said("x" * (1 << 20))), "FIELD_INVALID"),
        ("AppendMessage", calls.AppendMessageRequest(turn_id="t", contents=said("x", id="m")), "RECORD_EXISTS"),
        ("FinishToolCall", calls.FinishToolCallRequest(tool_call_id="gone"), "RECORD_NOT_FOUND"),
        (
            "FinishToolCall",
            calls.FinishToolCallRequest(tool_call_id="c", status=messages_pb2.TOOL_CALL_STATUS_PENDING),
            "FIELD_INVALID",
        ),
        (
            "RecordToolCall",
            calls.RecordToolCallRequest(tool_call=messages_pb2.ToolCall(turn_id="t", tool_name="x", message_id="no")),
            "FIELD_INVALID",
        ),
        (
            "CompleteTurn",
            calls.CompleteTurnRequest(turn_id="u", usage=calls.TurnUsage(input_tokens=-1)),
            "FIELD_INVALID",
        ),
    ],
)
async def test_what_cannot_come_into_a_turn_has_its_reason(
    ledger: Ledger, method: str, request_: object, reason: str
) -> None:
    for label, turn in (("mom", "t"), ("dad", "u")):
        await ledger.session(label)
        begun = exchange(id=turn)
        begun.messages[0].message.id = "m" if turn == "t" else ""
        await ledger.start(label, begun)
    call = messages_pb2.ToolCall(id="c", turn_id="t", tool_name="ls", params=structure(a=1))
    await ledger.calls.RecordToolCall(calls.RecordToolCallRequest(tool_call=call))
    with pytest.raises(aio.AioRpcError) as error:
        await getattr(ledger.calls, method)(request_)
    assert reason_of(error.value) == reason


async def record(ledger: Ledger, turn: str, name: str) -> messages_pb2.ToolCall:
    """Record a tool call."""
    call = messages_pb2.ToolCall(turn_id=turn, tool_name=name)
    return await ledger.calls.RecordToolCall(calls.RecordToolCallRequest(tool_call=call))
