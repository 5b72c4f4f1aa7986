"""What events say of threads, participants and attachments: pure, and the same when they are appended and when it is rebuilt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from quartet_server.events.encoding import COLUMNS, ID, POSITION, RECEIVED, SOURCE, THREAD, ZONE
from quartet_server.records import documents

PARTICIPANT_COLUMNS = ("zone", "event_id", "role", "channel", "identifier", "position")
ATTACHMENT_COLUMNS = (
    "zone",
    "id",
    "event_id",
    "source",
    "source_attachment_id",
    "filename",
    "mime_type",
    "media_type",
    "size_bytes",
    "content_hash",
    "storage_uri",
    "local_path",
    "url",
    "metadata",
    "created_at",
    "updated_at",
)
THREAD_COLUMNS = (
    "zone",
    "id",
    "channel",
    "name",
    "is_group",
    "source_adapter",
    "source_id",
    "first_event_at",
    "last_event_at",
    "last_event_id",
    "event_count",
    "created_at",
    "updated_at",
    "revision",
)
_ATTACHMENTS, _CHANNEL, _SENDER, _RECIPIENTS, _TIMESTAMP, _METADATA = (
    COLUMNS.index(name)
    for name in ("attachments", "from_channel", "from_identifier", "to_recipients", "timestamp", "metadata")
)


def participants(row: Sequence[Any]) -> list[tuple[object, ...]]:
    """Return who has to do with an event, in the order of PARTICIPANT_COLUMNS, each role of somebody once.

    `row` is an event's, in the order of `encoding.COLUMNS`; so it is in all functions here.
    """
    zone, identity, channel, sender = row[ZONE], row[ID], row[_CHANNEL], row[_SENDER]
    found: dict[tuple[str, str, str], tuple[object, ...]] = {}
    if sender:
        found["sender", channel, sender] = (zone, identity, "sender", channel, sender, None)
    if row[_RECIPIENTS] is not None:
        for place, one in enumerate(json.loads(row[_RECIPIENTS])):
            key = (one.get("role", "recipient"), one.get("channel", channel), one["identifier"])
            found.setdefault(key, (zone, identity, *key, place))
    return list(found.values())


def attachments(row: Sequence[Any]) -> list[tuple[object, ...]]:
    """Return the attachments of an event, in the order of ATTACHMENT_COLUMNS, each id once."""
    if row[_ATTACHMENTS] is None:
        return []
    zone, event, source, received = row[ZONE], row[ID], row[SOURCE], row[RECEIVED]
    found: dict[str, tuple[object, ...]] = {}
    for place, one in enumerate(json.loads(row[_ATTACHMENTS])):
        metadata = one.get("metadata") or {}
        taken = {name: metadata.pop(name) for name in _TAKEN if isinstance(metadata.get(name), str)}
        own = one.get("id")
        identity = f"{source}:{own}" if own else f"{event}#{place}"
        size = one.get("size")
        found.setdefault(
            identity,
            (
                zone,
                identity,
                event,
                source,
                own,
                one.get("filename"),
                one.get("type"),
                taken.get("media_type"),
                None if size is None else int(size),
                taken.get("content_hash"),
                taken.get("storage_uri"),
                one.get("local_path"),
                one.get("url"),
                documents.dump(metadata) if metadata else None,
                received,
                received,
            ),
        )
    return list(found.values())


_TAKEN = ("media_type", "content_hash", "storage_uri")
"""What of an attachment's metadata has columns of its own."""


@dataclass(slots=True)
class Fold:
    """What a run of events of one thread says of it; they come in the order of their positions.

    Attributes:
        channel: Channel of the first.
        source: Source of the first.
        created: When the first was received.
        updated: When the last was received.
        first_at: Earliest of their times.
        last_at: Latest of their times.
        last_id: Which event that was.
        count: How many there are.
        name: What the last one says that says it.
        group: What the last one says that says it.
    """

    channel: str
    source: str
    created: int
    updated: int
    first_at: int
    last_at: int
    last_id: str
    count: int = 0
    name: str | None = None
    group: bool | None = None

    def add(self, row: Sequence[Any]) -> None:
        """Take the next event."""
        at = row[_TIMESTAMP]
        self.count += 1
        self.updated = row[RECEIVED]
        if at < self.first_at:
            self.first_at = at
        if at >= self.last_at:
            self.last_at, self.last_id = at, row[ID]
        metadata = row[_METADATA]
        if metadata is not None and ('"thread_name"' in metadata or '"is_group"' in metadata):
            said = json.loads(metadata)
            if isinstance(said.get("thread_name"), str):
                self.name = said["thread_name"]
            if isinstance(said.get("is_group"), bool):
                self.group = said["is_group"]


def fold(rows: Iterable[Sequence[Any]]) -> dict[str, Fold]:
    """Return what events, in the order of their positions, say of their threads, by the threads' ids."""
    found: dict[str, Fold] = {}
    for row in rows:
        thread = row[THREAD]
        if thread is None:
            continue
        so_far = found.get(thread)
        if so_far is None:
            received, at = row[RECEIVED], row[_TIMESTAMP]
            so_far = found[thread] = Fold(row[_CHANNEL], row[SOURCE], received, received, at, at, row[ID])
        so_far.add(row)
    return found


def thread_row(zone: str, thread: str, folded: Fold) -> tuple[object, ...]:
    """Return a thread's row, in the order of THREAD_COLUMNS; its revision counts its events. A group unsaid is None."""
    return (
        zone,
        thread,
        folded.channel,
        folded.name,
        folded.group,
        folded.source,
        thread,
        folded.first_at,
        folded.last_at,
        folded.last_id,
        folded.count,
        folded.created,
        folded.updated,
        folded.count,
    )


def last_position(rows: Sequence[Sequence[Any]]) -> int:
    """Return the position of the last of rows that are in order; 0 without any."""
    return int(rows[-1][POSITION]) if rows else 0
