"""An online copy of a node's databases, all as they were at one moment, while everybody goes on.

SQLite's backup copies pages within a read transaction, which in WAL mode waits for nobody and lets nobody wait. `VACUUM INTO`
would be smaller and wrong: it numbers rows anew, and full-text indexes name rows by their numbers.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pysqlite3

from quartet_server.ops.manifest import NAME, Copied, Manifest
from quartet_server.placement_errors import BackupRefused
from quartet_server.records.contract import Dialect
from quartet_server.records.engine import OpenDatabases
from quartet_server.records.failures import of_sqlite
from quartet_server.records.sqlite import connect

PIECE = 1 << 20
"""Bytes of a file in one message."""
_FOLDER = "backup.tmp"


class Copying:
    """Makes copies of the databases of a node, one at a time."""

    def __init__(
        self, databases: OpenDatabases, folder: Path, node: str, version: str, clock: Callable[[], float]
    ) -> None:
        """Copy `databases`, whose files are in `folder`; `clock` is in seconds since 1970."""
        self._databases = databases
        self._folder = folder
        self._files = {name: folder / f"{name}.db" for name in databases.names}
        self._node = node
        self._version = version
        self._clock = clock
        self._busy = False

    async def copies(self, disk: bytes) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield the files of a backup in pieces, each with the file's name, the manifest last.

        Raises BackupRefused, DatabaseFull, DatabaseDamaged.
        """
        if any(self._databases.database(name).dialect is not Dialect.SQLITE for name in self._databases.names):
            raise BackupRefused("the databases are PostgreSQL's", hint="pg_dump, which knows how to copy them")
        if self._busy:
            raise BackupRefused("another backup of this node is under way", hint="try again when it is done")
        self._busy = True
        folder = self._folder / _FOLDER
        try:
            when = self._clock()
            await asyncio.to_thread(_copy_all, self._files, folder)
            copied = []
            for name in sorted(self._files):
                path, digest, size = folder / f"{name}.db", hashlib.sha256(), 0
                with path.open("rb") as file:
                    while piece := await asyncio.to_thread(file.read, PIECE):
                        digest.update(piece)
                        size += len(piece)
                        yield path.name, piece
                rows = await asyncio.to_thread(rows_of, path)
                copied.append(Copied(name, size, digest.hexdigest(), rows))
                path.unlink()
            told = Manifest(self._node, disk.hex(), self._version, when, tuple(copied))
            yield NAME, told.encode()
        finally:
            self._busy = False
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _copy_all(files: Mapping[str, Path], folder: Path) -> None:
    """Copy all files as they are at one moment. Raises DatabaseFull, DatabaseDamaged."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a node that was killed
    folder.mkdir(mode=0o700)
    with ExitStack() as stack:
        sources: dict[str, Any] = {}
        for name, path in files.items():
            sources[name] = source = connect(path, readonly=True)
            stack.callback(source.close)
        for source in sources.values():  # nothing else in between: what they show is a moment apart at most
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        for name, source in sources.items():
            try:
                _copy(source, folder / f"{name}.db")
            except pysqlite3.Error as error:
                raise of_sqlite(error, name) from error


def _copy(source: Any, path: Path) -> None:
    path.touch(mode=0o600)
    target = pysqlite3.connect(str(path), isolation_level=None)
    try:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, nothing beside it
    finally:
        target.close()


def rows_of(path: Path) -> dict[str, int]:
    """Return how many rows each table of the file at `path` has. Raises DatabaseDamaged."""
    connection = connect(path, readonly=True)
    try:
        tables = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall()
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - a table's own name
            for (name,) in sorted(tables)
        }
    except pysqlite3.Error as error:
        raise of_sqlite(error, path.stem) from error
    finally:
        with suppress(pysqlite3.Error):
            connection.close()
