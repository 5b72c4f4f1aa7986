"""`quartet watch`: what happens to files, as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet import Client, Unavailable
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import CommandError, Output, printable, say
from quartet_server.cli.rows import TYPES

_PATIENCE = 300.0
"""Seconds without a node that answers after which a watch ends."""
_PAUSE = 1.0
_EVENTS = {
    pb.EVENT_TYPE_CREATED: "created",
    pb.EVENT_TYPE_MODIFIED: "modified",
    pb.EVENT_TYPE_DELETED: "deleted",
    pb.EVENT_TYPE_RENAMED: "renamed",
    pb.EVENT_TYPE_XATTR: "xattr",
}


def register(app: App) -> None:
    """Add the command to `app`."""

    @app.command
    def watch(
        path: Remote = "/",
        /,
        *,
        recursive: Annotated[bool, Parameter(name=["--recursive", "-r"], negative="")] = False,
        start: Annotated[int, Parameter(name="--from")] = 0,
        count: Annotated[int, Parameter(name=["--count", "-n"])] = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show what happens to an entry, and in it when it is a directory, until Ctrl-C; a line for each event.

        Nothing is missed and nothing told twice, also when nodes fail meanwhile. To go on later, give the revision after
        the last one shown.

        **Examples**: `quartet watch -r qt:/docs` · `quartet watch qt:/docs --from 1207 -o json | jq .path`

        Args:
            path: What to watch; it need not exist yet.
            recursive: Everything below too.
            start: First revision to show; 0 for what happens from now on.
            count: End after so many events; 0 for never.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: `json` writes one object a line.
        """
        if start < 0 or count < 0:
            raise CommandError("--from and --count take numbers from 0 on", exit_code=2)
        with connected(endpoints, zone) as client:
            for told, row in enumerate(_events(client, remote(path), start, recursive=recursive), 1):
                print(json.dumps(row, ensure_ascii=False) if output == "json" else _line(row), flush=True)
                if told == count:
                    return


def _events(client: Client, path: str, start: int, *, recursive: bool) -> Iterator[dict[str, Any]]:
    """Yield events as rows, from one node or another; waits `_PATIENCE` seconds for one that answers."""
    following, deadline = start, 0.0
    while True:
        try:
            for answer in client.files.watch(path, recursive=recursive, start_revision=following):
                if not deadline:
                    say(f"watching {printable(path)} from revision {start or answer.revision + 1} on; Ctrl-C ends it")
                deadline = time.monotonic() + _PATIENCE
                for event in answer.events:
                    yield _row(answer.revision, event)
                following = answer.revision + 1
            return
        except Unavailable as error:
            if not deadline or time.monotonic() > deadline:
                raise
            say(f"{printable(error.message)}; trying again")
            time.sleep(_PAUSE)


def _row(revision: int, event: pb.Event) -> dict[str, Any]:
    return {
        "revision": revision,
        "event": _EVENTS.get(event.type, "unknown"),
        "path": event.path,
        "old_path": event.old_path or None,
        "type": TYPES.get(event.entry_type),
        "ino": event.ino,
        "xattr": event.xattr or None,
    }


def _line(row: dict[str, Any]) -> str:
    what = f"{row['old_path']} -> {row['path']}" if row["old_path"] else row["path"]
    if row["xattr"]:
        what += f" ({row['xattr']})"
    return f"{row['revision']:>8}  {row['event']:<8}  {printable(what)}{'/' if row['type'] == 'directory' else ''}"
