"""`quartet snapshot ...`: directories as they were, by hand."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb
from rich.console import Console

from quartet_server.cli.connection import SCHEME, Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import CommandError, Output, print_json, print_table, printable, say
from quartet_server.cli.rows import entry_row

_Snapshot = Annotated[
    str, Parameter(help="Id, ref, or root digest in hexadecimal, as `quartet snapshot log` shows them.")
]
_DELAY = 2.0
_LETTERS = {pb.CHANGE_TYPE_ADDED: "A", pb.CHANGE_TYPE_REMOVED: "D", pb.CHANGE_TYPE_MODIFIED: "M"}
_WORDS = {pb.CHANGE_TYPE_ADDED: "added", pb.CHANGE_TYPE_REMOVED: "removed", pb.CHANGE_TYPE_MODIFIED: "modified"}
_COLUMNS = ("id", "create_time", "path", "files", "bytes", "message")


def register(app: App) -> None:
    """Add the commands to `app`."""
    snapshot = App(name="snapshot", help="Photograph directories, compare them, put them back, branch from them.")
    app.command(snapshot)
    _register_making(snapshot)
    _register_reading(snapshot)
    _register_refs(snapshot)


def _register_making(snapshot: App) -> None:
    @snapshot.command
    def create(
        path: Remote = "/",
        /,
        *,
        message: Annotated[str, Parameter(name=["--message", "-m"], help="What to say about it.")] = "",
        label: Annotated[list[str] | None, Parameter(help="NAME=VALUE; may be given more than once.")] = None,
        ref: Annotated[str, Parameter(help="Name to give to it.")] = "",
        expect: Annotated[str, Parameter(help="Id that must be the newest so far, or `none`.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Photograph a directory, as it is at one moment.

        **Example**: `quartet snapshot create qt:/project -m "before the upgrade" --ref good`
        """
        with connected(endpoints, zone) as client, _progress("read") as told:
            made = client.snapshots.create(
                remote(path), message, labels=_labels(label or []), ref=ref, expected_parent=expect, told=told
            )
        _print([_row(made)], output, one=True)

    @snapshot.command
    def restore(
        name: _Snapshot,
        path: Annotated[str, Parameter(help="Where to; without it where it was.")] = "",
        /,
        *,
        source: Annotated[str, Parameter(help="Path in the snapshot of what to put back; without it all.")] = "",
        if_match: Annotated[str, Parameter(help="Etag which what is there must have.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make a path what it was, at once; what is there goes to the trash.

        **Examples**: `quartet snapshot restore good` · `quartet snapshot restore good qt:/project/a.txt --source /a.txt`
        """
        with connected(endpoints, zone) as client, _progress("built") as told:
            done = client.snapshots.restore(
                name, remote(path) if path else "", source=source, if_match=if_match, told=told
            )
        _placed(done, output)

    @snapshot.command
    def branch(
        name: _Snapshot,
        path: Remote,
        /,
        *,
        source: Annotated[str, Parameter(help="Path in the snapshot of what to branch from; without it all.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make a new directory of a snapshot; bytes are shared until they are written.

        **Example**: `quartet snapshot branch good qt:/project-2`
        """
        with connected(endpoints, zone) as client, _progress("built") as told:
            done = client.snapshots.branch(name, remote(path), source=source, told=told)
        _placed(done, output)

    @snapshot.command
    def rm(
        *names: _Snapshot,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give snapshots up; what nothing else leads to is collected.

        **Example**: `quartet snapshot rm 7ffffffffffffff05d1f0a2b3c4d5e6f`
        """
        with connected(endpoints, zone) as client:
            gone = [client.snapshots.delete(name).id for name in names]
        if output == "json":
            print_json(gone)


def _register_reading(snapshot: App) -> None:
    @snapshot.command
    def log(
        path: Annotated[str, Parameter(help="Only those of the directory at this path; without it all.")] = "",
        /,
        *,
        ref: Annotated[str, Parameter(help="Only what this ref names, and what came before it.")] = "",
        label: Annotated[list[str] | None, Parameter(help="NAME=VALUE; may be given more than once.")] = None,
        limit: Annotated[int, Parameter(help="At most this many; 0 for all.")] = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show snapshots, the newest first.

        **Example**: `quartet snapshot log qt:/project`
        """
        rows = []
        with connected(endpoints, zone) as client:
            for one in client.snapshots.list(remote(path) if path else "", ref=ref, labels=_labels(label or [])):
                rows.append(_row(one))
                if limit and len(rows) == limit:
                    break
        _print(rows, output)

    @snapshot.command
    def diff(
        name: _Snapshot,
        other: Annotated[
            str, Parameter(help="The newer snapshot, or qt:/path; without it the directory as it is now.")
        ] = "",
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show what differs between two snapshots, or between one and the present: A added, D removed, M modified.

        **Examples**: `quartet snapshot diff good` · `quartet snapshot diff good better`
        """
        live = other.startswith((SCHEME, "/"))
        with connected(endpoints, zone) as client:
            changes = client.snapshots.diff(name, "" if live else other, path=remote(other) if live else "")
            if output == "json":
                print_json([_change(one) for one in changes])
                return
            for one in changes:
                print(f"{_LETTERS[one.type]} {printable(one.path)}")

    @snapshot.command
    def ls(
        name: _Snapshot,
        path: Annotated[str, Parameter(help="Path in the snapshot.")] = "/",
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """List a directory of a snapshot, or show a file.

        **Example**: `quartet snapshot ls good /src`
        """
        with connected(endpoints, zone) as client:
            entry = client.snapshots.stat(name, path).entry
            isdir = entry.type == files_pb2.ENTRY_TYPE_DIRECTORY
            rows = [_entry(one) for one in (client.snapshots.entries(name, path) if isdir else [entry])]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("mode", "owner", "size", "mtime", "name"))

    @snapshot.command
    def cat(
        name: _Snapshot,
        path: Annotated[str, Parameter(help="Path in the snapshot.")],
        /,
        *,
        offset: int = 0,
        length: int = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Write the bytes of a file of a snapshot to stdout.

        **Example**: `quartet snapshot cat good /src/main.py`

        Args:
            name: Id, ref or root digest.
            path: Path in the snapshot.
            offset: First byte, from 0.
            length: At most this many bytes; 0 for all.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: `json` writes one object, the bytes as text when they are UTF-8, else in hexadecimal.
        """
        with connected(endpoints, zone) as client:
            stream = client.snapshots.read_stream(name, path, offset=offset, length=length)
            if output == "json":
                data = b"".join(stream)
                try:
                    print_json({"path": path, "size": len(data), "text": data.decode()})
                except UnicodeDecodeError:
                    print_json({"path": path, "size": len(data), "hex": data.hex()})
                return
            for piece in stream:
                sys.stdout.buffer.write(piece)
        sys.stdout.flush()


def _register_refs(snapshot: App) -> None:
    ref = App(name="ref", help="Names of snapshots.")
    snapshot.command(ref)

    @ref.command(name="set")
    def set_(
        name: Annotated[str, Parameter(help="The name.")],
        target: _Snapshot,
        /,
        *,
        expect: Annotated[str, Parameter(help="Id that has the name now, or `none`.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give a snapshot a name, or move the name to another one.

        **Example**: `quartet snapshot ref set good 7ffffffffffffff05d1f0a2b3c4d5e6f`
        """
        with connected(endpoints, zone) as client:
            made = client.snapshots.set_ref(name, target, expected=expect)
        if output == "json":
            print_json(_ref(made))

    @ref.command(name="list")
    def list_(*, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show the names of snapshots.

        **Example**: `quartet snapshot ref list`
        """
        with connected(endpoints, zone) as client:
            rows = [_ref(one) for one in client.snapshots.refs()]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("name", "snapshot", "root"))

    @ref.command(name="rm")
    def rm_(
        *names: Annotated[str, Parameter(help="The name.")],
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Take names away; the snapshots stay.

        **Example**: `quartet snapshot ref rm good`
        """
        with connected(endpoints, zone) as client:
            for name in names:
                client.snapshots.delete_ref(name)
        if output == "json":
            print_json(list(names))


@contextlib.contextmanager
def _progress(verb: str) -> Iterator[Callable[[pb.Totals], None]]:
    """Say on a terminal how far a call is that takes longer than two seconds."""
    console, began = Console(file=sys.stderr), time.monotonic()
    shown = False

    def told(totals: pb.Totals) -> None:
        nonlocal shown
        if console.is_terminal and time.monotonic() - began >= _DELAY:
            shown = True
            entries = totals.files + totals.directories + totals.symlinks
            console.print(f"\r{entries} entries, {totals.bytes >> 20} MiB {verb}", end="")

    try:
        yield told
    finally:
        if shown:
            console.print("")


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise CommandError(f"--label {one}: NAME=VALUE is taken", exit_code=2)
        labels[name] = value
    return labels


def _print(rows: list[dict[str, Any]], output: str, *, one: bool = False) -> None:
    if output == "json":
        print_json(rows[0] if one else rows)
    else:
        print_table(rows, _COLUMNS)


def _placed(done: pb.RestoreSnapshotResponse, output: str) -> None:
    if output == "json":
        print_json({**entry_row(done.entry), "trash_id": done.trash_id, "totals": _totals(done.totals)})
    elif done.trash_id:
        say(f"what was there is in the trash: quartet trash restore {done.trash_id} PATH")


def _row(made: pb.Snapshot) -> dict[str, Any]:
    return {
        "id": made.id,
        "root": f"{made.root.hash.hex()}/{made.root.size}",
        "path": made.path,
        "ino": made.ino,
        "parent": made.parent,
        "message": made.message,
        "labels": dict(made.labels),
        "owner": made.owner,
        "create_time": made.create_time.ToJsonString(),
        "revision": made.revision,
        **_totals(made.totals),
    }


def _totals(totals: pb.Totals) -> dict[str, int]:
    return {
        "files": totals.files,
        "directories": totals.directories,
        "symlinks": totals.symlinks,
        "bytes": totals.bytes,
    }


def _entry(entry: pb.TreeEntry) -> dict[str, Any]:
    shown = entry_row(files_pb2.Entry(path=entry.path, name=entry.name, type=entry.type, attributes=entry.attributes))
    kept = ("path", "name", "type", "mode", "owner", "size", "mime", "digest", "symlink_target", "mtime")
    return {key: shown[key] for key in kept}


def _change(change: pb.Change) -> dict[str, Any]:
    return {
        "type": _WORDS[change.type],
        "path": change.path,
        "content": change.content,
        "attributes": change.attributes,
        "before": _entry(change.before) if change.HasField("before") else None,
        "after": _entry(change.after) if change.HasField("after") else None,
    }


def _ref(ref: pb.Ref) -> dict[str, Any]:
    return {
        "name": ref.name,
        "snapshot": ref.snapshot,
        "root": f"{ref.root.hash.hex()}/{ref.root.size}",
        "revision": ref.revision,
    }
