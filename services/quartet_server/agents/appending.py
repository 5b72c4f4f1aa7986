"""The order in which a new turn is written: all of it in one transaction, from the turn to the session's history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quartet.agents.v1 import contents_pb2, messages_pb2, sessions_pb2, turns_pb2

from quartet_server.agent_errors import TurnNotOnPath, TurnUnfinished
from quartet_server.agents import lookup, trees
from quartet_server.agents.drafts import Draft
from quartet_server.agents.numbers import next_number
from quartet_server.agents.schema import (
    CODEBLOCKS,
    COMPACTIONS,
    FILES,
    HISTORY,
    LINTS,
    MESSAGES,
    SESSIONS,
    THREADS,
    TOOL_CALLS,
    TURNS,
)
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session as Transaction


@dataclass(frozen=True, slots=True)
class Appended:
    """A turn that was written.

    Attributes:
        turn: The turn.
        thread: Where it stands.
        contents: All of it, as it was given and completed.
    """

    turn: turns_pb2.Turn
    thread: turns_pb2.Thread
    contents: contents_pb2.TurnContents


def parent_of(at: Transaction, draft: Draft, usual: str) -> turns_pb2.Thread | None:
    """Return where the parent of a turn stands: the one it names, else the turn `usual`; None makes it a root.

    Raises:
        TurnNotFound: There is no such turn.
        TurnUnfinished: It is not finished.
    """
    named = draft.turn.parent_turn_id if draft.turn.HasField("parent_turn_id") else usual
    if not named:
        draft.turn.ClearField("parent_turn_id")
        return None
    draft.turn.parent_turn_id = named
    parent = lookup.turn(at, named, "contents.turn.parent_turn_id")
    if parent.status not in lookup.FINISHED:
        raise TurnUnfinished(f"turn {named} is not finished, and so nothing follows it", turn=named)
    if not parent.has_children:
        rows.update(at, TURNS, turns_pb2.Turn(id=named, has_children=True), ("has_children",))
    return rows.fetch(at, THREADS, named)


def write_turn(at: Transaction, draft: Draft, parent: turns_pb2.Thread | None, persona_id: str) -> Appended:
    """Write a turn below `parent`, with everything but the pointer of a session.

    Raises:
        RecordExists: An id of it is taken.
        TurnNotOnPath: It is a compaction, and names turns that are not before it.
        LimitReached: It would be too deep.
        FieldInvalid: A value of it is none that its column takes.
    """
    contents = draft.contents
    thread = trees.below(parent, draft.turn.id, draft.turn.total_tokens)
    for name in ("persona_id", "system_prompt_hash", "thread_key"):
        if contents.thread.HasField(name):
            setattr(thread, name, getattr(contents.thread, name))
    if not thread.HasField("persona_id"):
        thread.persona_id = persona_id
    turn = rows.insert(at, TURNS, draft.turn)
    write_messages(at, contents.messages)
    rows.insert_all(at, TOOL_CALLS, contents.tool_calls)
    if contents.HasField("compaction"):
        rows.insert(at, COMPACTIONS, placed(at, contents.compaction, turn.id, parent))
    return Appended(turn, rows.insert(at, THREADS, thread), contents)


def write_messages(at: Transaction, given: Sequence[contents_pb2.MessageContents]) -> None:
    """Write messages, then what is noted of them. Raises RecordExists, FieldInvalid."""
    rows.insert_all(at, MESSAGES, [one.message for one in given])
    files: list[messages_pb2.MessageFile] = [file for one in given for file in one.files]
    lints: list[messages_pb2.MessageLint] = [lint for one in given for lint in one.lints]
    blocks: list[messages_pb2.MessageCodeblock] = [block for one in given for block in one.codeblocks]
    if files:
        for number, file in enumerate(files, next_number(at, FILES)):
            file.id = number
        rows.insert_all(at, FILES, files, skip_existing=True)
    if lints:
        for number, lint in enumerate(lints, next_number(at, LINTS)):
            lint.id = number
        rows.insert_all(at, LINTS, lints)
    if blocks:
        for number, block in enumerate(blocks, next_number(at, CODEBLOCKS)):
            block.id = number
        rows.insert_all(at, CODEBLOCKS, blocks)


def placed(
    at: Transaction, compaction: turns_pb2.Compaction, turn_id: str, parent: turns_pb2.Thread | None
) -> turns_pb2.Compaction:
    """Return the compaction of a turn below `parent`, its turns checked. Raises TurnNotOnPath, TurnNotFound."""
    if parent is None:
        raise TurnNotOnPath("a compaction follows what it summarises: it cannot begin a tree")
    compaction.turn_id = turn_id
    compaction.summarized_through_turn_id = compaction.summarized_through_turn_id or parent.turn_id
    through = _depth(at, compaction.summarized_through_turn_id, parent, "summarized_through_turn_id")
    if compaction.HasField("first_kept_turn_id"):
        kept = _depth(at, compaction.first_kept_turn_id, parent, "first_kept_turn_id")
        if kept <= through:
            raise TurnNotOnPath(
                "first_kept_turn_id is not behind summarized_through_turn_id", turn=compaction.first_kept_turn_id
            )
    return compaction


def _depth(at: Transaction, turn_id: str, end: turns_pb2.Thread, path: str) -> int:
    """Return the depth of a turn that is on the way to `end`. Raises TurnNotOnPath, TurnNotFound."""
    found = lookup.thread(at, turn_id, path)
    if found.depth > end.depth or trees.ancestor(at, end, found.depth) != turn_id:
        raise TurnNotOnPath(f"{path}: turn {turn_id[:64]} is not on the way to {end.turn_id}", turn=turn_id[:64])
    return found.depth


def move(
    at: Transaction, session: sessions_pb2.Session, turn_id: str, when: int | None = None
) -> sessions_pb2.SessionHistory:
    """Move the pointer of `session` to a turn, and log it; its row is changed in place.

    `when` is when that happened, in microseconds, if not now.
    """
    session.thread_id = turn_id
    session.updated_at.CopyFrom(stamp(at.now if when is None else when))
    session.CopyFrom(rows.update(at, SESSIONS, session, ("thread_id", "updated_at")))
    return rows.insert(
        at,
        HISTORY,
        sessions_pb2.SessionHistory(
            id=next_number(at, HISTORY), session_label=session.label, thread_id=turn_id, changed_at=stamp(at.now)
        ),
    )
