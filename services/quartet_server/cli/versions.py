"""`quartet versions` and `quartet rollback`: what files were before, and the way back to it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import CommandError, Output, print_json, print_table, printable, say
from quartet_server.cli.rows import entry_row

_DAY = 86_400
_NUMBERED = "ino:"
Subject = Annotated[str, Parameter(help="Remote path, also of a deleted file, or ino:NUMBER.")]
Generation = Annotated[int, Parameter(help="Generation, as `quartet versions list` shows it.")]


def register(app: App) -> None:
    """Add the commands to `app`."""
    versions = App(name="versions", help="What files were before: `quartet versions list PATH`.")
    app.command(versions)

    @versions.default
    @versions.command(name="list")
    def list_(file: Subject, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show the versions of a file, the newest first.

        **Examples**: `quartet versions qt:/docs/plan.md` · `quartet versions list ino:7 -o json`
        """
        with connected(endpoints, zone) as client:
            rows: list[dict[str, Any]] = []
            token = ""
            while True:
                page = client.versions.page(_file(file), page_size=1000, page_token=token)
                rows += map(_row, page.versions)
                token = page.next_page_token
                if not token:
                    break
            for gap in page.losses.gaps:
                say(f"revisions {gap.from_revision} to {gap.to_revision} are lost: the store forgot them too early")
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("generation", "write_time", "size", "writer", "state", "digest"))

    @versions.command
    def cat(
        file: Subject,
        generation: Generation,
        /,
        *,
        offset: int = 0,
        length: int = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Write the bytes of a version to stdout.

        **Example**: `quartet versions cat qt:/docs/plan.md 3`

        Args:
            file: Remote path, also of a deleted file, or ino:NUMBER.
            generation: Which version.
            offset: First byte, from 0.
            length: At most this many bytes; 0 for all.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: `json` writes one object, the bytes as text when they are UTF-8, else in hexadecimal.
        """
        with connected(endpoints, zone) as client:
            stream = client.versions.read_stream(_file(file), generation, offset=offset, length=length)
            if output == "json":
                data = b"".join(stream)
                try:
                    print_json({"generation": generation, "text": data.decode()})
                except UnicodeDecodeError:
                    print_json({"generation": generation, "hex": data.hex()})
                return
            for piece in stream:
                sys.stdout.buffer.write(piece)
        sys.stdout.flush()

    @versions.command
    def diff(
        file: Subject,
        older: Annotated[int, Parameter(help="Older generation; without it the one before the newer.")] = 0,
        newer: Annotated[int, Parameter(help="Newer generation; without it the newest.")] = 0,
        /,
        *,
        context: Annotated[int, Parameter(help="Unchanged lines around each change.")] = 3,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show what changed between two versions: attributes as comments, text as `diff -u` does.

        **Example**: `quartet versions diff qt:/docs/plan.md 3 5`
        """
        with connected(endpoints, zone) as client:
            found = client.versions.diff(_file(file), older, newer, context=context)
        if output == "json":
            print_json(_diff_row(found))
            return
        for change in found.attributes:
            print(f"# {change.name}: {printable(change.before) or '-'} -> {printable(change.after) or '-'}")
        if found.content == pb.CONTENT_CHANGE_TEXT:
            print(found.unified, end="")
        elif found.content != pb.CONTENT_CHANGE_NONE:
            print(f"# content: {_change(found)}")
        if found.truncated:
            say("the diff is longer than what is told")

    @versions.command
    def deleted(
        path: Remote = "/", /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table"
    ) -> None:
        """Show the files that were deleted from a directory and still have versions.

        **Example**: `quartet versions deleted qt:/docs`
        """
        with connected(endpoints, zone) as client:
            rows = [
                {
                    "path": gone.path,
                    "ino": gone.ino,
                    "generation": gone.generation,
                    "size": gone.size,
                    "delete_time": gone.delete_time.ToJsonString(),
                }
                for gone in client.versions.deleted(remote(path))
            ]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("path", "ino", "generation", "size", "delete_time"))

    @versions.command
    def rm(
        file: Subject,
        /,
        *,
        before: Annotated[int, Parameter(help="Give up the versions before this generation.")],
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give up old versions of a file; the present one stays.

        **Example**: `quartet versions rm qt:/docs/plan.md --before 10`
        """
        with connected(endpoints, zone) as client:
            gone = client.versions.delete(_file(file), before)
        if output == "json":
            print_json({"deleted": gone})

    @versions.command
    def retention(
        path: Remote,
        /,
        *,
        max_: Annotated[int | None, Parameter(name="--max", help="Keep at most this many old versions.")] = None,
        min_: Annotated[int | None, Parameter(name="--min", help="Keep at least this many, however old.")] = None,
        keep_days: Annotated[float | None, Parameter(help="Keep them for this many days.")] = None,
        reset: Annotated[bool, Parameter(help="Take the path's own setting away.", negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show or set how long versions are kept of a file, or of what is below a directory; `/` is the whole zone.

        What is not said when it is set has its default: at most 100, at least 1, 30 days.

        **Examples**: `quartet versions retention qt:/docs` · `quartet versions retention qt:/docs --max 10 --keep-days 7`
        """
        said = [one for one in (max_, min_, keep_days) if one is not None]
        if reset and said:
            raise CommandError("--reset goes without --max, --min and --keep-days", exit_code=2)
        if keep_days is not None and not 0 <= keep_days <= 36_600:
            raise CommandError("--keep-days is a number of days, 0 to 36600", exit_code=2)
        seconds = None if keep_days is None else round(keep_days * _DAY)
        with connected(endpoints, zone) as client:
            if reset:
                client.versions.remove_retention(remote(path))
            if said:
                holds = client.versions.set_retention(
                    remote(path), max_versions=max_, min_versions=min_, keep_seconds=seconds
                )
            else:
                holds = client.versions.get_retention(remote(path))
        row = {
            "path": holds.path,
            "max": holds.retention.max_versions,
            "min": holds.retention.min_versions,
            "keep_days": round(holds.retention.keep.seconds / _DAY, 3),
            "set_at": holds.set_at or None,
        }
        if output == "json":
            print_json(row)
        else:
            print_table([row], tuple(row))

    @versions.command
    def gc(
        *,
        apply: Annotated[bool, Parameter(help="Give them up; without it they are counted only.", negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give up the versions of a zone that are past their retention, as happens every hour by itself.

        **Example**: `quartet versions gc --apply`
        """
        with connected(endpoints, zone, timeout=300.0) as client:
            found = client.versions.collect(dry_run=not apply)
        row = {"examined": found.examined, "deleted": found.deleted, "dry_run": not apply}
        if output == "json":
            print_json(row)
        else:
            print_table([row], tuple(row))

    @app.command
    def rollback(
        path: Remote,
        generation: Generation,
        /,
        *,
        ino: Annotated[int, Parameter(help="Whose generation, when it is not the file at the path.")] = 0,
        attributes: Annotated[bool, Parameter(help="Bring mode, owner and mtime back too.", negative="")] = False,
        if_match: Annotated[str, Parameter(help="Etag that the file must have.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Write a file again with the content of an old version; a deleted one comes back.

        **Example**: `quartet rollback qt:/docs/plan.md 3`
        """
        with connected(endpoints, zone) as client:
            entry = client.versions.rollback(
                remote(path), generation, ino=ino, attributes=attributes, if_match=if_match
            )
        if output == "json":
            print_json(entry_row(entry))


def _file(text: str) -> str | int:
    """Return the path or inode number that `text` names. Raises CommandError."""
    if not text.startswith(_NUMBERED):
        return remote(text)
    number = text.removeprefix(_NUMBERED)
    if not number.isascii() or not number.isdigit() or not 0 < int(number) < 1 << 64:
        raise CommandError(f"{text} names no inode", "quartet stat PATH shows its number", exit_code=2)
    return int(number)


def _row(version: pb.Version) -> dict[str, Any]:
    state = "present" if not version.end_revision else "deleted" if version.deleted else "old"
    return {
        "generation": version.generation,
        "ino": version.ino,
        "etag": version.etag,
        "write_time": version.write_time.ToJsonString(),
        "size": version.attributes.size,
        "mime": version.attributes.mime,
        "writer": version.writer or None,
        "state": state,
        "digest": version.attributes.digest.hex(),
        "end_time": version.end_time.ToJsonString() if version.HasField("end_time") else None,
        "revision": version.revision,
    }


def _change(found: pb.DiffVersionsResponse) -> str:
    return pb.ContentChange.Name(found.content).removeprefix("CONTENT_CHANGE_").lower()


def _diff_row(found: pb.DiffVersionsResponse) -> dict[str, Any]:
    return {
        "from": getattr(found, "from").generation,
        "to": found.to.generation,
        "attributes": [{"name": one.name, "before": one.before, "after": one.after} for one in found.attributes],
        "content": _change(found),
        "unified": found.unified,
        "added": found.added,
        "removed": found.removed,
        "truncated": found.truncated,
        "coarse": found.coarse,
    }
