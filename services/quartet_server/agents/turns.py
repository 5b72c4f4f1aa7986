"""New turns of a session: over, begun, or a compaction; with them its pointer moves."""

from __future__ import annotations

from quartet.agents.v1 import contents_pb2, sessions_pb2, turn_calls_pb2, turns_pb2

from quartet_server.agent_errors import TurnNotOnPath
from quartet_server.agents import lookup
from quartet_server.agents.appending import Appended, move, parent_of, write_turn
from quartet_server.agents.drafts import Draft
from quartet_server.agents.schema import COMPACTIONS
from quartet_server.records import rows
from quartet_server.records.contract import Session as Transaction


def append(at: Transaction, request: turn_calls_pb2.AppendTurnRequest) -> turn_calls_pb2.AppendTurnResponse:
    """Add a turn that is over. Raises as `_add` does."""
    done, logged = _add(at, request, request.contents, ended=True)
    return turn_calls_pb2.AppendTurnResponse(
        turn=done.turn,
        thread=done.thread,
        move=logged,
        message_ids=[one.message.id for one in done.contents.messages],
        tool_call_ids=[call.id for call in done.contents.tool_calls],
    )


def start(at: Transaction, request: turn_calls_pb2.StartTurnRequest) -> turn_calls_pb2.StartTurnResponse:
    """Add a turn that begins. Raises as `_add` does."""
    done, logged = _add(at, request, request.contents, ended=False)
    return turn_calls_pb2.StartTurnResponse(
        turn=done.turn,
        thread=done.thread,
        move=logged,
        message_ids=[one.message.id for one in done.contents.messages],
        tool_call_ids=[call.id for call in done.contents.tool_calls],
    )


def compact(at: Transaction, request: turn_calls_pb2.CompactSessionRequest) -> turn_calls_pb2.CompactSessionResponse:
    """Add a compaction below a session's head. Raises as `_add` does, and TurnNotOnPath."""
    contents = contents_pb2.TurnContents(turn=request.turn, compaction=request.compaction)
    contents.turn.turn_type = turns_pb2.TURN_TYPE_COMPACTION
    if contents.turn.HasField("parent_turn_id"):
        contents.turn.ClearField("parent_turn_id")
    session = lookup.session(at, request.session_label)
    if not session.thread_id:
        raise TurnNotOnPath(f"session {session.label} has no turns to summarise", label=session.label)
    done, logged = _add(at, request, contents, ended=True)
    compaction = rows.fetch(at, COMPACTIONS, done.turn.id)
    return turn_calls_pb2.CompactSessionResponse(turn=done.turn, thread=done.thread, move=logged, compaction=compaction)


def _add(
    at: Transaction,
    request: (
        turn_calls_pb2.AppendTurnRequest | turn_calls_pb2.StartTurnRequest | turn_calls_pb2.CompactSessionRequest
    ),
    contents: contents_pb2.TurnContents,
    *,
    ended: bool,
) -> tuple[Appended, sessions_pb2.SessionHistory]:
    """Write a turn below a session's head, or the parent that it names, and move the session's pointer to it.

    Raises:
        SessionNotFound: There is no such session.
        SessionClosed: It is not active.
        HeadMoved: It is not where it was expected to be.
        TurnNotFound: The parent is not there.
        TurnUnfinished: The parent is not finished.
        RecordExists: An id is taken.
        LimitReached: The turn would be too deep.
        FieldInvalid: Something is not what it can be.
    """
    expected = request.expected_head if request.HasField("expected_head") else None
    session = lookup.movable(at, request.session_label, expected)
    draft = Draft(contents, ended=ended, now=at.now, new_id=at.new_id)
    done = write_turn(at, draft, parent_of(at, draft, session.thread_id), session.persona_id)
    return done, move(at, session, done.turn.id)
