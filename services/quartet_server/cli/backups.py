"""`quartet backup` and `quartet restore`: copies of the databases of records, and the way back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet import Client

from quartet_server.catalog import SCHEMAS
from quartet_server.cli.connection import Endpoints, connected
from quartet_server.cli.output import CommandError, Output, print_json, print_table, say
from quartet_server.failure import QuartetError
from quartet_server.ops import sealing
from quartet_server.ops.manifest import NAME, Manifest
from quartet_server.ops.sealing import SUFFIX, Secret
from quartet_server.ops.staging import Staging, put_in_place
from quartet_server.records.engine import FOLDER
from quartet_server.records.preparing import held

_PIECE = 1 << 20
_LONGEST_SECRET = 1 << 20
_Key = Annotated[
    Path | None, Parameter(help="File whose contents are the secret: a passphrase, or 32 bytes of /dev/urandom.")
]


def register(app: App) -> None:
    """Add the commands to `app`."""

    @app.command
    def backup(
        directory: Path, /, *, key_file: _Key = None, endpoints: Endpoints = None, output: Output = "table"
    ) -> None:
        """Copy the databases of every node into DIRECTORY, a folder for each node, while they are in use.

        All of a node is as it was at one moment. With --key-file the files are encrypted (AES-256-GCM) on this machine. The
        metadata of the cluster (files, settings, where zones live) is not in it: `python -m raftmeta save` copies that.

        **Example**: `quartet backup /backup/monday --key-file /etc/quartet/backup.key`
        """
        secret, rows = _secret(key_file), []
        with connected(endpoints) as client:
            nodes = [(node.name, node.client_address, node.alive) for node in client.cluster.topology().nodes]
        if missing := [name for name, _, alive in nodes if not alive]:
            raise CommandError(f"not all nodes answer: {', '.join(missing)}", "quartet node list")
        for name, address, _ in nodes:
            with connected(address, timeout=60.0) as client:
                rows += _save(client, directory / name, name, secret)
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("node", "file", "bytes"))

    @app.command
    def restore(directory: Path, /, *, data_dir: Path, key_file: _Key = None, output: Output = "table") -> None:
        """Replace the databases of the stopped node at --data-dir by the backup in DIRECTORY, after all of it is verified.

        DIRECTORY is one node's folder of a backup. What was there before is kept in records.before.

        **Example**: `quartet restore /backup/monday/n1 --data-dir /var/lib/quartet`
        """
        secret, records = _secret(key_file), data_dir / FOLDER
        if not data_dir.is_dir():
            raise CommandError(f"{data_dir} is no data directory", "--data-dir DIR of the node", exit_code=2)
        records.mkdir(mode=0o700, exist_ok=True)
        try:
            with held(records):
                manifest = _take(directory, data_dir, secret)
                put_in_place(data_dir, records)
        except QuartetError as error:
            raise CommandError(f"{error.message} [{error.reason}]", error.hint) from error
        except OSError as error:
            raise CommandError(f"{error.filename or data_dir}: {error.strerror}") from error
        rows = [{"database": one.database, "rows": sum(one.rows.values())} for one in manifest.databases]
        if output == "json":
            print_json({"node": manifest.node, "time": manifest.time, "databases": rows})
        else:
            print_table(rows, ("database", "rows"))
            say(f"{data_dir} has the databases of {manifest.node} again; what was there is in records.before")


def _save(client: Client, folder: Path, node: str, secret: Secret | None) -> list[dict[str, Any]]:
    """Write the backup of one node into a new folder; returns what was written."""
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}", "name a directory that is not there yet") from error
    salt, rows = sealing.draw_salt(), []
    for name, pieces in _by_file(client.ops.backup()):
        source = pieces if secret is None else sealing.seal(secret, name, pieces, salt)
        path = folder / (name if secret is None else name + SUFFIX)
        with path.open("xb") as file:
            for piece in source:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        path.chmod(0o600)
        rows.append({"node": node, "file": str(path), "bytes": path.stat().st_size})
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)
    return rows


def _by_file(pieces: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield each file's name and its pieces, which are to be taken before the next."""
    ahead = next(pieces, None)
    while ahead is not None:
        name = ahead[0]

        def of_file(name: str = name) -> Iterator[bytes]:
            nonlocal ahead
            while ahead is not None and ahead[0] == name:
                yield ahead[1]
                ahead = next(pieces, None)

        yield name, of_file()


def _take(directory: Path, data_dir: Path, secret: Secret | None) -> Manifest:
    """Verify a backup into the data directory. Raises QuartetError, OSError, CommandError."""
    suffix = SUFFIX if secret is not None else ""
    if not (directory / (NAME + suffix)).is_file():
        sealed = (directory / (NAME + SUFFIX)).is_file()
        raise CommandError(
            f"{directory} holds no backup of one node" if not sealed else f"the backup in {directory} is encrypted",
            "--key-file FILE" if sealed else "name the folder of a node, in which manifest.json is",
        )
    staging = Staging(data_dir)
    try:
        names = sorted(path.name.removesuffix(suffix) for path in directory.glob(f"*.db{suffix}"))
        for name in (*names, NAME):
            for piece in _read(directory / (name + suffix), name, secret):
                staging.take(name, piece)
        return staging.finish(SCHEMAS)
    finally:
        staging.close()


def _read(path: Path, name: str, secret: Secret | None) -> Iterator[bytes]:
    def raw() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    return raw() if secret is None else sealing.unseal(secret, name, raw())


def _secret(path: Path | None) -> Secret | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            secret = file.read(_LONGEST_SECRET).rstrip(b"\r\n")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", exit_code=2) from error
    if len(secret) < 8:
        raise CommandError(f"{path} has fewer than 8 bytes", "head -c 32 /dev/urandom > FILE", exit_code=2)
    return Secret(secret)
