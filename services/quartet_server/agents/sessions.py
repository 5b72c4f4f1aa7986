"""Sessions: made, opened, changed, moved, forked; and their other names."""

from __future__ import annotations

from quartet.agents.v1 import session_calls_pb2 as calls
from quartet.agents.v1 import sessions_pb2 as pb

from quartet_server.agent_errors import AliasTaken, SessionExists
from quartet_server.agents import lookup
from quartet_server.agents.appending import move
from quartet_server.agents.drafts import TURN_BYTES, small
from quartet_server.agents.schema import ALIASES, SESSIONS
from quartet_server.errors import FieldInvalid
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session as Transaction

USUAL_PERSONA = "main"
FORK = "fork"
CHANGEABLE = (
    "persona_id",
    "status",
    "task_description",
    "task_status",
    "routing_key",
    "is_subagent",
    "parent_session_label",
    "spawn_tool_call_id",
    "origin",
    "origin_session_id",
)
_PASSED_ON = ("persona_id", "routing_key")  # what a fork has of the session it was forked from


def create(at: Transaction, given: pb.Session, label: str = "", path: str = "session") -> pb.Session:
    """Make a session; its head, if it names one, is logged.

    Raises SessionExists, TurnNotFound for a head, or a parent turn, that is not there, FieldInvalid.
    """
    session = pb.Session()
    session.CopyFrom(given)
    session.label = label or session.label
    rows.check_id(session.label, f"{path}.label")
    small(session, path, TURN_BYTES)
    if taken := lookup.find_session(at, session.label):
        known = "" if taken.label == session.label else f" as a name of {taken.label}"
        raise SessionExists(f"there is a session {session.label} already{known}", label=taken.label)
    session.persona_id = session.persona_id or USUAL_PERSONA
    if session.HasField("parent_turn_id"):
        lookup.turn(at, session.parent_turn_id, f"{path}.parent_turn_id")
    if not session.HasField("created_at"):
        session.created_at.CopyFrom(stamp(at.now))
    session.updated_at.CopyFrom(stamp(at.now))
    head = session.thread_id
    if session.HasField("thread_id"):
        lookup.turn(at, head, f"{path}.thread_id")
        session.ClearField("thread_id")
    session = rows.insert(at, SESSIONS, session)
    if head:
        move(at, session, head)
    return session


def create_session(at: Transaction, request: calls.CreateSessionRequest) -> pb.Session:
    """Make a session. Raises as `create` does."""
    return create(at, request.session)


def get(at: Transaction, request: calls.GetSessionRequest) -> pb.Session:
    """Return a session. Raises SessionNotFound, FieldInvalid."""
    return lookup.session(at, request.label, "label")


def open_session(at: Transaction, request: calls.OpenSessionRequest) -> calls.OpenSessionResponse:
    """Find a session by its label, else by an alias, else make it. Raises as `create` does."""
    found = lookup.find_session(at, request.label, "label")
    if found is not None:
        return calls.OpenSessionResponse(session=found)
    return calls.OpenSessionResponse(session=create(at, request.session, request.label), created=True)


def update(at: Transaction, request: calls.UpdateSessionRequest) -> pb.Session:
    """Change what a session says of itself. Raises SessionNotFound, EtagStale, FieldInvalid."""
    fields = tuple(dict.fromkeys(request.update_mask.paths))
    if not fields:
        raise FieldInvalid.of("update_mask", "names no field")
    for name in fields:
        if name not in CHANGEABLE:
            raise FieldInvalid.of("update_mask", f"takes: {', '.join(CHANGEABLE)}")
    found = lookup.session(at, request.session.label, "session.label")
    small(request.session, "session", TURN_BYTES)
    changed = pb.Session()
    changed.CopyFrom(request.session)
    changed.label = found.label
    if "persona_id" in fields and not changed.persona_id:
        raise FieldInvalid.of("session.persona_id", "is empty")
    changed.updated_at.CopyFrom(stamp(at.now))
    return rows.update(at, SESSIONS, changed, (*fields, "updated_at"), etag=request.session.etag)


def move_head(at: Transaction, request: calls.MoveHeadRequest) -> pb.Session:
    """Move a session's pointer to any turn. Raises SessionNotFound, SessionClosed, HeadMoved, TurnNotFound."""
    expected = request.expected_head if request.HasField("expected_head") else None
    session = lookup.movable(at, request.session_label, expected)
    lookup.turn(at, request.turn_id)
    if session.thread_id != request.turn_id:
        move(at, session, request.turn_id)
    return session


def fork(at: Transaction, request: calls.ForkSessionRequest) -> pb.Session:
    """Make a session that goes on from any turn. Raises SessionNotFound, TurnNotFound, SessionExists, FieldInvalid."""
    session = pb.Session()
    session.CopyFrom(request.session)
    turn_id = request.turn_id
    if request.session_label:
        forked = lookup.session(at, request.session_label)
        turn_id = turn_id or lookup.head(at, forked).turn_id
        for name in _PASSED_ON:
            if not getattr(session, name) and getattr(forked, name):
                setattr(session, name, getattr(forked, name))
        session.parent_session_label = forked.label
        session.origin_session_id = forked.label
    if not turn_id:
        raise FieldInvalid.of("turn_id", "is empty, and so is session_label")
    session.thread_id = session.parent_turn_id = turn_id
    session.origin = FORK
    return create(at, session, session.label or f"{FORK}:{at.new_id()}")


def add_alias(at: Transaction, request: calls.AddAliasRequest) -> pb.SessionAlias:
    """Give a session another name. Raises AliasTaken, SessionNotFound, FieldInvalid."""
    taken = lookup.find_session(at, request.alias, "alias")
    if taken is not None:
        raise AliasTaken(f"{request.alias} is a name of session {taken.label}", alias=request.alias, label=taken.label)
    session = lookup.session(at, request.session_label)
    reason = request.reason or pb.ALIAS_REASON_MANUAL
    return rows.insert(at, ALIASES, pb.SessionAlias(alias=request.alias, session_label=session.label, reason=reason))


def remove_alias(at: Transaction, request: calls.RemoveAliasRequest) -> calls.RemoveAliasResponse:
    """Take a name away. Raises RecordNotFound, FieldInvalid."""
    rows.check_id(request.alias, "alias")
    found = rows.fetch(at, ALIASES, request.alias)
    rows.delete(at, ALIASES, request.alias)
    return calls.RemoveAliasResponse(session_label=found.session_label)
