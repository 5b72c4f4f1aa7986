"""`quartet ls|find|stat|mkdir|touch|ln|rm|mv|tree`: the tree by hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Literal

from cyclopts import App, Parameter
from quartet import Client, Entry, NotFound
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import Output, print_json, print_table, printable
from quartet_server.cli.rows import TYPES, entry_row

_Type = Literal["file", "directory", "symlink"]
_Recursive = Annotated[bool, Parameter(name=["--recursive", "-r"], negative="", help="With everything below.")]
_Parents = Annotated[bool, Parameter(name=["--parents", "-p"], negative="", help="Missing parents too; may exist.")]


def register(app: App) -> None:
    """Add the commands to `app`."""

    @app.command
    def ls(
        path: Remote = "/",
        /,
        *,
        long: Annotated[
            bool, Parameter(name=["--long", "-l"], negative="", help="With mode, owner, size and time.")
        ] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """List a directory, or show a file.

        **Example**: `quartet ls -l qt:/docs`
        """
        with connected(endpoints, zone) as client:
            entry = client.files.stat(remote(path))
            isdir = entry.type == pb.ENTRY_TYPE_DIRECTORY
            rows = [entry_row(one) for one in (client.files.list(entry.path, detail=True) if isdir else [entry])]
        if output == "json":
            print_json(rows)
        elif long:
            print_table(rows, ("mode", "owner", "size", "mtime", "name"))
        else:
            for row in rows:
                print(printable(row["name"]))

    @app.command
    def find(
        path: Remote = "/",
        glob: Annotated[str, Parameter(help="Pattern below the path, like src/**/*.py; ** is any directories.")] = "**",
        /,
        *,
        name: Annotated[str, Parameter(help="Pattern for the last component alone.")] = "",
        type_: Annotated[_Type | None, Parameter(name="--type", help="Only entries of this type.")] = None,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show the paths of what matches, in one revision of the tree.

        **Example**: `quartet find qt:/docs --name '*.txt' --type file`
        """
        pattern = f"{glob}/{name}" if name and glob != "**" else f"**/{name}" if name else glob
        kind = next((kind for kind, word in TYPES.items() if word == type_), pb.ENTRY_TYPE_UNSPECIFIED)
        with connected(endpoints, zone) as client:
            found = client.files.list(remote(path), glob=pattern, type=kind, detail=output == "json")
            if output == "json":
                print_json([entry_row(entry) for entry in found])
                return
            for entry in found:
                print(printable(entry.path))

    @app.command
    def stat(
        path: Remote,
        /,
        *,
        follow: Annotated[bool, Parameter(name=["--follow", "-L"], negative="", help="What a link leads to.")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show everything about an entry.

        **Example**: `quartet stat qt:/docs/a.txt -o json`
        """
        with connected(endpoints, zone) as client:
            row = entry_row(client.files.stat(remote(path), follow=follow))
            row["xattrs"] = {name: value.hex() for name, value in client.files.list_xattrs(row["path"]).items()}
        if output == "json":
            print_json(row)
        else:
            print_table([{"field": key, "value": value} for key, value in row.items()], ("field", "value"))

    @app.command
    def mkdir(
        path: Remote,
        /,
        *,
        parents: _Parents = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make a directory.

        **Example**: `quartet mkdir -p qt:/docs/drafts`
        """
        with connected(endpoints, zone) as client:
            entry = client.files.mkdir(remote(path), parents=parents, attributes=pb.Attributes(mode=0o755))
        if output == "json":
            print_json(entry_row(entry))

    @app.command
    def touch(
        path: Remote,
        /,
        *,
        no_create: Annotated[bool, Parameter(name=["--no-create", "-c"], negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give an entry the present time; where there is nothing, make an empty file.

        **Example**: `quartet touch qt:/docs/a.txt`

        Args:
            path: What to touch.
            no_create: Make no file.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        with connected(endpoints, zone) as client:
            entry = client.files.touch(remote(path), no_create=no_create)
        if output == "json":
            print_json(entry_row(entry))

    @app.command
    def ln(
        target: Annotated[str, Parameter(help="What the link says: from the directory that holds it, or from /.")],
        path: Remote,
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make a symbolic link.

        **Example**: `quartet ln ../shared/notes.txt qt:/docs/notes.txt`
        """
        with connected(endpoints, zone) as client:
            entry = client.files.symlink(remote(path), target)
        if output == "json":
            print_json(entry_row(entry))

    @app.command
    def rm(
        path: Remote,
        /,
        *,
        recursive: _Recursive = False,
        permanent: Annotated[bool, Parameter(negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Delete an entry for good; with -r put it into the trash, from where it can come back.

        **Example**: `quartet rm -r qt:/docs/drafts`

        Args:
            path: What to delete.
            recursive: With everything below, into the trash.
            permanent: With -r: past the trash, for good.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        with connected(endpoints, zone) as client:
            gone = client.files.delete(remote(path), recursive=recursive, permanent=permanent)
        if output == "json":
            print_json({"ino": gone.ino, "revision": gone.revision, "trash_id": gone.trash_id})

    @app.command
    def mv(
        source: Remote,
        destination: Remote,
        /,
        *,
        no_replace: Annotated[bool, Parameter(name=["--no-replace", "-n"], negative="")] = False,
        exchange: Annotated[bool, Parameter(negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Move an entry; into DESTINATION when that is a directory, as mv does.

        **Example**: `quartet mv qt:/docs/a.txt qt:/archive/`

        Args:
            source: What to move.
            destination: Where to.
            no_replace: Fail when the destination exists.
            exchange: Both exist, and change places.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        mode = "exchange" if exchange else "no_replace" if no_replace else "replace"
        with connected(endpoints, zone) as client:
            old, new = remote(source), remote(destination)
            if not exchange and _is_directory(client, new):
                new = f"{new.rstrip('/')}/{old.rstrip('/').rpartition('/')[2]}"
            moved = client.files.rename(old, new, mode=mode)
        if output == "json":
            print_json({"ino": moved.ino, "other_ino": moved.other_ino, "path": new, "revision": moved.revision})

    @app.command
    def tree(path: Remote = "/", /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show a directory with everything below it.

        **Example**: `quartet tree qt:/docs`
        """
        with connected(endpoints, zone) as client:
            top = client.files.stat(remote(path)).path
            if output == "json":
                print_json([entry_row(entry) for entry in client.files.walk(top, detail=True)])
                return
            below: dict[str, list[Entry]] = defaultdict(list)
            counts = {"directory": 0, "file": 0, "symlink": 0}
            for entry in client.files.walk(top):
                below[entry.path.rpartition("/")[0] or "/"].append(entry)
                counts[TYPES[entry.type]] += 1
        print(printable(top))
        _draw(below, top, "")
        print(f"\n{counts['directory']} directories, {counts['file'] + counts['symlink']} files")


def _draw(below: Mapping[str, list[Entry]], path: str, indent: str) -> None:
    """Print what a directory holds, as tree(1) draws it."""
    entries = below.get(path, [])
    for i, entry in enumerate(entries):
        last = i == len(entries) - 1
        print(f"{indent}{'└── ' if last else '├── '}{printable(entry.name)}")
        _draw(below, entry.path, indent + ("    " if last else "│   "))


def _is_directory(client: Client, path: str) -> bool:
    try:
        return client.files.stat(path).type == pb.ENTRY_TYPE_DIRECTORY
    except NotFound:
        return False
