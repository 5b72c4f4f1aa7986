"""The contract of the RecordStore: databases of records, each with one owner, read and written by zone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

import sqlalchemy as sa

T = TypeVar("T")


class Dialect(Enum):
    """Which SQL a database speaks; the value is SQLAlchemy's name for it."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@dataclass(frozen=True, slots=True)
class Session:
    """A transaction, or the part of one that is one caller's, in one zone; handed to a `Work` and dead when that returns.

    Attributes:
        zone: The zone whose rows it may touch. PostgreSQL enforces it (row-level security); on SQLite every statement must
            name it, which `records.rows` does for those that use it.
        now: Microseconds since 1970 when the transaction began: what `created_at` and `updated_at` say. In a zone it never
            goes back from one write to the next.
        dialect: Which SQL it speaks.
        connection: SQLAlchemy's connection, in a transaction that is not the Work's to end.
        new_id: Draws an id that nobody else has and that sorts behind those drawn before: a UUIDv7 (RFC 9562).
    """

    zone: str
    now: int
    dialect: Dialect
    connection: sa.Connection
    new_id: Callable[[], str]

    def cursor(self) -> sa.engine.interfaces.DBAPICursor:
        """Return a cursor of the driver's own, in the same transaction, for statements that are run very often."""
        connection = self.connection.connection.driver_connection
        assert connection is not None
        cursor: sa.engine.interfaces.DBAPICursor = connection.cursor()
        return cursor


Work = Callable[[Session], T]
"""What is done in a transaction: an ordinary function, run in a thread, that may be run again from its beginning when the
transaction could not be committed, and so changes nothing but rows."""


class Database(Protocol):
    """A database of records: `events`, `agents`, `projects`, ...

    **Order.** Writes of one zone happen one after another, on every node and with every driver: a Work of `write` sees all
    that earlier ones did and nobody changes a row between its reads and its writes. So what it reads it may rely on, and
    numbers it draws from the rows (positions, sequences) are committed in their order. Writes of different zones, and of
    different databases, may happen at once.

    **Durability.** `write` returns when what the Work did is on the disk. Writes that wait together are committed together;
    one that raises is undone alone and its caller gets what it raised, whatever becomes of the others.

    **Reads** see one state of the database, that of a moment after `read` was called, and see every write that returned
    before. They wait for no write, nor it for them.

    **Threads.** Methods are called from the event loop; Works run in threads of the database. A caller that is cancelled
    leaves a Work that has begun to run on: it may be committed.

    **Failure.** Besides what the Work raises: DatabaseBusy, with a time to wait, when too many writes wait already;
    DatabaseFull when its disk has no room, nothing having changed; DatabaseUnreachable where it is another process that does
    not answer; and QuartetErrors that `records.failures` makes of violated constraints (RecordExists, ReferenceMissing,
    RecordReferenced).
    """

    @property
    def name(self) -> str:
        """Its name, as `projects`."""

    @property
    def dialect(self) -> Dialect:
        """Which SQL it speaks."""

    async def read(self, zone: str, work: Work[T]) -> T:
        """Run `work` in a transaction that cannot write, and return what it returns."""

    async def write(self, zone: str, work: Work[T]) -> T:
        """Run `work` in a transaction, and return what it returned when that is durable."""

    def version(self, zone: str) -> int:
        """Return a number that grows with every write of this node in the zone; only comparing it means something."""

    async def changed(self, zone: str, since: int, seconds: float) -> int:
        """Return `version(zone)` when it is not `since`, after `seconds` at the latest.

        Where other nodes write to the same database, this node may not hear of it: ask again every second.
        """


class Databases(Protocol):
    """The databases of a node; in `Resources.records`."""

    @property
    def shared(self) -> bool:
        """Whether all nodes of the cluster use the same databases (`records.scope = shared`)."""

    def database(self, name: str) -> Database:
        """Return the database of that name; raises KeyError where there is none."""
