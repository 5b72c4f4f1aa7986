"""`quartet ls|stat|mkdir|rm|mv|tree`: the tree by hand."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from quartet import Client, NotFound
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import Output, print_json, print_table, printable
from quartet_server.cli.rows import TYPES, entry_row

_Recursive = Annotated[bool, Parameter(name=["--recursive", "-r"], negative="", help="With everything below.")]
_Parents = Annotated[bool, Parameter(name=["--parents", "-p"], negative="", help="Missing parents too; may exist.")]


def register(app: App) -> None:
    """Add the commands to `app`."""

    @app.command
    def ls(path: Remote = "/", /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """List a directory, or show a file.

        **Example**: `quartet ls qt:/docs`
        """
        with connected(endpoints, zone) as client:
            entry = client.files.stat(remote(path))
            isdir = entry.type == pb.ENTRY_TYPE_DIRECTORY
            rows = [entry_row(one) for one in (client.files.list(entry.path, detail=True) if isdir else [entry])]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("mode", "owner", "size", "mtime", "name"))

    @app.command
    def stat(path: Remote, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show everything about an entry.

        **Example**: `quartet stat qt:/docs/a.txt -o json`
        """
        with connected(endpoints, zone) as client:
            row = entry_row(client.files.stat(remote(path)))
            row["xattrs"] = {name: value.hex() for name, value in client.files.list_xattrs(remote(path)).items()}
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
            print(printable(top))
            counts = {"directory": 0, "file": 0, "symlink": 0}
            _draw(client, top, "", counts)
        print(f"\n{counts['directory']} directories, {counts['file'] + counts['symlink']} files")


def _draw(client: Client, path: str, indent: str, counts: dict[str, int]) -> None:
    """Print what a directory holds, as tree(1) draws it."""
    entries = list(client.files.list(path))
    for i, entry in enumerate(entries):
        last = i == len(entries) - 1
        print(f"{indent}{'└── ' if last else '├── '}{printable(entry.name)}")
        counts[TYPES[entry.type]] += 1
        if entry.type == pb.ENTRY_TYPE_DIRECTORY:
            _draw(client, entry.path, indent + ("    " if last else "│   "), counts)


def _is_directory(client: Client, path: str) -> bool:
    try:
        return client.files.stat(path).type == pb.ENTRY_TYPE_DIRECTORY
    except NotFound:
        return False
