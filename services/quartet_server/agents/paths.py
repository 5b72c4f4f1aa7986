"""Ways as they are asked for: the thread of a turn, the context of a session, the contents of a turn, in pages."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.agents.v1 import contents_pb2, list_calls_pb2, messages_pb2, turn_calls_pb2, turns_pb2

from quartet_server.agents import lookup, reading, tokens, trees
from quartet_server.agents.reading import ANSWER_BYTES
from quartet_server.agents.schema import COMPACTIONS, MESSAGES, THREADS, TOOL_CALLS
from quartet_server.errors import FieldInvalid
from quartet_server.records import rows
from quartet_server.records.contract import Session as Transaction


def get_turn(at: Transaction, request: turn_calls_pb2.GetTurnRequest) -> contents_pb2.TurnContents:
    """Return a turn with everything. Raises TurnNotFound, FieldInvalid."""
    turn = lookup.turn(at, request.id, "id")
    return reading.turn(at, turn, rows.fetch(at, THREADS, turn.id), ANSWER_BYTES)


def get_thread(at: Transaction, request: turn_calls_pb2.GetThreadRequest) -> turn_calls_pb2.GetThreadResponse:
    """Return a part of the way from a root to a turn. Raises TurnNotFound, SessionNotFound, FieldInvalid, PageTokenInvalid."""
    size = tokens.page_size(request.page_size)
    token = tokens.decode(at.zone, request, request.page_token, str, int)
    if token is not None:
        end, first = rows.fetch(at, THREADS, token[0]), int(token[1])
    elif bool(request.turn_id) == bool(request.session_label):
        raise FieldInvalid.of("turn_id", "either it or session_label is needed, and not both")
    elif request.turn_id:
        end, first = lookup.thread(at, request.turn_id), 0
    else:
        end, first = lookup.head(at, lookup.session(at, request.session_label)), 0
    ids = trees.way(at, end, first, first + size - 1)
    answer = turn_calls_pb2.GetThreadResponse(
        turns=reading.turns(at, ids, ANSWER_BYTES, contents=request.contents),
        turn_id=end.turn_id,
        length=end.depth + 1,
        total_tokens=end.total_tokens,
    )
    following = first + len(answer.turns)
    if following <= end.depth:
        answer.next_page_token = tokens.encode(at.zone, request, end.turn_id, following)
    return answer


def get_context(at: Transaction, request: turn_calls_pb2.GetContextRequest) -> turn_calls_pb2.GetContextResponse:
    """Return what a session's agent has to know to go on. Raises SessionNotFound, FieldInvalid, PageTokenInvalid."""
    size = tokens.page_size(request.page_size)
    session = lookup.session(at, request.session_label)
    answer = turn_calls_pb2.GetContextResponse(session=session)
    token = tokens.decode(at.zone, request, request.page_token, str, str, int, int)
    if token is not None:
        end = rows.fetch(at, THREADS, token[0])
        last, start, first = str(token[1]), int(token[2]), int(token[3])
    elif session.thread_id:
        end = rows.fetch(at, THREADS, session.thread_id)
        last, start = _context(at, end)
        first = start
    else:
        return answer
    ids = [one for one in trees.way(at, end, first, first + size) if one != last][:size]
    found = reading.turns(at, ids, ANSWER_BYTES, contents=True)
    answer.turns.extend(found)
    answer.turn_id, answer.total_tokens = end.turn_id, end.total_tokens
    answer.length = end.depth - start + 1 - bool(last)
    if last:
        answer.compaction.CopyFrom(rows.fetch(at, COMPACTIONS, last))
    following = found[-1].thread.depth + 1 if found else end.depth + 1
    if following <= end.depth and (end.turn_id != last or following < end.depth):
        answer.next_page_token = tokens.encode(at.zone, request, end.turn_id, last, start, following)
    return answer


def _context(at: Transaction, end: turns_pb2.Thread) -> tuple[str, int]:
    """Return the last compaction on the way to `end`, empty where there is none, and the depth at which the context begins."""
    columns = COMPACTIONS.table.c
    for _, ids in trees.segments(at, end):
        chosen = sa.select(columns.turn_id).where(columns.zone == at.zone, columns.turn_id.in_(ids))
        found = set(at.connection.execute(chosen).scalars())
        if found:
            last = next(one for one in reversed(ids) if one in found)
            compaction = rows.fetch(at, COMPACTIONS, last)
            if compaction.HasField("first_kept_turn_id"):
                return last, rows.fetch(at, THREADS, compaction.first_kept_turn_id).depth
            return last, rows.fetch(at, THREADS, compaction.summarized_through_turn_id).depth + 1
    return "", 0


def list_messages(at: Transaction, request: list_calls_pb2.ListMessagesRequest) -> list_calls_pb2.ListMessagesResponse:
    """Return messages of a turn. Raises TurnNotFound, FieldInvalid, PageTokenInvalid."""
    size, after = _begin(at, request)
    found, all_of_them = reading.messages(at, request.turn_id, after=after, most=size)
    answer = list_calls_pb2.ListMessagesResponse(messages=found)
    if not all_of_them:
        answer.next_page_token = tokens.encode(at.zone, request, found[-1].message.sequence)
    return answer


def list_tool_calls(
    at: Transaction, request: list_calls_pb2.ListToolCallsRequest
) -> list_calls_pb2.ListToolCallsResponse:
    """Return tool calls of a turn. Raises TurnNotFound, FieldInvalid, PageTokenInvalid."""
    size, after = _begin(at, request)
    found, all_of_them = reading.tool_calls(at, request.turn_id, after=after, most=size)
    answer = list_calls_pb2.ListToolCallsResponse(tool_calls=found)
    if not all_of_them:
        answer.next_page_token = tokens.encode(at.zone, request, found[-1].sequence)
    return answer


def get_message(at: Transaction, request: list_calls_pb2.GetMessageRequest) -> contents_pb2.MessageContents:
    """Return a message with what is noted of it. Raises RecordNotFound, FieldInvalid."""
    rows.check_id(request.id)
    return reading.noted(at, rows.fetch(at, MESSAGES, request.id))


def get_tool_call(at: Transaction, request: list_calls_pb2.GetToolCallRequest) -> messages_pb2.ToolCall:
    """Return a tool call. Raises RecordNotFound, FieldInvalid."""
    rows.check_id(request.id)
    return rows.fetch(at, TOOL_CALLS, request.id)


def _begin(
    at: Transaction, request: list_calls_pb2.ListMessagesRequest | list_calls_pb2.ListToolCallsRequest
) -> tuple[int, int]:
    """Return how many items a page has, and the sequence behind which it begins."""
    size = tokens.page_size(request.page_size)
    token = tokens.decode(at.zone, request, request.page_token, int)
    lookup.turn(at, request.turn_id)
    return size, 0 if token is None else int(token[0])
