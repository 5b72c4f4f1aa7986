"""`quartet trash list|restore|empty`: what recursive deletes have put away."""

from __future__ import annotations

import time
from typing import Annotated, Any

from cyclopts import App, Parameter
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.connection import Endpoints, Zone, connected, remote
from quartet_server.cli.output import CommandError, Output, print_json, print_table
from quartet_server.cli.rows import TYPES, entry_row


def register(app: App) -> None:
    """Add the commands to `app`."""
    trash = App(name="trash", help="What recursive deletes have put away.")
    app.command(trash)

    @trash.command(name="list")
    def list_(
        path: Annotated[str, Parameter(help="Only what was at this path or below.")] = "",
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show the trash, the oldest first.

        **Example**: `quartet trash list qt:/docs`
        """
        with connected(endpoints, zone) as client:
            rows = [_row(item) for item in client.files.trash.list(remote(path) if path else "")]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("id", "type", "delete_time", "path"))

    @trash.command
    def restore(
        id: Annotated[str, Parameter(help="Id, as `quartet trash list` shows it.")],  # noqa: A002 - what users call it
        path: Annotated[str, Parameter(help="Where to; without it where it was.")] = "",
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Put something back, with everything below it.

        **Example**: `quartet trash restore 000645f2d3a01c000000000000000007 qt:/docs/again`
        """
        with connected(endpoints, zone) as client:
            entry = client.files.trash.restore(id, remote(path) if path else "")
        if output == "json":
            print_json(entry_row(entry))

    @trash.command
    def empty(
        *ids: Annotated[str, Parameter(help="What to give up; without any, everything.")],
        older_than: Annotated[float, Parameter(help="Only what was deleted this many days ago or before.")] = 0.0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give up what is in the trash, for good.

        **Example**: `quartet trash empty --older-than 30`
        """
        if older_than < 0:
            raise CommandError("--older-than is a number of days, 0 or more", exit_code=2)
        before = Timestamp(seconds=int(time.time() - older_than * 86_400)) if older_than else None
        with connected(endpoints, zone) as client:
            emptied = client.files.trash.empty(ids, before=before)
        if output == "json":
            print_json({"emptied": emptied})


def _row(item: pb.TrashItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "type": TYPES[item.type],
        "delete_time": item.delete_time.ToJsonString(),
        "path": item.path,
        "ino": item.ino,
    }
