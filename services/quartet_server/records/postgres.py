"""PostgreSQL: a schema for each database, a pool of connections for the node, a lock for each zone that is written."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa

from quartet_server.record_errors import DatabaseBusy
from quartet_server.records.connections import BUSY_RETRY, Connections
from quartet_server.records.contract import Dialect, Work
from quartet_server.records.outages import driver_error, is_lost, of_postgresql, unreachable
from quartet_server.records.pgtransactions import Opened, Transaction, WriteTransactions
from quartet_server.records.pgwatching import WatchedCursor
from quartet_server.records.roles import SERVICE
from quartet_server.records.signals import Signals
from quartet_server.records.watching import Watch
from quartet_server.records.writer import Writer

T = TypeVar("T")

LANES = 4
"""Threads of a database that write: zones that fall into different lanes are written at once."""
STATEMENT_SECONDS = 300
"""A statement that runs longer is ended by the server."""
LOCK_SECONDS = 10
"""A write that waits longer for other nodes' writes to its zone is refused as busy."""
IDLE_IN_TRANSACTION_SECONDS = 60
"""The server undoes the transaction of a node that has not been heard of for so long, so that nobody waits for its locks."""
_READ_ATTEMPTS = 3


def create_engine(url: str, *, connect_seconds: float, role: str = "") -> sa.Engine:
    """Return SQLAlchemy's engine for a URL of PostgreSQL, which keeps no connection of its own.

    BEGIN and COMMIT are the caller's. With `role` every connection acts as that role.
    """
    engine = sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg"),
        poolclass=sa.pool.NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={
            "connect_timeout": max(1, round(connect_seconds)),
            "application_name": "quartet",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )
    settings = "; ".join(
        (
            *([f'SET ROLE "{role}"'] if role else []),
            f"SET statement_timeout = '{STATEMENT_SECONDS}s'",
            f"SET lock_timeout = '{LOCK_SECONDS}s'",
            f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s'",
        )
    )

    def configure(connection: Any, _record: object) -> None:
        connection.cursor_factory = WatchedCursor
        connection.execute(settings, prepare=False)

    sa.event.listen(engine, "connect", configure)
    return engine


class PostgresServer:
    """The node's end of a PostgreSQL: connections and threads that its databases share; closed by `close`, after them."""

    def __init__(
        self,
        url: str,
        *,
        new_id: Callable[[], str],
        connections: int = 20,
        connect_seconds: float = 2.0,
        idle_seconds: float = 30.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Open nothing yet; made in the event loop.

        Args:
            url: postgresql://USER@HOST:PORT/NAME.
            new_id: Draws ids of records.
            connections: Most connections at once, from 2; half of them are for reads.
            connect_seconds: How long one may take to open.
            idle_seconds: One that nobody used for so long is closed.
            clock: Seconds since 1970, in place of the server's clock.
        """
        self._engine = create_engine(url, connect_seconds=connect_seconds, role=SERVICE)
        reading = connections // 2
        self.reads, self.writes = (
            Connections(self._engine, limit=limit, idle_seconds=idle_seconds, patience=LOCK_SECONDS)
            for limit in (reading, connections - reading)
        )
        self._readers = ThreadPoolExecutor(reading, "records-read")
        self._new_id = new_id
        self._clock = clock
        self._reaping = asyncio.create_task(self._reap(max(0.1, idle_seconds / 2)))

    @property
    def engine(self) -> sa.Engine:
        """What makes the connections, for those who watch statements."""
        return self._engine

    def database(self, name: str, search_path: str, *, queue: int, watch: Watch | None = None) -> PostgresDatabase:
        """Return a database whose tables are there; `queue` writes, and reads, may wait for it."""
        return PostgresDatabase(
            Opened(name, search_path, watch, self._clock),
            reads=self.reads,
            writes=self.writes,
            readers=self._readers,
            queue=queue,
            new_id=self._new_id,
        )

    async def close(self) -> None:
        """Close all connections."""
        self._reaping.cancel()
        await asyncio.gather(self._reaping, return_exceptions=True)
        await asyncio.to_thread(self._readers.shutdown)
        for one in (self.reads, self.writes):
            await asyncio.to_thread(one.close)
        self._engine.dispose()

    async def _reap(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            for one in (self.reads, self.writes):
                await asyncio.to_thread(one.reap)


class PostgresDatabase:
    """A `Database` in a schema of a PostgreSQL; made in the event loop, closed by `close`."""

    dialect = Dialect.POSTGRESQL

    def __init__(
        self,
        opened: Opened,
        *,
        reads: Connections,
        writes: Connections,
        readers: ThreadPoolExecutor,
        queue: int,
        new_id: Callable[[], str],
    ) -> None:
        """Use the schema, whose tables are there already.

        Args:
            opened: Its name, where its tables are and the types they need, what counts its statements.
            reads: Lends connections for reads; no fewer than `readers` has threads.
            writes: Lends connections for writes.
            readers: Threads that read.
            queue: Writes, and reads, that may wait.
            new_id: Draws ids of records.
        """
        self.name = name = opened.name
        self._limit = queue
        self._reading = 0
        self._reads = reads
        self._readers = readers
        self._new_id = new_id
        self._opened = opened
        self._signals = Signals()
        self._lanes = [
            Writer(
                f"{name}-{lane}",
                WriteTransactions(self._opened, writes, lambda zone: lock_of(name, zone), new_id),
                self._signals.bump,
                limit=queue,
            )
            for lane in range(LANES)
        ]

    @property
    def writers(self) -> tuple[Writer, ...]:
        """The threads that write, for metrics."""
        return tuple(self._lanes)

    async def read(self, zone: str, work: Work[T]) -> T:
        """See `Database`."""
        if self._reading >= self._limit:
            raise self._busy(self._reading, "reads")
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, zone, work)
        finally:
            self._reading -= 1

    async def write(self, zone: str, work: Work[T]) -> T:
        """See `Database`."""
        lane = self._lane(zone)
        waiting = sum(one.waiting for one in self._lanes)
        if waiting >= self._limit:
            lane.counts.busy += 1
            raise self._busy(waiting, "writes")
        result: T = await lane.write(zone, work)
        return result

    def version(self, zone: str) -> int:
        """See `Database`."""
        return self._signals.version(zone)

    async def changed(self, zone: str, since: int, seconds: float) -> int:
        """See `Database`."""
        return await self._signals.changed(zone, since, seconds)

    async def close(self) -> None:
        """Let writes that wait finish; the connections are their owner's to close."""
        for lane in self._lanes:
            await lane.close()

    def _read(self, zone: str, work: Work[T]) -> T:
        """Run a read in a transaction; over a fresh connection when the server had closed the one that idled."""
        error: BaseException | None = None
        for attempt in range(_READ_ATTEMPTS):
            try:
                connection = self._reads.take(fresh=attempt > 0)
            except sa.exc.DBAPIError as cause:
                raise unreachable(self.name, driver_error(cause) or cause) from cause
            transaction = Transaction(self._opened, connection)
            try:
                transaction.begin_read(zone)
                return work(transaction.session(transaction.now, self._new_id))
            except (psycopg.Error, sa.exc.DBAPIError) as cause:
                if not is_lost(cause):
                    raise of_postgresql(cause, self.name) from cause
                error = cause
            finally:
                transaction.rollback()
                self._reads.give(connection, broken=transaction.lost)
        assert error is not None
        raise of_postgresql(error, self.name) from error

    def _lane(self, zone: str) -> Writer:
        return self._lanes[lock_of(self.name, zone) % LANES]

    def _busy(self, waiting: int, what: str) -> DatabaseBusy:
        text = f"{waiting} {what} wait for database {self.name} already"
        return DatabaseBusy(text, retry_after=BUSY_RETRY, database=self.name)


def lock_of(database: str, zone: str) -> int:
    """Return the key of the advisory lock under which a zone of a database is written: 64 bits, signed."""
    digest = hashlib.blake2b(f"{database}\0{zone}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
