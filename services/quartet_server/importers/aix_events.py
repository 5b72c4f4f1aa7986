"""aix.db, trimmed to what the human saw: per turn their question and the final answer, without tools and thoughts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from quartet_server.importers import times
from quartet_server.importers.aix import WHAT, Sessions, model
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.items import Event, Party
from quartet_server.importers.sqlite import Row, Source
from quartet_server.importers.tables import TableReader
from quartet_server.importers.text import clean, cut, fit_id, kept

_MOST_QUESTIONS = 1000
_COLUMNS = ("id", "session_id", "query_message_ids", "response_message_id", "timestamp")
_BLANK = re.compile(r"\n{3,}")
_OPEN = re.compile(r"<((?:antml:)?thinking|(?:antml:)?(?:[a-z_]+_)?calls)>")


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return the reader of the turns."""
    source = Source(path, WHAT, ("sessions", "messages", "turns"))
    sessions = Sessions(source)

    def each(row: Row) -> Iterator[Event]:
        session = sessions.of(row)
        origin = clean(session["source"]) or "unknown"
        if options.source and origin != options.source:
            faults.skip()
            return
        yield from _turn(source, row, session, origin)

    yield TableReader(f"aix-events:{path.absolute()}", source, "turns", _COLUMNS, "id", faults, each)


def _turn(source: Source, row: Row, session: Row, origin: str) -> Iterator[Event]:
    turn = row["id"]
    if not isinstance(turn, str) or not turn:
        raise UnfitError("it has no id")
    when = times.unix(row["timestamp"] if row["timestamp"] is not None else session["created_at"])
    adapter = f"aix-events-{origin}"
    user = Party("aix-events", f"aix-events:{origin}:user")
    assistant = Party("aix-events", f"aix-events:{origin}:model:{model(session)}")
    thread = fit_id(f"aix_turn_session:{session['id']}")
    name = kept({"thread_name": clean(session["summary"]).strip()[:200] or model(session)})
    question = _question(source, row["query_message_ids"])
    asked = fit_id(f"{turn}:user")
    if question:
        metadata = dict(name)
        yield Event(
            source=adapter,
            source_id=asked,
            timestamp=when,
            direction="outbound",
            from_channel=origin,
            from_identifier=user.identifier,
            to=[assistant],
            content=cut(question, metadata),
            thread_id=thread,
            metadata=metadata,
        )
    if answer := _answer(source, row["response_message_id"]):
        metadata = {"model": model(session), "turn_id": clean(turn), **name}
        yield Event(
            source=adapter,
            source_id=fit_id(f"{turn}:assistant"),
            timestamp=when,
            direction="inbound",
            from_channel=origin,
            from_identifier=assistant.identifier,
            to=[user],
            content=cut(answer, metadata),
            thread_id=thread,
            reply_to=f"{adapter}:{asked}" if question else "",
            metadata=metadata,
        )


def _question(source: Source, text: object) -> str:
    """Return what the user wrote for a turn, several messages with an empty line between them."""
    if not isinstance(text, str) or not text:
        return ""
    try:
        ids = json.loads(text)
    except (ValueError, RecursionError):
        ids = [text]  # one id without brackets
    if not isinstance(ids, list):
        ids = [text]
    columns = ("id", "role", "content", "sequence")
    looked_up = [source.first("messages", columns, "id", id_) for id_ in ids[:_MOST_QUESTIONS] if isinstance(id_, str)]
    rows = [row for row in looked_up if row is not None and row["role"] == "user"]
    rows.sort(key=lambda row: (row["sequence"] if isinstance(row["sequence"], int) else 0, row["id"]))
    said = [clean(row["content"]).strip() for row in rows]
    return "\n\n".join(one for one in said if one)


def _answer(source: Source, id_: object) -> str:
    row = source.first("messages", ("content",), "id", id_) if isinstance(id_, str) else None
    return trimmed(clean(row["content"])) if row is not None else ""


def trimmed(text: str) -> str:
    """Return an answer without the blocks in which models think and call tools; one that never ends goes on to the end."""
    kept_parts, at = [], 0
    while opening := _OPEN.search(text, at):
        kept_parts.append(text[at : opening.start()])
        ends = [f"</{opening[1]}>"]
        if opening[1].endswith("_calls"):
            ends.insert(0, f"</{opening[1].removesuffix('_calls')}_results>")  # what they answered belongs to it
        at = next((found + len(end) for end in ends if (found := text.find(end, opening.end())) >= 0), len(text))
    return _BLANK.sub("\n\n", "".join([*kept_parts, text[at:]])).strip()


AIX_EVENTS = Kind("aix-events", WHAT, readers)
