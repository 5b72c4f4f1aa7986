"""`quartet events tail`, `consumers` and `watermarks`: who reads the ledger, who brings events, and how far they have come."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import App, Parameter
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.events.v1 import event_pb2, progress_pb2

from quartet_server.cli.connection import Endpoints, Zone, connected
from quartet_server.cli.output import CommandError, Output, print_json, print_table, printable


def register(events: App) -> None:
    """Add the commands to `events`."""

    @events.command
    def tail(
        *,
        start: Annotated[int | None, Parameter(name="--from")] = None,
        consumer: str = "",
        commit: bool = False,
        source: str = "",
        channel: str = "",
        thread: str = "",
        count: Annotated[int, Parameter(name=["--count", "-n"])] = 0,
        once: bool = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show events as they come, until Ctrl-C; none is missed and none told twice, also when nodes fail meanwhile.

        **Examples**: `quartet events tail` · `quartet events tail --from 0 --once -o json | jq .content` ·
        `quartet events tail --consumer indexer --commit -o json`

        Args:
            start: Show what is behind this position; 0 for the whole ledger. Without it, what the consumer has not
                committed, or what is new.
            consumer: Name of a reader whose position is kept.
            commit: Commit the consumer's position behind each answer that was printed.
            source: Only from this source.
            channel: Only of this channel.
            thread: Only of this thread.
            count: End after so many events; 0 for never.
            once: End with the last event there is, instead of waiting.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: `json` writes one object a line.
        """
        if commit and not consumer:
            raise CommandError("--commit needs a consumer", "--consumer NAME", exit_code=2)
        shown = 0
        with connected(endpoints, zone) as client:
            stream = client.events.tail(
                start,
                consumer=consumer,
                source=source,
                channel=channel,
                thread_id=thread,
                batch_size=min(count, 100),
                once=once,
            )
            for answer in stream:
                for event in answer.events:
                    print(_line(event, output), flush=True)
                    shown += 1
                    if count and shown == count:
                        if commit:
                            client.events.commit(consumer, event.position)
                        return
                if commit and answer.position:
                    client.events.commit(consumer, answer.position)

    consumers = App(
        name="consumers", help="Readers of the tail whose position is kept: `quartet events consumers list`."
    )
    events.command(consumers)

    @consumers.default
    @consumers.command(name="list")
    def list_consumers(*, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show all readers, and how far each has come.

        **Example**: `quartet events consumers list -o json`
        """
        with connected(endpoints, zone) as client:
            rows = [_consumer(one) for one in client.events.consumers()]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("name", "position", "updated_at"))

    @consumers.command(name="commit")
    def commit_(
        name: str,
        position: int,
        /,
        *,
        rewind: bool = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Say that a reader is done with everything up to a position.

        **Example**: `quartet events consumers commit indexer 0 --rewind`

        Args:
            name: Name of the reader.
            position: The position.
            rewind: Let it go back, to read again.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        with connected(endpoints, zone) as client:
            row = _consumer(client.events.commit(name, position, rewind=rewind))
        if output == "json":
            print_json(row)
        else:
            print_table([row], ("name", "position", "updated_at"))

    @consumers.command
    def rm(name: str, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Forget a reader.

        **Example**: `quartet events consumers rm indexer`
        """
        with connected(endpoints, zone) as client:
            client.events.delete_consumer(name)
        if output == "json":
            print_json({"name": name, "deleted": True})

    watermarks = App(
        name="watermarks", help="Up to where adapters have brought events: `quartet events watermarks list`."
    )
    events.command(watermarks)

    @watermarks.default
    @watermarks.command(name="list")
    def list_watermarks(*, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show the watermarks of all adapters.

        **Example**: `quartet events watermarks list -o json`
        """
        with connected(endpoints, zone) as client:
            rows = [_watermark(one) for one in client.events.watermarks()]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("adapter", "last_sync_at", "last_event_id"))

    @watermarks.command(name="set")
    def set_(
        adapter: str,
        last_sync_at: str,
        /,
        *,
        event: str = "",
        monotonic: bool = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Say up to where an adapter has brought events.

        **Example**: `quartet events watermarks set gmail 2026-11-21T08:00:00Z --monotonic`

        Args:
            adapter: Name of the adapter.
            last_sync_at: Time of the newest event that it brought.
            event: That event's id, or a cursor of the adapter's own.
            monotonic: Never go back; shows what holds then.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        stamp = Timestamp()
        try:
            stamp.FromJsonString(last_sync_at)
        except ValueError as error:
            hint = "write it like 2026-11-21T08:00:00Z"
            raise CommandError(f"{last_sync_at} is not a time", hint, exit_code=2) from error
        mark = progress_pb2.SyncWatermark(adapter=adapter, last_sync_at=stamp, last_event_id=event or None)
        with connected(endpoints, zone) as client:
            row = _watermark(client.events.set_watermark(mark, monotonic=monotonic))
        if output == "json":
            print_json(row)
        else:
            print_table([row], ("adapter", "last_sync_at", "last_event_id"))

    @events.command
    def status(adapter: str, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show all that is known of an adapter: its watermark and its last run.

        **Example**: `quartet events status gmail -o json`
        """
        with connected(endpoints, zone) as client:
            found = client.events.sync_status(adapter)
        row = {"adapter": found.adapter}
        if found.HasField("watermark"):
            row["last_sync_at"] = found.watermark.last_sync_at.ToJsonString()
        if found.HasField("job"):
            job = json_format.MessageToDict(found.job, preserving_proto_field_name=True)
            row |= {name: value for name, value in job.items() if name not in ("adapter", "etag")}
            row["status"] = str(row.get("status", "")).removeprefix("SYNC_STATE_").lower()
        if output == "json":
            print_json(row)
        else:
            print_table([row], tuple(row))


def _line(event: event_pb2.Event, output: str) -> str:
    if output == "json":
        row = json_format.MessageToDict(event, preserving_proto_field_name=True)
        return json.dumps({**row, "position": event.position}, ensure_ascii=False)
    when = event.timestamp.ToJsonString()
    who = event.from_identifier or event.from_channel
    return f"{event.position}  {when}  {printable(event.source)}  {printable(who)}: {printable(event.content)}"


def _consumer(one: progress_pb2.Consumer) -> dict[str, Any]:
    return {"name": one.name, "position": one.position, "updated_at": one.updated_at.ToJsonString()}


def _watermark(one: progress_pb2.SyncWatermark) -> dict[str, Any]:
    return {
        "adapter": one.adapter,
        "last_sync_at": one.last_sync_at.ToJsonString(),
        "last_event_id": one.last_event_id or None,
    }
