"""cortex.db, in which Cortex and Mnemonic kept their own ledger of events, as events of the one ledger.

Ids stay as they are, so that what refers to events goes on to do so. Seconds become microseconds, participants go into
the event, `sent` and `received` become `outbound` and `inbound`; what has no column is kept in the metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quartet_server.importers import times
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.cortex_people import People
from quartet_server.importers.faults import Faults, UnfitError, WrongKindError
from quartet_server.importers.items import Attached, Direction, Event, Json
from quartet_server.importers.sqlite import Row, Source
from quartet_server.importers.tables import TableReader
from quartet_server.importers.text import NAME, clean, cut, fit, fit_id, kept, name, parse

WHAT = "the database of Cortex or Mnemonic, cortex.db"
EVENT = (
    "id", "timestamp", "channel", "content_types", "content", "direction", "thread_id", "reply_to", "source_adapter", "source_id",
    "metadata_json",
)  # fmt: skip
_DIRECTIONS: dict[str, Direction] = {"sent": "outbound", "received": "inbound", "observed": "observed"}
_DOCUMENT = ("created", "updated", "deleted")
_TYPES = ("reaction", "membership", "document", "email")
_MAIL = ("gmail", "email")
_ATTACHMENT = (
    "id", "filename", "mime_type", "size_bytes", "media_type", "storage_uri", "storage_type", "content_hash", "source_id", "metadata_json",
)  # fmt: skip
_MOST = 1000


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return the reader of the events; none when they were dropped after an earlier import."""
    source = opened(path)
    if "events" not in source.tables:
        source.close()
        return
    events = Events(source)

    def each(row: Row) -> Iterator[Event]:
        if options.source and row["source_adapter"] != options.source:
            faults.skip()
            return
        yield events.event(row)

    yield TableReader(f"cortex:{path.absolute()}", source, "events", EVENT, "id", faults, each)


def opened(path: Path) -> Source:
    """Open a cortex.db, with events or without. Raises WrongKindError, OSError."""
    source = Source(path, WHAT, ("schema_version",))
    if "events" in source.tables and not {"source_adapter", "content_types"} <= source.columns("events"):
        source.close()
        raise WrongKindError(f"the table events of {path} is not Cortex'", f"expected {WHAT}")
    return source


class Events:
    """Makes events of rows, with all that other tables know of them."""

    def __init__(self, source: Source) -> None:
        """Read from `source`."""
        self._source = source
        self._people = People(source)

    def event(self, row: Row) -> Event:
        """Return the event of a row. Raises UnfitError."""
        id_, adapter, source_id = row["id"], clean(row["source_adapter"]), clean(row["source_id"])
        if not isinstance(id_, str) or not id_ or not adapter or not source_id:
            raise UnfitError("it has no id, source_adapter or source_id")
        if fit_id(id_, NAME) != id_ or name(adapter, 128) != adapter:
            raise UnfitError("its id or source_adapter is too long, or has control characters")
        channel = name(row["channel"]) or adapter
        metadata = _metadata(row["metadata_json"])
        types = _list(row["content_types"])
        original = clean(row["direction"])
        when = times.unix(row["timestamp"])
        sender, to = self._people.of(id_, channel)
        direction = _DIRECTIONS.get(original, "observed")
        metadata |= kept(
            {
                "content_types": types,
                "reply_to": clean(row["reply_to"]),
                "original_direction": original if original not in _DIRECTIONS else None,
                "empty": row["content"] is None,
                "from_name": sender.name if sender else None,
            }
        )
        metadata |= self._thread(row["thread_id"]) | self._labels(id_)
        state, status = self._state(id_)
        metadata |= status
        return Event(
            source=adapter,
            source_id=fit_id(source_id),
            given_id=id_,
            timestamp=when,
            received_at=when,
            direction=direction,
            type=_type(types, original, channel, adapter),
            from_channel=channel,
            from_identifier=sender.identifier if sender else "me" if original == "sent" else "",
            to=to,
            content=cut(clean(row["content"]), metadata),
            thread_id=fit_id(clean(row["thread_id"]), NAME) if clean(row["thread_id"]) else "",
            reply_to=self._answered(clean(row["reply_to"]), adapter, channel),
            attachments=self._attached(id_),
            metadata=metadata,
            tags=[name(tag, 256) for tag in self._tags(id_) if name(tag, 256)],
            state=state,
        )

    def _answered(self, value: str, adapter: str, channel: str) -> str:
        """Return the id of the event that is answered: some adapters wrote it whole, others without its source."""
        if not value:
            return ""
        for id_ in (value, f"{adapter}:{value}", f"{channel}:{value}"):
            if self._source.first("events", ("id",), "id", id_) is not None:
                return fit_id(id_, NAME)
        return fit_id(value if ":" in value else f"{adapter}:{value}", NAME)

    def _thread(self, id_: object) -> dict[str, Json]:
        row = self._source.first("threads", ("name", "is_group", "parent_thread_id"), "id", id_) if id_ else None
        if row is None:
            return {}
        return kept(
            {
                "thread_name": clean(row["name"]),
                "is_group": bool(row["is_group"]),
                "parent_thread_id": row["parent_thread_id"],
            }
        )

    def _tags(self, id_: str) -> list[str]:
        hung = [clean(row["tag"]) for row in self._source.find("event_tags", ("tag",), "event_id", id_)]
        found = self._source.find("tags", ("tag_type", "value"), "event_id", id_)
        return [*hung, *(f"{clean(row['tag_type'])}:{clean(row['value'])}" for row in found)]

    def _labels(self, id_: str) -> dict[str, Json]:
        """Return what a tag alone would not say: who hung it there, and how certain that was."""
        hung = self._source.find("event_tags", ("tag", "source", "created_at"), "event_id", id_)
        columns = ("tag_type", "value", "confidence", "source", "created_at")
        found = self._source.find("tags", columns, "event_id", id_)
        return kept({"event_tags": [dict(row) for row in hung], "tags": [dict(row) for row in found]})

    def _state(self, id_: str) -> tuple[dict[str, bool], dict[str, Json]]:
        columns = ("read_state", "flagged", "archived", "status", "updated_at")
        row = self._source.first("event_state", columns, "event_id", id_)
        if row is None:
            return {}, {}
        there = {
            "viewed": row["read_state"] == "read",
            "flagged": bool(row["flagged"]),
            "archived": bool(row["archived"]),
        }
        return {key: True for key, value in there.items() if value}, kept({"event_state": dict(row)})

    def _attached(self, id_: str) -> list[Attached]:
        found = []
        for row in self._source.find("attachments", _ATTACHMENT, "event_id", id_, _MOST):
            size = row["size_bytes"]
            columns = {key: row[key] for key in ("media_type", "storage_uri", "storage_type", "source_id")}
            found.append(
                Attached(
                    id=fit_id(clean(row["id"]), NAME),
                    mime=name(row["mime_type"]),
                    filename=clean(row["filename"]),
                    size=size if isinstance(size, int) and size >= 0 else None,
                    digest=clean(row["content_hash"]),
                    metadata=_metadata(row["metadata_json"]) | kept(columns),
                )
            )
        return found


def _type(types: list[Json], direction: str, channel: str, adapter: str) -> str:
    """Return an event's type, which Cortex did not have: it follows from what its content is and where it came from."""
    if known := next((one for one in types if one in _TYPES), None):
        return str(known)
    if direction in _DOCUMENT:
        return "document"
    if adapter.endswith("_tool"):
        return "tool_invocation"
    return "email" if channel in _MAIL else "message"


def _list(text: object) -> list[Json]:
    try:
        value = parse(text) if isinstance(text, str) else []
    except ValueError:
        return [clean(text)]
    return [fit(one) for one in value[:100]] if isinstance(value, list) else [fit(value)]


def _metadata(text: object) -> dict[str, Json]:
    """Return metadata; what is no JSON object is kept as text."""
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        value: Any = parse(text)
    except ValueError:
        return {"metadata_json": fit(text)}
    fitted = fit(value)
    return fitted if isinstance(fitted, dict) else {"metadata_json": fitted}


CORTEX = Kind("cortex", WHAT, readers)
