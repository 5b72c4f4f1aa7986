"""Turns that go on: messages and tool calls one by one, until the turn is completed or fails."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.agents.v1 import contents_pb2, messages_pb2, turn_calls_pb2, turns_pb2

from quartet_server.agent_errors import AlreadySettled, TurnFinished, TurnUnfinished
from quartet_server.agents import lookup
from quartet_server.agents.appending import write_messages
from quartet_server.agents.drafts import TOKENS, counted, message_draft, small, tool_call_draft
from quartet_server.agents.fields import said
from quartet_server.agents.numbers import highest
from quartet_server.agents.schema import MESSAGES, THREADS, TOOL_CALLS, TURNS
from quartet_server.errors import FieldInvalid, LimitReached
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session as Transaction

MOST = 10_000
"""The most messages, and the most tool calls, of a turn."""
SETTLED = (messages_pb2.TOOL_CALL_STATUS_COMPLETED, messages_pb2.TOOL_CALL_STATUS_FAILED)
_UNSETTLED = ("pending", "running")


def going_on(at: Transaction, turn_id: str) -> turns_pb2.Turn:
    """Return a turn that is not finished. Raises TurnNotFound, TurnFinished."""
    turn = lookup.turn(at, turn_id)
    if turn.status in lookup.FINISHED:
        raise TurnFinished(f"turn {turn_id} is finished", turn=turn_id)
    return turn


def append_message(at: Transaction, request: turn_calls_pb2.AppendMessageRequest) -> contents_pb2.MessageContents:
    """Add a message to a turn. Raises TurnNotFound, TurnFinished, RecordExists, LimitReached, FieldInvalid."""
    turn = going_on(at, request.turn_id)
    whole = contents_pb2.MessageContents()
    whole.CopyFrom(request.contents)
    message_draft(whole, turn.id, _next(at, turn.id, messages=True), stamp(at.now), at.new_id, "contents")
    write_messages(at, [whole])
    _stream(at, turn)
    return whole


def record_tool_call(at: Transaction, request: turn_calls_pb2.RecordToolCallRequest) -> messages_pb2.ToolCall:
    """Add a tool call to a turn. Raises TurnNotFound, TurnFinished, RecordExists, LimitReached, FieldInvalid."""
    turn = going_on(at, request.tool_call.turn_id)
    call = messages_pb2.ToolCall()
    call.CopyFrom(request.tool_call)
    tool_call_draft(
        call, turn.id, _next(at, turn.id, messages=False), stamp(at.now), at.new_id, "tool_call", ended=False
    )
    of_this_turn(at, call)
    call = rows.insert(at, TOOL_CALLS, call)
    turn.tool_call_count += 1
    _stream(at, turn, "tool_call_count")
    return call


def of_this_turn(at: Transaction, call: messages_pb2.ToolCall) -> None:
    """Let pass a tool call whose message, if it has one, is of its turn. Raises FieldInvalid."""
    if call.HasField("message_id"):
        rows.check_id(call.message_id, "tool_call.message_id")
        message = rows.find(at, MESSAGES, call.message_id)
        if message is None or message.turn_id != call.turn_id:
            raise FieldInvalid.of("tool_call.message_id", "is no message of this turn")


def finish_tool_call(at: Transaction, request: turn_calls_pb2.FinishToolCallRequest) -> messages_pb2.ToolCall:
    """Say that a tool call runs, or how it ended. Raises RecordNotFound, AlreadySettled, FieldInvalid."""
    rows.check_id(request.tool_call_id, "tool_call_id")
    call = rows.fetch(at, TOOL_CALLS, request.tool_call_id)
    if call.status in SETTLED:
        raise AlreadySettled(f"tool call {call.id} has ended", tool_call=call.id)
    status = request.status or SETTLED[request.HasField("error")]
    if status not in (messages_pb2.TOOL_CALL_STATUS_RUNNING, *SETTLED):
        raise FieldInvalid.of("status", "is one of: running, completed, failed")
    call.status = status
    if request.HasField("result"):
        call.result.CopyFrom(request.result)
    for name in ("error", "spawned_session_label"):
        if request.HasField(name):
            setattr(call, name, getattr(request, name))
    if status in SETTLED:
        call.completed_at.CopyFrom(request.completed_at if request.HasField("completed_at") else stamp(at.now))
    small(call, "result")
    return rows.update(at, TOOL_CALLS, call, ("status", "result", "error", "spawned_session_label", "completed_at"))


def complete(at: Transaction, request: turn_calls_pb2.CompleteTurnRequest) -> turns_pb2.Turn:
    """End a turn. Raises TurnNotFound, TurnFinished, TurnUnfinished, FieldInvalid."""
    turn = going_on(at, request.turn_id)
    settled(at, turn)
    turn.status = turns_pb2.TURN_STATUS_COMPLETED
    return _finish(at, turn, request.usage)


def settled(at: Transaction, turn: turns_pb2.Turn) -> None:
    """Let pass a turn whose tool calls have ended. Raises TurnUnfinished."""
    going = rows.select(at, TOOL_CALLS, _unsettled(turn.id), limit=1)
    if going:
        raise TurnUnfinished(f"tool call {going[0].id} has not ended", turn=turn.id, tool_call=going[0].id)


def fail(at: Transaction, request: turn_calls_pb2.FailTurnRequest) -> turns_pb2.Turn:
    """Give a turn up, and its tool calls that have not ended. Raises TurnNotFound, TurnFinished, FieldInvalid."""
    turn = going_on(at, request.turn_id)
    turn.status = turns_pb2.TURN_STATUS_FAILED
    small(request, "error")
    probe = messages_pb2.ToolCall(error=request.error or "the turn failed")
    values = {
        "status": "failed",
        "error": TOOL_CALLS.codec.encode_field(probe, "error", at.dialect),
        "completed_at": at.now,
    }
    rows.change(at, TOOL_CALLS, _unsettled(turn.id), values)
    return _finish(at, turn, request.usage)


def _finish(at: Transaction, turn: turns_pb2.Turn, usage: turn_calls_pb2.TurnUsage) -> turns_pb2.Turn:
    """Write what is known of a turn at its end, and the tokens of its way."""
    counted(usage, "usage")
    for name in (*TOKENS, "model", "provider", "response_message_id"):
        if said(usage, name):
            setattr(turn, name, getattr(usage, name))
    if not usage.HasField("total_tokens") and (usage.HasField("input_tokens") or usage.HasField("output_tokens")):
        turn.total_tokens = turn.input_tokens + turn.output_tokens
    if usage.permissions_used:
        turn.permissions_used[:] = usage.permissions_used
    turn.completed_at.CopyFrom(usage.completed_at if usage.HasField("completed_at") else stamp(at.now))
    answering(at, turn)
    small(turn, "usage")
    changed = ("status", *TOKENS, "model", "provider", "response_message_id", "permissions_used", "completed_at")
    turn = rows.update(at, TURNS, turn, changed)
    count_way(at, turn)
    return turn


def answering(at: Transaction, turn: turns_pb2.Turn) -> None:
    """Say which message of a turn answers, where nobody did: the last one of the assistant."""
    if not turn.HasField("response_message_id"):
        table = MESSAGES.table.c
        last = rows.select(
            at,
            MESSAGES,
            table.turn_id == turn.id,
            table.role == "assistant",
            order=(table.sequence.desc(),),
            limit=1,
        )
        if last:
            turn.response_message_id = last[0].id


def count_way(at: Transaction, turn: turns_pb2.Turn) -> None:
    """Count the tokens of the way to a turn that has no children."""
    before = rows.fetch(at, THREADS, turn.parent_turn_id).total_tokens if turn.parent_turn_id else 0
    thread = turns_pb2.Thread(turn_id=turn.id, total_tokens=before + turn.total_tokens)
    rows.update(at, THREADS, thread, ("total_tokens",))


def _stream(at: Transaction, turn: turns_pb2.Turn, *also: str) -> None:
    """Say that a turn has begun to stream."""
    if turn.status == turns_pb2.TURN_STATUS_PENDING:
        turn.status = turns_pb2.TURN_STATUS_STREAMING
        also = (*also, "status")
    if also:
        rows.update(at, TURNS, turn, also)


def _next(at: Transaction, turn_id: str, *, messages: bool) -> int:
    """Return the sequence of the next message, or tool call, of a turn. Raises LimitReached."""
    found = highest(at, MESSAGES if messages else TOOL_CALLS, "sequence", "turn_id", turn_id)
    if found >= MOST:
        raise LimitReached(f"a turn has at most {MOST} of them", limit=MOST)
    return found + 1


def _unsettled(turn_id: str) -> sa.ColumnElement[bool]:
    table = TOOL_CALLS.table.c
    return (table.turn_id == turn_id) & table.status.in_(_UNSETTLED)
