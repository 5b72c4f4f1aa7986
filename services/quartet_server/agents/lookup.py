"""Finds sessions and turns by what requests call them."""

from __future__ import annotations

from quartet.agents.v1 import sessions_pb2, turns_pb2

from quartet_server.agent_errors import HeadMoved, SessionClosed, SessionNotFound, TurnNotFound
from quartet_server.agents.schema import ALIASES, SESSIONS, THREADS, TURNS
from quartet_server.records import rows
from quartet_server.records.contract import Session as Transaction

FINISHED = (turns_pb2.TURN_STATUS_COMPLETED, turns_pb2.TURN_STATUS_FAILED)


def find_session(at: Transaction, label: str, path: str = "session_label") -> sessions_pb2.Session | None:
    """Return the session with the label, or else the alias, `label`. Raises FieldInvalid for what can be neither."""
    rows.check_id(label, path)
    found = rows.find(at, SESSIONS, label)
    if found is None:
        alias = rows.find(at, ALIASES, label)
        if alias is not None:
            found = rows.find(at, SESSIONS, alias.session_label)
    return found


def session(at: Transaction, label: str, path: str = "session_label") -> sessions_pb2.Session:
    """Return the session with the label, or else the alias, `label`. Raises SessionNotFound, FieldInvalid."""
    found = find_session(at, label, path)
    if found is None:
        raise SessionNotFound(f"no session is called {label[:64]}", label=label[:64])
    return found


def movable(at: Transaction, label: str, expected_head: str | None = None) -> sessions_pb2.Session:
    """Return the session `label`, whose pointer may move.

    Args:
        at: The transaction.
        label: Its label, or an alias.
        expected_head: Where its pointer has to be; empty for nowhere, None for anywhere.

    Raises:
        SessionNotFound: There is none.
        SessionClosed: It is not active.
        HeadMoved: It is somewhere else.
    """
    found = session(at, label)
    if found.status != sessions_pb2.SESSION_STATUS_ACTIVE:
        state = "archived" if found.status == sessions_pb2.SESSION_STATUS_ARCHIVED else "deleted"
        raise SessionClosed(f"session {found.label} is {state}", label=found.label, status=state)
    if expected_head is not None and found.thread_id != expected_head:
        raise HeadMoved(
            f"session {found.label} is at {found.thread_id or 'no turn'}, not at {expected_head[:64] or 'none'}",
            label=found.label,
            head=found.thread_id,
        )
    return found


def turn(at: Transaction, turn_id: str, path: str = "turn_id") -> turns_pb2.Turn:
    """Return a turn. Raises TurnNotFound, FieldInvalid."""
    rows.check_id(turn_id, path)
    found = rows.find(at, TURNS, turn_id)
    if found is None:
        raise TurnNotFound(f"there is no turn {turn_id[:64]}", turn=turn_id[:64])
    return found


def thread(at: Transaction, turn_id: str, path: str = "turn_id") -> turns_pb2.Thread:
    """Return where a turn stands. Raises TurnNotFound, FieldInvalid."""
    rows.check_id(turn_id, path)
    found = rows.find(at, THREADS, turn_id)
    if found is None:
        raise TurnNotFound(f"there is no turn {turn_id[:64]}", turn=turn_id[:64])
    return found


def head(at: Transaction, found: sessions_pb2.Session) -> turns_pb2.Thread:
    """Return where a session's head stands. Raises TurnNotFound where it has none yet."""
    if not found.thread_id:
        raise TurnNotFound(f"session {found.label} has no turns yet", label=found.label)
    return rows.fetch(at, THREADS, found.thread_id)
