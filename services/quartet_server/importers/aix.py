"""aix.db, in which aix gathers the sessions of Cursor, Codex and other agents: every message, and the commands that were run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from quartet_server.importers import times
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.items import Direction, Event, Party
from quartet_server.importers.sqlite import Row, Source
from quartet_server.importers.tables import TableReader
from quartet_server.importers.text import clean, cut, fit_id, kept, parse

WHAT = "the database of aix, as ~/.local/share/aix/aix.db or ~/Library/Application Support/aix/aix.db"
DIRECTIONS: dict[str, Direction] = {"user": "outbound", "assistant": "inbound"}
"""As the human sees it; whatever else has a role is observed."""
_SESSION = ("id", "source", "project", "model", "created_at", "summary")
_TERMINAL = ("run_terminal_cmd", "run_terminal_command_v2")


class Sessions:
    """The sessions of an aix.db, looked up again and again."""

    def __init__(self, source: Source) -> None:
        """Look them up in `source`."""
        self._find = lru_cache(512)(lambda id_: source.first("sessions", _SESSION, "id", id_))

    def of(self, row: Row) -> Row:
        """Return the session of a row. Raises UnfitError."""
        session: Row | None = self._find(row["session_id"])
        if session is None:
            raise UnfitError(f"its session {clean(row['session_id'])!r} is not there")
        return session


def model(session: Row) -> str:
    """Return the model of a session."""
    return clean(session["model"]).strip() or "unknown"


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return the reader of the messages."""
    source = Source(path, WHAT, ("sessions", "messages"))
    sessions = Sessions(source)

    def each(row: Row) -> Iterator[Event]:
        session = sessions.of(row)
        origin = clean(session["source"]) or "unknown"
        if options.source and origin != options.source:
            faults.skip()
            return
        yield _message(row, session, origin)
        for data in source.find("message_metadata", ("metadata_json",), "message_id", row["id"], 10):
            if (command := _command(row, session, origin, data["metadata_json"])) is not None:
                yield command

    columns = ("id", "session_id", "role", "content", "sequence", "timestamp")
    yield TableReader(f"aix:{path.absolute()}", source, "messages", columns, "id", faults, each)


def _message(row: Row, session: Row, origin: str) -> Event:
    role = clean(row["role"])
    user, assistant = Party("aix", f"aix:{origin}:user"), Party("aix", f"aix:{origin}:model:{model(session)}")
    sender, to = {"user": (user, [assistant]), "assistant": (assistant, [user])}.get(
        role, (Party("aix", f"aix:{origin}:{role or 'unknown'}"), [])
    )
    metadata = kept({"role": role, "sequence": row["sequence"], "model": model(session), **_about(session)})
    return Event(
        source=f"aix-{origin}",
        source_id=fit_id(_id(row)),
        timestamp=_time(row, session),
        direction=DIRECTIONS.get(role, "observed"),
        type="tool_invocation" if role == "tool" else "message",
        from_channel=origin,
        from_identifier=sender.identifier,
        to=to,
        content=cut(clean(row["content"]), metadata),
        thread_id=fit_id(f"aix_session:{session['id']}"),
        metadata=metadata,
    )


def _command(row: Row, session: Row, origin: str, text: object) -> Event | None:
    """Return the command that a message ran in a terminal, when it was run to its end."""
    if not isinstance(text, str) or not any(name in text for name in _TERMINAL):
        return None
    tool = parse(text, "its metadata")
    tool = tool.get("toolFormerData") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or clean(tool.get("name")).strip() not in _TERMINAL:
        return None
    more = tool.get("additionalData")
    ended = clean(tool.get("status")).strip().lower() in ("", "completed", "error")
    status = clean(more.get("status")).strip().lower() if isinstance(more, dict) else ""
    command = _argument(tool.get("params")) or _argument(tool.get("rawArgs"))
    if not ended or status in ("cancelled", "pending", "running") or not command:
        return None
    call = clean(tool.get("toolCallId")).strip()
    metadata = kept({"tool": tool["name"], "status": tool.get("status"), "tool_call_id": call, **_about(session)})
    return Event(
        source=f"aix-{origin}",
        source_id=fit_id(f"{_id(row)}:{call or 'tool'}"),
        timestamp=_time(row, session),
        direction="observed",
        type="tool_invocation",
        from_channel=origin,
        from_identifier=f"aix:{origin}:model:{model(session)}",
        content=cut(command, metadata),
        thread_id=fit_id(f"aix_session:{session['id']}"),
        reply_to=f"aix-{origin}:{fit_id(_id(row))}",
        metadata=metadata,
    )


def _argument(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ""
    return clean(value.get("command")).strip() if isinstance(value, dict) else ""


def _id(row: Row) -> str:
    if not isinstance(row["id"], str) or not row["id"]:
        raise UnfitError("it has no id")
    return row["id"]


def _time(row: Row, session: Row) -> int:
    return times.unix(row["timestamp"] if row["timestamp"] is not None else session["created_at"])


def _about(session: Row) -> dict[str, Any]:
    name = clean(session["summary"]).strip()[:200] or model(session)
    return {"project": clean(session["project"]), "thread_name": name}


AIX = Kind("aix", WHAT, readers)
