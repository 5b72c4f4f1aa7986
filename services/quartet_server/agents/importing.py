"""Imports of sessions of other programs: what is new is added, what was there stays, and a repetition gets the first answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from google.protobuf import json_format
from google.protobuf.message import Message
from quartet.agents.v1 import import_calls_pb2 as calls
from quartet.agents.v1 import imports_pb2, sessions_pb2

from quartet_server.agent_errors import ImportKeyMismatch
from quartet_server.agents import lookup, sessions
from quartet_server.agents.appending import move, parent_of, write_turn
from quartet_server.agents.drafts import Draft, few
from quartet_server.agents.merging import Added, identified, merge
from quartet_server.agents.schema import IMPORT_REQUESTS, IMPORTS, TURNS
from quartet_server.errors import FieldInvalid
from quartet_server.failure import QuartetError
from quartet_server.records import rows
from quartet_server.records.codec import micros, stamp
from quartet_server.records.contract import Session as Transaction

MOST_ITEMS, MOST_TURNS = 256, 10_000
KEPT = 30 * 86_400 * 1_000_000
"""Microseconds for which the answer to an import is kept."""
UPLOAD = "upload_id"
"""What a kept answer says besides, of a session that came in parts."""
_TEXT = 256
_COUNTS = {
    calls.IMPORT_STATUS_IMPORTED: "imported",
    calls.IMPORT_STATUS_UPSERTED: "upserted",
    calls.IMPORT_STATUS_SKIPPED: "skipped",
    calls.IMPORT_STATUS_FAILED: "failed",
}


def check(request: calls.ImportSessionsRequest) -> None:
    """Let pass a request that can be one. Raises FieldInvalid."""
    rows.check_id(request.source, "source")
    rows.check_id(request.idempotency_key, "idempotency_key")
    if request.mode not in (imports_pb2.IMPORT_MODE_BACKFILL, imports_pb2.IMPORT_MODE_TAIL):
        raise FieldInvalid.of("mode", "is one of: backfill, tail")
    for name in ("run_id", "persona_id"):
        if getattr(request, name):
            rows.check_id(getattr(request, name), name)
    few(len(request.items), "items", MOST_ITEMS)


def import_sessions(
    at: Transaction, request: calls.ImportSessionsRequest, also: Mapping[str, str] | None = None
) -> calls.ImportSessionsResponse:
    """Import sessions, each of which may fail alone; `also` is kept with the answer. Raises ImportKeyMismatch."""
    said = _hash(request)
    known = rows.find(at, IMPORT_REQUESTS, request.idempotency_key)
    if known is not None:
        return _again(known, request, said)
    rows_old = IMPORT_REQUESTS.table.c.created_at < at.now - KEPT
    at.connection.execute(IMPORT_REQUESTS.table.delete().where(IMPORT_REQUESTS.table.c.zone == at.zone, rows_old))
    answer = calls.ImportSessionsResponse(run_id=request.run_id or at.new_id())
    for place, item in enumerate(request.items):
        result = _alone(at, request, item, answer.run_id, f"items[{place}]")
        answer.results.append(result)
        name = _COUNTS[result.status]
        setattr(answer, name, getattr(answer, name) + 1)
    kept = imports_pb2.SessionImportRequest(
        idempotency_key=request.idempotency_key,
        source=request.source,
        mode=request.mode,
        run_id=answer.run_id,
        request_hash=said,
    )
    kept.response.update({"answer": json_format.MessageToDict(answer), **(also or {})})
    rows.insert(at, IMPORT_REQUESTS, kept)
    return answer


def kept_answer(kept: imports_pb2.SessionImportRequest) -> calls.ImportSessionsResponse:
    """Return the answer that was kept of an import."""
    answer = calls.ImportSessionsResponse()
    json_format.ParseDict(json_format.MessageToDict(kept.response)["answer"], answer, ignore_unknown_fields=True)
    return answer


def _again(
    known: imports_pb2.SessionImportRequest, request: calls.ImportSessionsRequest, said: str
) -> calls.ImportSessionsResponse:
    """Return the first answer to a request that came again. Raises ImportKeyMismatch."""
    for same, what in (
        (known.source == request.source, "source"),
        (known.mode == request.mode, "mode"),
        (known.request_hash == said, "payload"),
    ):
        if not same:
            raise ImportKeyMismatch(
                f"the idempotency key was used with another {what}", code=f"idempotency_key_{what}_mismatch"
            )
    return kept_answer(known)


def _alone(
    at: Transaction, request: calls.ImportSessionsRequest, item: calls.ImportItem, run_id: str, path: str
) -> calls.ImportResult:
    """Import one session behind a savepoint; what fails, fails alone."""
    cursor = at.cursor()
    result = calls.ImportResult(
        source_provider=item.source_provider[:_TEXT], source_session_id=item.source_session_id[:_TEXT]
    )
    cursor.execute("SAVEPOINT item")
    try:
        _import(at, request, item, run_id, path, result)
    except QuartetError as error:
        cursor.execute("ROLLBACK TO SAVEPOINT item")
        for name in ("session_label", "turns", "messages", "tool_calls"):
            result.ClearField(name)
        result.status = calls.IMPORT_STATUS_FAILED
        result.reason, result.message = error.reason, error.message[:_TEXT]
    cursor.execute("RELEASE SAVEPOINT item")
    cursor.close()
    return result


def _import(
    at: Transaction,
    request: calls.ImportSessionsRequest,
    item: calls.ImportItem,
    run_id: str,
    path: str,
    result: calls.ImportResult,
) -> None:
    for name in ("source_provider", "source_session_id", "source_session_fingerprint"):
        rows.check_id(getattr(item, name), f"{path}.{name}")
    few(len(item.turns), f"{path}.turns", MOST_TURNS)
    known = rows.find(at, IMPORTS, request.source, item.source_provider, item.source_session_id)
    if known is not None and known.source_session_fingerprint == item.source_session_fingerprint:
        result.status, result.session_label = calls.IMPORT_STATUS_SKIPPED, known.session_label
        return
    session = _session(at, request, item, known, path)
    added = _turns(at, item, session, path)
    row = imports_pb2.SessionImport(
        source=request.source,
        source_provider=item.source_provider,
        source_session_id=item.source_session_id,
        source_session_fingerprint=item.source_session_fingerprint,
        session_label=session.label,
        imported_at=stamp(at.now),
        updated_at=stamp(at.now),
        last_run_id=run_id,
    )
    if known is None:
        rows.insert(at, IMPORTS, row)
        result.status = calls.IMPORT_STATUS_IMPORTED
    else:
        rows.update(at, IMPORTS, row, ("source_session_fingerprint", "updated_at", "last_run_id"))
        result.status = calls.IMPORT_STATUS_UPSERTED
    result.session_label = session.label
    result.turns, result.messages, result.tool_calls = added.turns, added.messages, added.tool_calls


def _session(
    at: Transaction,
    request: calls.ImportSessionsRequest,
    item: calls.ImportItem,
    known: imports_pb2.SessionImport | None,
    path: str,
) -> sessions_pb2.Session:
    """Return the session that a foreign one became before, or becomes now."""
    label = item.session.label or f"{item.source_provider}:{item.source_session_id}"
    if known is not None:
        return lookup.session(at, known.session_label)
    if found := lookup.find_session(at, label, f"{path}.session.label"):
        return found
    given = sessions_pb2.Session()
    given.CopyFrom(item.session)
    given.persona_id = given.persona_id or request.persona_id
    if not given.HasField("origin"):
        given.origin = item.source_provider
    if not given.HasField("origin_session_id"):
        given.origin_session_id = item.source_session_id
    if not given.HasField("created_at") and item.turns and item.turns[0].turn.HasField("started_at"):
        given.created_at.CopyFrom(item.turns[0].turn.started_at)
    return sessions.create(at, given, label, f"{path}.session")


def _turns(at: Transaction, item: calls.ImportItem, session: sessions_pb2.Session, path: str) -> Added:
    """Write the turns of a foreign session that are new, and what is new in the others; move the pointer to the last one."""
    added = Added()
    last, when = session.thread_id, 0
    for place, contents in enumerate(item.turns):
        at_turn = f"{path}.turns[{place}]"
        identified(contents, at_turn)
        turn = rows.find(at, TURNS, contents.turn.id)
        if turn is None:
            ended = not contents.turn.status or contents.turn.status in lookup.FINISHED
            draft = Draft(contents, ended=ended, now=at.now, new_id=at.new_id, path=at_turn)
            turn = write_turn(at, draft, parent_of(at, draft, last), session.persona_id).turn
            added.turns += 1
            added.messages += len(contents.messages)
            added.tool_calls += len(contents.tool_calls)
        else:
            turn = merge(at, turn, contents, added, at_turn)
        last = turn.id
        when = max(when, micros(turn.completed_at if turn.HasField("completed_at") else turn.started_at))
    if last and last != session.thread_id:
        move(at, session, last, when)
    return added


def _hash(request: Message) -> str:
    """Return the hash of all of an import but the run, for which it is made."""
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("run_id")
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()
