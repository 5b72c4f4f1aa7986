"""`quartet ls|find|stat|mkdir|touch|ln|rm|mv|tree`: the tree by hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from quartet import Client, Entry, NotFound
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.connection import SCHEME, Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import CommandError, Output, print_json, print_table, printable, say
from quartet_server.cli.rows import TYPES, entry_row, long_row

_Type = Literal["file", "directory", "symlink"]
_Paths = Annotated[list[str], Parameter(help="Remote paths: qt:/path, or just /path.")]
_Recursive = Annotated[bool, Parameter(name=["--recursive", "-r"], negative="", help="With everything below.")]
_Parents = Annotated[bool, Parameter(name=["--parents", "-p"], negative="", help="Missing parents too; may exist.")]


def register(app: App) -> None:
    """Add the commands to `app`."""

    @app.command
    def ls(
        paths: _Paths | None = None,
        /,
        *,
        long: Annotated[
            bool, Parameter(name=["--long", "-l"], negative="", help="With mode, owner, size and time.")
        ] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """List directories, or show files; without a path the root.

        **Example**: `quartet ls -l qt:/docs`
        """
        shown: list[dict[str, Any]] = []
        wanted = paths or ["/"]
        with connected(endpoints, zone) as client:
            for i, path in enumerate(wanted):
                entry = client.files.stat(remote(path))
                isdir = entry.type == pb.ENTRY_TYPE_DIRECTORY
                rows = [entry_row(one) for one in (client.files.list(entry.path, detail=True) if isdir else [entry])]
                if output == "json":
                    shown += rows
                    continue
                if len(wanted) > 1:
                    print(f"{chr(10) * (i > 0)}{printable(entry.path)}:")
                if long:
                    print_table([long_row(row) for row in rows], ("mode", "owner", "size", "mtime", "name"))
                else:
                    for row in rows:
                        print(printable(row["name"] or row["path"]))
        if output == "json":
            print_json(shown)

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
        paths: _Paths,
        /,
        *,
        parents: _Parents = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make directories.

        **Example**: `quartet mkdir -p qt:/docs/drafts`
        """
        made = []
        with connected(endpoints, zone) as client:
            for path in map(remote, paths):
                try:
                    made.append(client.files.mkdir(path, parents=parents, attributes=pb.Attributes(mode=0o755)))
                except NotFound as error:
                    error.hint = f"quartet mkdir -p {SCHEME}{path}"
                    raise
        if output == "json":
            _print_each([entry_row(entry) for entry in made])

    @app.command
    def touch(
        paths: _Paths,
        /,
        *,
        no_create: Annotated[bool, Parameter(name=["--no-create", "-c"], negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give entries the present time; where there is nothing, make an empty file.

        **Example**: `quartet touch qt:/docs/a.txt`

        Args:
            paths: What to touch.
            no_create: Make no file.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        with connected(endpoints, zone) as client:
            touched = [client.files.touch(remote(path), no_create=no_create) for path in paths]
        if output == "json":
            _print_each([entry_row(entry) for entry in touched])

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
        paths: _Paths,
        /,
        *,
        recursive: _Recursive = False,
        force: Annotated[bool, Parameter(name=["--force", "-f"], negative="")] = False,
        permanent: Annotated[bool, Parameter(negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Delete entries for good; with -r put them into the trash, from where they can come back.

        **Example**: `quartet rm -r qt:/docs/drafts`

        Args:
            paths: What to delete.
            recursive: With everything below, into the trash.
            force: What is not there is as good as deleted.
            permanent: With -r: past the trash, for good.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        if permanent and not recursive:
            raise CommandError("--permanent goes with -r: without it nothing goes to the trash", exit_code=2)
        gone = []
        with connected(endpoints, zone) as client:
            for path in map(remote, paths):
                try:
                    gone.append(client.files.delete(path, recursive=recursive, permanent=permanent))
                except NotFound:
                    if not force:
                        raise
        if output == "json":
            _print_each([{"ino": one.ino, "revision": one.revision, "trash_id": one.trash_id} for one in gone])
            return
        for one in gone:
            if one.trash_id:
                say(f"in the trash; quartet trash restore {one.trash_id} takes it back")

    @app.command
    def mv(
        paths: Annotated[list[str], Parameter(help="What to move, and at the end where to: qt:/path, or just /path.")],
        /,
        *,
        no_replace: Annotated[bool, Parameter(name=["--no-replace", "-n"], negative="")] = False,
        exchange: Annotated[bool, Parameter(negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Move entries; into the last path when that is a directory, as mv does.

        **Example**: `quartet mv qt:/docs/a.txt qt:/docs/b.txt qt:/archive/`

        Args:
            paths: What to move, and at the end where to.
            no_replace: Fail when the destination exists.
            exchange: Both exist, and change places.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        mode = "exchange" if exchange else "no_replace" if no_replace else "replace"
        *sources, destination = map(remote, paths)
        if not sources:
            raise CommandError("mv takes what to move, and where to", "quartet mv qt:/a qt:/b", exit_code=2)
        rows = []
        with connected(endpoints, zone) as client:
            into = not exchange and _is_directory(client, destination)
            if not into and (len(sources) > 1 or (destination.endswith("/") and destination != "/")):
                raise CommandError(f"{destination} is not a directory", f"quartet mkdir -p {SCHEME}{destination}")
            for old in sources:
                new = f"{destination.rstrip('/')}/{old.rstrip('/').rpartition('/')[2]}" if into else destination
                moved = client.files.rename(old, new, mode=mode)
                rows.append({"ino": moved.ino, "other_ino": moved.other_ino, "path": new, "revision": moved.revision})
        if output == "json":
            _print_each(rows)

    @app.command
    def tree(
        path: Remote = "/",
        /,
        *,
        depth: Annotated[int, Parameter(name=["--depth", "-L"])] = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show a directory with everything below it.

        **Example**: `quartet tree qt:/docs --depth 2`

        Args:
            path: What to show.
            depth: So many levels below it; 0 for all.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How data is printed.
        """
        if depth < 0:
            raise CommandError(f"--depth {depth}: numbers from 0 on are taken", exit_code=2)
        with connected(endpoints, zone) as client:
            entry = client.files.stat(remote(path))
            entries = _levels(client, entry.path, depth) if entry.type == pb.ENTRY_TYPE_DIRECTORY else iter(())
            if output == "json":
                print_json([entry_row(one) for one in entries])
                return
            below: dict[str, list[Entry]] = defaultdict(list)
            counts = {"directory": 0, "file": 0, "symlink": 0}
            for one in entries:
                below[one.path.rpartition("/")[0] or "/"].append(one)
                counts[TYPES[one.type]] += 1
        files = counts["file"] + counts["symlink"]
        print(printable(entry.path))
        _draw(below, entry.path, "")
        print(f"\n{_counted(counts['directory'], 'directory', 'directories')}, {_counted(files, 'file', 'files')}")


def _draw(below: Mapping[str, list[Entry]], path: str, indent: str) -> None:
    """Print what a directory holds, as tree(1) draws it."""
    entries = below.get(path, [])
    for i, entry in enumerate(entries):
        last = i == len(entries) - 1
        points = f" -> {printable(entry.attributes.symlink_target)}" if entry.type == pb.ENTRY_TYPE_SYMLINK else ""
        print(f"{indent}{'└── ' if last else '├── '}{printable(entry.name)}{points}")
        _draw(below, entry.path, indent + ("    " if last else "│   "))


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _levels(client: Client, top: str, depth: int) -> Iterator[Entry]:
    """Yield what is below a directory, at most `depth` levels of it unless that is 0; directories before what they hold."""
    if not depth:
        yield from client.files.walk(top, detail=True)
        return
    for entry in client.files.list(top, detail=True):
        yield entry
        if depth > 1 and entry.type == pb.ENTRY_TYPE_DIRECTORY:
            yield from _levels(client, entry.path, depth - 1)


def _print_each(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one row as an object, any other number as a list."""
    print_json(rows[0] if len(rows) == 1 else rows)


def _is_directory(client: Client, path: str) -> bool:
    try:
        return client.files.stat(path).type == pb.ENTRY_TYPE_DIRECTORY
    except NotFound:
        return False
