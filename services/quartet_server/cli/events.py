"""`quartet events`: the ledger of what came in, went out or was seen."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.events.v1 import appending_pb2, event_pb2, reading_pb2

from quartet_server.cli import event_readers
from quartet_server.cli.connection import Endpoints, Zone, connected
from quartet_server.cli.output import CommandError, Output, print_json, print_table, say

_LINE = 4 * 1024**2
"""Longest line of a file of events, in characters."""
_WIDTH = 72
"""Characters of a content that a table shows."""
_COLUMNS = ("position", "timestamp", "source", "direction", "from", "thread_id", "content")
Limit = Annotated[int, Parameter(name=["--limit", "-n"], help="At most this many.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """Which events."""

    source: str = ""
    """Only from this source."""
    channel: str = ""
    """Only of this channel."""
    direction: Literal["", "inbound", "outbound", "observed"] = ""
    """Only this way."""
    participant: str = ""
    """Only with this person, in any role."""
    participant_channel: str = ""
    """On this channel."""
    thread: str = ""
    """Only of this thread."""
    type: str = ""
    """Only of this type."""
    reply_to: str = ""
    """Only answers to this event."""
    since: str = ""
    """Not before this time, as 2026-11-21T08:00:00Z."""
    until: str = ""
    """Before this time."""

    def scope(self) -> reading_pb2.EventScope:
        """Return it as a request says it. Raises CommandError."""
        found = reading_pb2.EventScope(
            source=self.source, channel=self.channel, thread_id=self.thread, type=self.type, reply_to=self.reply_to
        )
        if self.direction:
            found.direction = event_pb2.Direction.Value(f"DIRECTION_{self.direction.upper()}")
        if self.participant:
            found.participant.CopyFrom(
                appending_pb2.Participant(channel=self.participant_channel, identifier=self.participant)
            )
        if self.since:
            found.start_time.CopyFrom(_moment(self.since))
        if self.until:
            found.end_time.CopyFrom(_moment(self.until))
        return found


_EVERYTHING = Narrowed()


def register(app: App) -> None:
    """Add the commands to `app`."""
    events = App(name="events", help="What came in, went out or was seen: `quartet events search WORDS`.")
    app.command(events)
    event_readers.register(events)

    @events.default
    @events.command(name="list")
    def list_(
        *,
        narrowed: Narrowed = _EVERYTHING,
        filter: str = "",  # noqa: A002 - what the API calls it
        order_by: str = "",
        limit: Limit = 50,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show events, the newest first.

        **Examples**: `quartet events list --thread t-1` · `quartet events list --filter 'metadata.model = "opus"' -o json`

        Args:
            narrowed: Which events.
            filter: Which of them (AIP-160), over the fields of an event.
            order_by: Another order, as `timestamp` or `position desc`.
            limit: At most this many.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        with connected(endpoints, zone) as client:
            size = min(max(limit, 1), 1000)
            found = client.events.list(narrowed.scope(), filter=filter, order_by=order_by, page_size=size)
            _show(islice(found, limit), output)

    @events.command
    def get(event_id: str, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show an event, all of it.

        **Example**: `quartet events get imessage:guid-1 -o json`
        """
        with connected(endpoints, zone) as client:
            found = client.events.get(event_id)
        row = as_json(found)
        if output == "json":
            print_json(row)
        else:
            print_table([{"field": name, "value": _text(value)} for name, value in row.items()], ("field", "value"))

    @events.command
    def search(
        *query: Annotated[str, Parameter(help="What to look for.", allow_leading_hyphen=True)],
        narrowed: Narrowed = _EVERYTHING,
        limit: Limit = 20,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Find events by their words, the best first.

        Words, or a plain question, find what has some of them. Exactly: `"a phrase"`, `deploy*`, `this OR that`,
        `this NOT that`, brackets.

        **Examples**: `quartet events search where did the deploy fail` · `quartet events search '"rate limit" NOT test*' -o json`

        Args:
            query: What to look for.
            narrowed: Among which events.
            limit: At most this many.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        with connected(endpoints, zone) as client:
            size = min(max(limit, 1), 100)
            hits = list(islice(client.events.search(" ".join(query), narrowed.scope(), page_size=size), limit))
        if output == "json":
            print_json(
                [{"event": as_json(hit.event), "snippet": hit.snippet, "score": round(hit.score, 6)} for hit in hits]
            )
            return
        print_table([{**_row(hit.event), "content": _marked(hit)} for hit in hits], _COLUMNS)

    @events.command
    def append(
        file: Path | None = None,
        /,
        *,
        batch: int = 500,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Append events from a file, or stdin: one JSON object a line, with the fields that `get -o json` shows.

        May be repeated: what is there already is counted as a duplicate and stays as it is.

        **Example**: `quartet events list -n 100 -o json | jq -c '.[]' | quartet events append --zone copy`

        Args:
            file: Where to read; stdin without one.
            batch: Events that are committed together, 1 to 1,000.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        counts = {"created": 0, "duplicate": 0}
        with _opened(file) as lines, connected(endpoints, zone) as client:
            for one in client.events.append_all(_parsed(lines), batch=batch):
                counts["created" if one.outcome == appending_pb2.OUTCOME_CREATED else "duplicate"] += 1
        if output == "json":
            print_json(counts)
        else:
            print_table([counts], ("created", "duplicate"))

    @events.command
    def threads(
        *,
        channel: str = "",
        order_by: str = "",
        limit: Limit = 50,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show conversations.

        **Example**: `quartet events threads --order-by 'event_count desc'`

        Args:
            channel: Only of this channel.
            order_by: Another order than the id's, as `event_count desc`.
            limit: At most this many.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        with connected(endpoints, zone) as client:
            size = min(max(limit, 1), 1000)
            rows = [
                as_json(one)
                for one in islice(client.events.threads(channel=channel, order_by=order_by, page_size=size), limit)
            ]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("id", "channel", "name", "event_count", "first_event_at", "last_event_at"))

    @events.command
    def erase(*ids: str, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Erase events, with all that is derived from them: the only way out of the ledger.

        **Example**: `quartet events erase mail:17 mail:18`
        """
        if not ids:
            raise CommandError("no event is named", "quartet events erase ID...", exit_code=2)
        with connected(endpoints, zone) as client:
            erased = sum(client.events.erase(ids[at : at + 1000]).erased for at in range(0, len(ids), 1000))
        if output == "json":
            print_json({"erased": erased})
        else:
            print_table([{"erased": erased}], ("erased",))

    @events.command
    def rebuild(
        *, dry_run: bool = False, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table"
    ) -> None:
        """Derive threads, participants and attachments again from the events, and verify that they are equal.

        **Example**: `quartet events rebuild --dry-run`

        Args:
            dry_run: Only compare; exit code 1 when something is not as it should be.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        with connected(endpoints, zone) as client:
            said = [*client.events.rebuild(dry_run=dry_run)][-1]
            left = said if dry_run else [*client.events.rebuild(dry_run=True)][-1]
        row = {name: getattr(said, name) for name in ("events", "participants", "attachments", "threads")}
        row |= {"mended": 0 if dry_run else said.differences, "differences": left.differences}
        if output == "json":
            print_json(row)
        else:
            print_table([row], tuple(row))
        if left.differences:
            raise CommandError(f"{left.differences} rows are not what the events say", "quartet events rebuild")


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it; whole numbers as numbers, what is not set left out."""
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    for field in message.DESCRIPTOR.fields:
        if field.cpp_type == field.CPPTYPE_INT64 and field.name in found and not field.is_repeated:
            found[field.name] = int(found[field.name])
    if "direction" in found:
        found["direction"] = str(found["direction"]).removeprefix("DIRECTION_").lower()
    return found


def _show(found: Iterable[event_pb2.Event], output: str) -> None:
    if output == "json":
        print_json([as_json(one) for one in found])
    else:
        print_table([_row(one) for one in found], _COLUMNS)


def _row(event: event_pb2.Event) -> dict[str, Any]:
    """Return an event as a line of a table."""
    shown = " ".join(event.content.split())
    return {
        **as_json(event),
        "from": event.from_identifier or event.from_channel,
        "content": shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 1]}…",
    }


def _marked(hit: reading_pb2.SearchHit) -> str:
    """Return a snippet with what matched in brackets."""
    text, at = "", 0
    for span in hit.matches:
        text += f"{hit.snippet[at : span.start]}[{hit.snippet[span.start : span.end]}]"
        at = span.end
    return " ".join((text + hit.snippet[at:]).split())


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _moment(text: str) -> Timestamp:
    stamp = Timestamp()
    try:
        stamp.FromJsonString(text)
    except ValueError as error:
        raise CommandError(f"{text} is not a time", "write it like 2026-11-21T08:00:00Z", exit_code=2) from error
    return stamp


@contextlib.contextmanager
def _opened(file: Path | None) -> Iterator[Iterable[str]]:
    """Open a file of lines, or stdin. Raises CommandError."""
    if file is None:
        yield sys.stdin
        return
    try:
        with file.open(encoding="utf-8") as lines:
            yield lines
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from error


def _parsed(lines: Iterable[str]) -> Iterator[event_pb2.Event]:
    """Yield the events of lines of JSON. Raises CommandError with the number of a bad line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(line) > _LINE:
            raise CommandError(f"line {number} has more than {_LINE} characters")
        try:
            fields = json.loads(line)
            if isinstance(fields.get("direction"), str) and not fields["direction"].startswith("DIRECTION_"):
                fields["direction"] = f"DIRECTION_{fields['direction'].upper()}"
            yield json_format.ParseDict(fields, event_pb2.Event())
        except (ValueError, AttributeError, RecursionError, json_format.ParseError) as error:
            say(f"what came before line {number} is appended")
            raise CommandError(f"line {number} is no event: {error}", "quartet events get ID -o json") from error
