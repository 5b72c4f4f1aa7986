"""SQLite: a file a database, a thread that writes, a few that read.

WAL, so that readers and the writer do not wait for each other; synchronous=FULL, so that what was committed outlives the
power (https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous). Nobody but the one thread writes, so
that no write ever finds the database locked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pysqlite3
import sqlalchemy as sa
import sqlite_vec

from quartet_server.records.contract import Dialect, Session, Work
from quartet_server.records.failures import of_sqlite
from quartet_server.records.readers import Readers
from quartet_server.records.signals import Signals
from quartet_server.records.watching import Watch, watched_sqlite
from quartet_server.records.writer import Pending, Writer

T = TypeVar("T")

MMAP_BYTES = 256 * 1024**2
CACHE_KIB = 64 * 1024
CHECKPOINT_PAGES = 4000
BUSY_MILLISECONDS = 10_000
"""How long a statement waits for another process that has the file: a backup, or a person with a shell."""


def connect(path: Path, *, readonly: bool, watch: Watch | None = None) -> Any:
    """Open the file at `path`, made with mode 0600 if need be, with vectors' functions. Raises pysqlite3.Error.

    `watch` counts its statements.
    """
    if not readonly:
        path.touch(mode=0o600)
    connection = pysqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}",
        uri=True,
        isolation_level=None,  # transactions begin and end where this package says so
        check_same_thread=False,
        cached_statements=512,
        factory=pysqlite3.Connection if watch is None else watched_sqlite(watch),
    )
    connection.enable_load_extension(True)
    sqlite_vec.load(connection)
    connection.enable_load_extension(False)
    cursor = connection.cursor()
    settings = {
        "busy_timeout": BUSY_MILLISECONDS,
        "foreign_keys": "ON",
        "cache_size": -CACHE_KIB,
        "mmap_size": MMAP_BYTES,
        "temp_store": "MEMORY",
    }
    if readonly:
        settings["query_only"] = "ON"
    else:
        settings |= {"journal_mode": "WAL", "synchronous": "FULL", "wal_autocheckpoint": CHECKPOINT_PAGES}
    for name, value in settings.items():
        cursor.execute(f"PRAGMA {name} = {value}")
    cursor.close()
    return connection


def engine(path: Path, *, readonly: bool = False, watch: Watch | None = None) -> sa.Engine:
    """Return SQLAlchemy's engine over one connection to the file at `path`; the statements' BEGIN and COMMIT are the caller's."""
    return sa.create_engine(
        "sqlite://",
        module=pysqlite3,
        creator=lambda: connect(path, readonly=readonly, watch=watch),
        poolclass=sa.pool.StaticPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )


class _Writes:
    """The transactions of the one writer."""

    def __init__(
        self, name: str, connection: sa.Connection, clock: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        """Write over `connection`."""
        self._name = name
        self._connection = connection
        self._clock = clock
        self._new_id = new_id
        self._cursor = connection.connection.cursor()
        self._savepoints = pysqlite3.Cursor(
            connection.connection.driver_connection
        )  # which nobody watches: two a write
        self._now = 0
        self._empty = True  # nothing was written in the transaction

    def begin(self, first: Pending) -> None:
        """Begin a transaction that has the file for itself."""
        self._now = max(self._now, int(self._clock() * 1_000_000))
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
        except pysqlite3.Error as error:
            raise of_sqlite(error, self._name) from error
        self._empty = True

    def joins(self, pending: Pending) -> bool:
        """Take every write: zones have rows of their own, and no locks."""
        return True

    def run(self, pending: Pending) -> None:
        """Run a write, behind a savepoint unless it is the transaction's first.

        Behind a savepoint batches of a thousand events took four times as long once there were 50,000 of them, all of it in
        the INSERT: SQLite keeps the former state of every page that such a write changes.
        """
        cursor, first = self._savepoints, self._empty
        session = Session(pending.zone, self._now, Dialect.SQLITE, self._connection, self._new_id)
        if not first:
            cursor.execute("SAVEPOINT work")
        self._empty = False
        try:
            pending.result = pending.work(session)
        except Exception as error:
            pending.error = of_sqlite(error, self._name)
            if not self._connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                raise pending.error from error  # SQLite has undone all of it: a full disk
            if first:
                cursor.execute("ROLLBACK")
                self.begin(pending)
                return
            cursor.execute("ROLLBACK TO work")
        if not first:
            cursor.execute("RELEASE work")

    def commit(self) -> None:
        """Make the group durable."""
        try:
            self._cursor.execute("COMMIT")
        except pysqlite3.Error as error:
            raise of_sqlite(error, self._name) from error

    def rollback(self) -> None:
        """Undo the group."""
        with suppress(pysqlite3.Error):
            if self._connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        """Fold the log into the file and close it."""
        with suppress(pysqlite3.Error):
            self._cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        self._connection.engine.dispose()


class _Reads:
    """A connection that reads."""

    def __init__(
        self, name: str, path: Path, clock: Callable[[], float], new_id: Callable[[], str], watch: Watch | None
    ) -> None:
        """Open the file at `path`."""
        self._name = name
        self._clock = clock
        self._new_id = new_id
        self._connection = engine(path, readonly=True, watch=watch).connect()
        self._cursor = self._connection.connection.cursor()

    def read(self, zone: str, work: Work[T]) -> T:
        """Run `work` in a transaction of its own."""
        session = Session(zone, int(self._clock() * 1_000_000), Dialect.SQLITE, self._connection, self._new_id)
        self._cursor.execute("BEGIN")
        try:
            return work(session)
        except Exception as error:
            raise of_sqlite(error, self._name) from error
        finally:
            with suppress(pysqlite3.Error):
                self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        """Close it."""
        self._connection.close()
        self._connection.engine.dispose()


class SqliteDatabase:
    """A `Database` in a file; made in the event loop, closed by `close`."""

    dialect = Dialect.SQLITE

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        queue: int,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        readers: int = 4,
        watch: Watch | None = None,
    ) -> None:
        """Open the file at `path`, whose tables are there already.

        Args:
            name: Name of the database.
            path: Its file.
            queue: Writes, and reads, that may wait.
            clock: Seconds since 1970.
            new_id: Draws ids of records.
            readers: Threads that read.
            watch: Counts its statements.
        """
        self.name = name
        self.path = path
        self._signals = Signals()
        writes = _Writes(name, engine(path, watch=watch).connect(), clock, new_id)
        self.writer = Writer(name, writes, self._signals.bump, limit=queue)
        reading = partial(_Reads, name, path, clock, new_id, watch)
        self._readers = Readers(name, readers, reading, limit=queue)

    @property
    def writers(self) -> tuple[Writer, ...]:
        """The thread that writes, for metrics."""
        return (self.writer,)

    async def read(self, zone: str, work: Work[T]) -> T:
        """See `Database`."""
        result: T = await self._readers.read(zone, work)
        return result

    async def write(self, zone: str, work: Work[T]) -> T:
        """See `Database`."""
        result: T = await self.writer.write(zone, work)
        return result

    def version(self, zone: str) -> int:
        """See `Database`."""
        return self._signals.version(zone)

    async def changed(self, zone: str, since: int, seconds: float) -> int:
        """See `Database`."""
        return await self._signals.changed(zone, since, seconds)

    async def close(self) -> None:
        """Let writes that wait finish, and close the file."""
        await self._readers.close()
        await self.writer.close()


def tables(connection: sa.Connection) -> Sequence[str]:
    """Return the names of the tables, without SQLite's own and those whose name begins with two underscores."""
    found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").scalars()
    return [name for name in found if not name.startswith(("sqlite_", "__"))]
