"""`quartet cat|cp`: the bytes of files by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet import Client, NotFound
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.connection import SCHEME, Endpoints, Zone, connected, remote
from quartet_server.cli.output import CommandError, Output, print_json, printable, say
from quartet_server.cli.transfer.between import Between
from quartet_server.cli.transfer.download import Download
from quartet_server.cli.transfer.meter import Meter
from quartet_server.cli.transfer.tally import Tally
from quartet_server.cli.transfer.upload import Upload
from quartet_server.cli.transfer.workers import Workers

_PATIENCE = 60.0  # seconds for a call, in which a cluster finds another leader many times
_TOLD = 20


def register(app: App) -> None:
    """Add the commands to `app`."""

    @app.command
    def cat(
        paths: Annotated[list[str], Parameter(help="Remote paths: qt:/path, or just /path.")],
        /,
        *,
        offset: int = 0,
        length: int = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Write the bytes of files to stdout.

        **Example**: `quartet cat qt:/docs/a.txt | wc`

        Args:
            paths: Which files, one after the other.
            offset: First byte of each, from 0.
            length: At most this many bytes of each; 0 for all.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: `json` writes one object for each file, its bytes as text when they are UTF-8, else in hexadecimal.
        """
        with connected(endpoints, zone) as client:
            for path in paths:
                stream = client.files.read_stream(remote(path), offset=offset, length=length)
                if output == "json":
                    print_json(_told(remote(path), b"".join(stream)))
                    continue
                for piece in stream:
                    sys.stdout.buffer.write(piece)
        sys.stdout.flush()

    @app.command
    def cp(
        paths: Annotated[list[str], Parameter(help="What to copy, and at the end where to; qt:/path is remote.")],
        /,
        *,
        recursive: Annotated[bool, Parameter(name=["--recursive", "-r"], negative="")] = False,
        parallel: int = 8,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> int:
        """Copy files and trees into the cluster, out of it, or inside it; what is there already, by digest, stays.

        Into the last path when that is a directory, as cp does. A copy that was interrupted goes on when it is run again.

        **Examples**: `quartet cp a.txt b.txt qt:/docs` · `quartet cp -r src qt:/backup` · `quartet cp -r qt:/backup/src .`

        Args:
            paths: What to copy, and at the end where to.
            recursive: Directories with everything below them.
            parallel: Files, or groups of small files, that are copied at the same time; 1 to 64.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How the counts are printed.
        """
        if len(paths) < 2:
            raise CommandError("cp takes what to copy, and where to", "quartet cp FILE qt:/docs", exit_code=2)
        if not 1 <= parallel <= 64:
            raise CommandError(f"--parallel {parallel}: 1 to 64 are taken", exit_code=2)
        *sources, destination = paths
        if not any(path.startswith(SCHEME) for path in paths):
            raise CommandError("nothing here is remote", f"write remote paths like {SCHEME}/docs", exit_code=2)
        with connected(endpoints, zone, timeout=_PATIENCE) as client, Meter() as meter:
            tally = Tally(meter)
            with Workers(parallel, client.close) as workers:
                for source, target in _pairs(client, sources, destination):
                    _copy(client, workers, tally, source, target, recursive=recursive)
        if output == "json":
            print_json(tally.row())
        for failed in tally.failed[:_TOLD]:
            say(f"not copied: {printable(failed['path'])}: {printable(failed['reason'])}")
        if len(tally.failed) > _TOLD:
            say(f"and {len(tally.failed) - _TOLD} more")
        return 1 if tally.failed else 0


def _pairs(client: Client, sources: list[str], destination: str) -> list[tuple[str, str]]:
    """Return each source with its own target: below the destination when that is a directory."""
    into = _is_directory(client, destination)
    if not into and (len(sources) > 1 or destination.endswith("/")):
        raise CommandError(f"{destination} is not a directory", f"quartet mkdir -p {destination}")
    if not into:
        return [(sources[0], destination)]
    return [(source, _join(destination, _name(source))) for source in sources]


def _is_directory(client: Client, path: str) -> bool:
    if not path.startswith(SCHEME):
        return Path(path).is_dir()
    try:
        return client.files.stat(remote(path)).type == pb.ENTRY_TYPE_DIRECTORY
    except NotFound:
        return False


def _name(source: str) -> str:
    """Return the last component; empty for what has none of its own, whose content goes into the target itself."""
    name = source.removeprefix(SCHEME).rstrip("/").rpartition("/")[2]
    return "" if name in (".", "..") else name


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}" if name else directory


def _copy(client: Client, workers: Workers, tally: Tally, source: str, target: str, *, recursive: bool) -> None:
    """Copy one source to its target."""
    if source.startswith(SCHEME):
        entry = client.files.stat(remote(source.removesuffix("/.")) if source != f"{SCHEME}/." else "/")
        _demand(source, entry.type == pb.ENTRY_TYPE_DIRECTORY, recursive=recursive)
        if not target.startswith(SCHEME):
            Download(client, workers, tally).run(entry, Path(target))
            return
        there = _trimmed(remote(target))
        if f"{there}/".startswith(f"{entry.path.rstrip('/')}/"):
            raise CommandError(f"{source} cannot be copied into itself")
        Between(client, workers, tally).run(entry, there)
        return
    path = Path(source)
    try:
        _demand(source, path.is_dir(), recursive=recursive)
        path.stat()
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}") from error
    if not target.startswith(SCHEME):
        raise CommandError(f"{source} and {target} are both on this machine", "cp", exit_code=2)
    Upload(client, workers, tally).run(path, _trimmed(remote(target)))


def _trimmed(path: str) -> str:
    return path.rstrip("/") if path != "/" else ""


def _demand(source: str, directory: bool, *, recursive: bool) -> None:
    if directory and not recursive:
        raise CommandError(f"{source} is a directory", f"quartet cp -r {source} ...", exit_code=2)


def _told(path: str, data: bytes) -> dict[str, Any]:
    try:
        return {"path": path, "size": len(data), "text": data.decode()}
    except UnicodeDecodeError:
        return {"path": path, "size": len(data), "hex": data.hex()}
