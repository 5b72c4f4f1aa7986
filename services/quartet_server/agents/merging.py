"""Turns that come again, with more: what is new is added to them, what was written stays."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from quartet.agents.v1 import contents_pb2, messages_pb2, turns_pb2

from quartet_server.agents import lookup
from quartet_server.agents.appending import write_messages
from quartet_server.agents.drafts import TOKENS, Draft
from quartet_server.agents.fields import said, take
from quartet_server.agents.numbers import highest
from quartet_server.agents.schema import MESSAGES, TOOL_CALLS, TURNS
from quartet_server.agents.streaming import MOST, SETTLED, count_way, settled
from quartet_server.errors import LimitReached
from quartet_server.records import rows
from quartet_server.records.contract import Session as Transaction

_FINISH = ("status", "completed_at", "response_message_id", "model", "provider", "permissions_used", *TOKENS)


@dataclass(slots=True)
class Added:
    """How much was new in an import.

    Attributes:
        turns: Turns.
        messages: Messages.
        tool_calls: Tool calls.
    """

    turns: int = 0
    messages: int = 0
    tool_calls: int = 0


def identified(contents: contents_pb2.TurnContents, path: str) -> None:
    """Let pass a turn that has an id, and whose messages and tool calls have. Raises FieldInvalid."""
    rows.check_id(contents.turn.id, f"{path}.turn.id")
    for place, one in enumerate(contents.messages):
        rows.check_id(one.message.id, f"{path}.messages[{place}].message.id")
    for place, call in enumerate(contents.tool_calls):
        rows.check_id(call.id, f"{path}.tool_calls[{place}].id")


def merge(
    at: Transaction, turn: turns_pb2.Turn, contents: contents_pb2.TurnContents, added: Added, path: str
) -> turns_pb2.Turn:
    """Add to a turn what is new in `contents`, and return it as it is now.

    Raises RecordExists where an id is that of another turn's message or tool call, LimitReached, FieldInvalid.
    """
    ended = turn.status in lookup.FINISHED or not contents.turn.status or contents.turn.status in lookup.FINISHED
    spoken = _known(at, MESSAGES.table, turn.id)
    draft = Draft(contents, ended=ended, now=at.now, new_id=at.new_id, path=path, spoken=spoken)
    _add_messages(at, turn, draft, spoken, added)
    calls = _add_calls(at, turn, draft, added)
    changed: list[str] = []
    if calls:
        turn.tool_call_count += calls
        changed.append("tool_call_count")
    if not turn.has_children:
        changed += _finish(turn, draft, contents.turn)
    if "status" in changed and ended:
        settled(at, turn)
    if changed:
        turn = rows.update(at, TURNS, turn, changed)
        if "total_tokens" in changed:
            count_way(at, turn)
    return turn


def _add_messages(at: Transaction, turn: turns_pb2.Turn, draft: Draft, spoken: set[str], added: Added) -> None:
    new = [one for one in draft.contents.messages if one.message.id not in spoken]
    if not new:
        return
    last = highest(at, MESSAGES, "sequence", "turn_id", turn.id)
    if last + len(new) > MOST:
        raise LimitReached(f"turn {turn.id} would have more than {MOST} messages", limit=MOST)
    for sequence, one in enumerate(new, last + 1):
        one.message.sequence = sequence
    write_messages(at, new)
    added.messages += len(new)


def _add_calls(at: Transaction, turn: turns_pb2.Turn, draft: Draft, added: Added) -> int:
    """Add tool calls that are new, end those that have ended meanwhile; return how many are new."""
    if not draft.contents.tool_calls:
        return 0
    known = _known(at, TOOL_CALLS.table, turn.id)
    sequence = highest(at, TOOL_CALLS, "sequence", "turn_id", turn.id)
    new: list[messages_pb2.ToolCall] = []
    for call in draft.contents.tool_calls:
        if call.id not in known:
            sequence += 1
            call.sequence = sequence
            new.append(call)
        elif call.status in SETTLED and rows.fetch(at, TOOL_CALLS, call.id).status not in SETTLED:
            ended = ("status", "result", "error", "completed_at", "spawned_session_label")
            rows.update(at, TOOL_CALLS, call, ended)
    if sequence > MOST:
        raise LimitReached(f"turn {turn.id} would have more than {MOST} tool calls", limit=MOST)
    rows.insert_all(at, TOOL_CALLS, new)
    added.tool_calls += len(new)
    return len(new)


def _finish(turn: turns_pb2.Turn, draft: Draft, given: turns_pb2.Turn) -> list[str]:
    """Take over what is known of the end of a turn; return the names of what is not as it was."""
    changed = []
    for name in _FINISH:
        value = getattr(draft.turn, name)
        if name == "completed_at" and said(turn, name) and not said(given, name):
            continue  # nobody said when: what was taken for it the first time stays
        known = bool(value) if name == "permissions_used" else name == "status" or said(draft.turn, name)
        if not known or value == getattr(turn, name):
            continue
        take(turn, name, value)
        changed.append(name)
    return changed


def _known(at: Transaction, table: sa.Table, turn_id: str) -> set[str]:
    """Return the ids of the messages, or of the tool calls, of a turn."""
    chosen = sa.select(table.c.id).where(table.c.zone == at.zone, table.c.turn_id == turn_id)
    return set(at.connection.execute(chosen).scalars())
