"""Transactions of PostgreSQL: how one begins in a zone, and a group of writes that is run again when it has to be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.pq import TransactionStatus

from quartet_server.errors import OutcomeUnknown
from quartet_server.records.connections import Connections
from quartet_server.records.contract import Dialect, Session
from quartet_server.records.outages import driver_error, is_lost, may_run_again, of_postgresql, unreachable
from quartet_server.records.pgwatching import lend
from quartet_server.records.watching import Watch
from quartet_server.records.writer import Pending

ATTEMPTS = 4
"""How often a group is run before its writers are told that it cannot be committed."""
CAREFUL_GROUPS = 32
"""After a write of a group failed, so many groups put a savepoint before each write."""
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_ENTER = f"SELECT pg_advisory_xact_lock(%s), set_config('quartet.zone', %s, true), {_NOW}"
_TRY_TO_ENTER = (
    f"SELECT NULL, CASE WHEN pg_try_advisory_xact_lock(%s) THEN set_config('quartet.zone', %s, true) END, {_NOW}"
)
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@dataclass(frozen=True, slots=True)
class Opened:
    """A database as transactions need it.

    Attributes:
        name: Its name.
        search_path: Where its tables are, and the types they need, as PostgreSQL's setting of that name has it.
        watch: Counts its statements.
        clock: Seconds since 1970 in place of the server's clock, which is one for all nodes.
    """

    name: str
    search_path: str
    watch: Watch | None = None
    clock: Callable[[], float] | None = None


class Transaction:
    """A connection for the length of a transaction.

    Attributes:
        lost: Whether the connection is of no use any more.
        zone: The one whose rows it sees at the moment.
    """

    def __init__(self, opened: Opened, connection: sa.Connection) -> None:
        """Use a connection that is in no transaction."""
        self._opened = opened
        self._connection = connection
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        self._driver: psycopg.Connection[Any] = driver
        lend(driver, opened.watch)
        self.zone = ""
        self._moments: dict[str, int] = {}

    @property
    def lost(self) -> bool:
        """Whether the connection is of no use any more."""
        return self._driver.closed or self._driver.broken or self._connection.invalidated

    @property
    def now(self) -> int:
        """Microseconds since 1970 when it came to the zone."""
        return self._moments[self.zone]

    @property
    def failed(self) -> bool:
        """Whether a statement failed: the server will answer a COMMIT with a rollback, and no word."""
        return self._driver.info.transaction_status == TransactionStatus.INERROR

    def check(self) -> None:
        """Make sure that what ran can be committed. Raises RuntimeError."""
        if self.failed:
            raise RuntimeError("a write went on after one of its statements had failed")

    def session(self, now: int, new_id: Callable[[], str]) -> Session:
        """Return what a Work gets that runs in the zone."""
        return Session(self.zone, now, Dialect.POSTGRESQL, self._connection, new_id)

    def begin_read(self, zone: str) -> None:
        """Begin a transaction that sees one state of the database and cannot write. Raises psycopg.Error."""
        self._begin(_BEGIN_READ, zone, "")

    def begin_write(self, zone: str, lock: int) -> None:
        """Begin a transaction when no other one has the `lock`. Raises psycopg.Error."""
        self._begin("BEGIN", zone, f"pg_advisory_xact_lock({lock}), ")

    def enter(self, zone: str, lock: int, *, wait: bool = True) -> bool:
        """Go on in another zone when no other transaction has its `lock`; tell whether that was so, without `wait` at once.

        Raises psycopg.Error.
        """
        if zone == self.zone:
            return True
        if zone in self._moments:
            self._driver.execute("SELECT set_config('quartet.zone', %s, true)", (zone,))
        else:
            values = (lock, zone)
            row = self._driver.execute(_ENTER if wait else _TRY_TO_ENTER, values).fetchone()
            assert row is not None
            if row[1] is None:
                return False
            self._moments[zone] = self._moment(row[2])
        self.zone = zone
        return True

    def has(self, zone: str) -> bool:
        """Tell whether it has the lock of `zone`."""
        return zone in self._moments

    def execute(self, text: str) -> None:
        """Run a statement without parameters. Raises psycopg.Error."""
        self._driver.execute(text.encode(), prepare=False)

    def commit(self) -> None:
        """Make it durable. Raises psycopg.Error."""
        self.execute("COMMIT")
        self._forget()

    def rollback(self) -> None:
        """Undo it, if it is not over; does not raise."""
        with suppress(psycopg.Error):
            self._driver.rollback()
        self._forget()

    def _begin(self, begin: str, zone: str, lock: str) -> None:
        """Send all of it at once; the zone is a literal, as PostgreSQL takes no parameters of several statements."""
        quoted = sql.Literal(zone).as_string(self._driver)
        path = sql.Literal(self._opened.search_path).as_string(self._driver)
        cursor = self._driver.cursor()
        settings = f"set_config('search_path', {path}, true), set_config('quartet.zone', {quoted}, true)"
        cursor.execute(f"{begin}; SELECT {settings}, {lock}{_NOW}".encode(), prepare=False)
        cursor.nextset()
        row = cursor.fetchone()
        assert row is not None
        self.zone, self._moments = zone, {zone: self._moment(row[-1])}

    def _moment(self, told: int) -> int:
        clock = self._opened.clock
        return told if clock is None else int(clock() * 1_000_000)

    def _forget(self) -> None:
        """Tell SQLAlchemy, which begins a transaction of its own where none is needed, that it is over."""
        with suppress(sa.exc.SQLAlchemyError):
            if self._connection.in_transaction():
                self._connection.rollback()


class _Again(Exception):  # noqa: N818 - no error: a way out of a group that is run again
    """The group has to be run again."""


class WriteTransactions:
    """The transactions of a lane; see `Transactions`.

    A group may be of many zones: of those whose locks are free when its writes come. Its writes run without savepoints, which would cost a round trip each, until one fails: then what ran before it is
    undone and run again, each behind a savepoint, and so are the groups after it, for a while.
    """

    def __init__(
        self, opened: Opened, connections: Connections, lock: Callable[[str], int], new_id: Callable[[], str]
    ) -> None:
        """Borrow from `connections` for each group; `lock` returns the key of a zone's lock."""
        self._opened = opened
        self._connections = connections
        self._lock = lock
        self._new_id = new_id
        self._group: list[Pending] = []
        self._transaction: Transaction | None = None
        self._connection: sa.Connection | None = None
        self._careful = 0
        self._savepoints = False
        self._saved = False
        self._last: dict[str, int] = {}

    def begin(self, first: Pending) -> None:
        """Begin a transaction that has the zone of `first` for itself."""
        self._group = []
        self._careful = max(0, self._careful - 1)
        self._savepoints = self._careful > 0
        self._open(first.zone)

    def joins(self, pending: Pending) -> bool:
        """Take writes of zones whose locks it has, or can have without waiting."""
        transaction, zone = self._transaction, pending.zone
        assert transaction is not None
        try:
            return transaction.has(zone) or transaction.enter(zone, self._lock(zone), wait=False)
        except psycopg.Error:
            return False  # what is the matter shows when the group is committed

    def run(self, pending: Pending) -> None:
        """Run a write, again with all before it when the server wants that."""
        self._group.append(pending)
        try:
            self._run(pending)
        except _Again as again:
            self._repeat(again.__cause__)

    def commit(self) -> None:
        """Make the group durable; run it again when the server refuses that."""
        for attempt in range(ATTEMPTS):
            transaction = self._transaction
            assert transaction is not None
            if transaction.lost or transaction.failed:  # nothing was committed yet
                self._repeat(psycopg.OperationalError("the connection was lost"))
                continue
            try:
                transaction.commit()
            except psycopg.Error as error:
                if is_lost(error):
                    raise OutcomeUnknown(
                        f"the server of database {self._opened.name} went away while it was told to commit",
                        database=self._opened.name,
                    ) from error
                if attempt == ATTEMPTS - 1 or not may_run_again(error):
                    raise of_postgresql(error, self._opened.name) from error
                self._repeat(error)
            else:
                self._give()
                return
        raise unreachable(self._opened.name, psycopg.OperationalError("connections are lost again and again"))

    def rollback(self) -> None:
        """Undo the group and give the connection back."""
        if self._transaction is not None:
            self._transaction.rollback()
            self._give()

    def close(self) -> None:
        """Nothing is kept between groups."""

    def _open(self, zone: str) -> None:
        """Take a connection and begin; over a fresh one when the server had closed the one that idled."""
        for attempt in range(ATTEMPTS):
            try:
                self._connection = self._connections.take(fresh=attempt > 0)
            except sa.exc.DBAPIError as error:
                raise unreachable(self._opened.name, driver_error(error) or error) from error
            self._transaction = Transaction(self._opened, self._connection)
            try:
                self._transaction.begin_write(zone, self._lock(zone))
            except psycopg.Error as error:
                self.rollback()
                if not is_lost(error) or attempt == ATTEMPTS - 1:
                    raise of_postgresql(error, self._opened.name) from error
            else:
                self._saved = False
                return

    def _run(self, pending: Pending) -> None:
        """Run a write and undo it alone when it fails. Raises _Again."""
        transaction = self._transaction
        assert transaction is not None
        self._prepare(transaction, pending.zone)
        last = self._last.get(pending.zone, 0)  # the server's clock may be set back
        now = self._last[pending.zone] = max(last, transaction.now)
        pending.error = None
        try:
            pending.result = pending.work(transaction.session(now, self._new_id))
            transaction.check()
        except Exception as error:
            if may_run_again(error) or transaction.lost:
                raise _Again from error
            pending.error = of_postgresql(error, self._opened.name)
            self._undo(transaction, pending)

    def _prepare(self, transaction: Transaction, zone: str) -> None:
        """Come to the zone, and begin what is undone when a write fails, in the place of what the last one left.

        Raises _Again.
        """
        try:
            transaction.enter(zone, self._lock(zone))
            if self._savepoints:
                transaction.execute("RELEASE SAVEPOINT work; SAVEPOINT work" if self._saved else "SAVEPOINT work")
                self._saved = True
        except psycopg.Error as error:
            raise _Again from error

    def _undo(self, transaction: Transaction, failed: Pending) -> None:
        """Undo a write that failed, alone. Raises _Again."""
        if self._savepoints:
            try:
                transaction.execute("ROLLBACK TO SAVEPOINT work")
            except psycopg.Error as error:
                raise _Again from error
            return
        self._careful = CAREFUL_GROUPS
        self._savepoints = True
        self.rollback()
        self._open(failed.zone)
        for one in self._group:
            if one is not failed and one.error is None:
                self._run(one)

    def _repeat(self, cause: BaseException | None) -> None:
        """Run the whole group again, a few times at most. Raises what kept it from being run."""
        for _ in range(ATTEMPTS):
            self.rollback()
            self._open(self._group[0].zone)
            try:
                for one in self._group:
                    self._run(one)
            except _Again as again:
                cause = again.__cause__
            else:
                return
        assert cause is not None
        raise of_postgresql(cause, self._opened.name) from cause

    def _give(self) -> None:
        """Give the connection back."""
        if self._connection is not None and self._transaction is not None:
            self._connections.give(self._connection, broken=self._transaction.lost)
        self._connection = self._transaction = None
