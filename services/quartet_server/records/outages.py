"""What PostgreSQL says of itself, and not of a record: it is gone, full, busy, or a transaction has to be run again."""

from __future__ import annotations

import psycopg

from quartet_server.errors import Contention, DeadlinePassed, QuartetError
from quartet_server.record_errors import DatabaseBusy, DatabaseDamaged, DatabaseFull, DatabaseUnreachable

RETRY_SECONDS = 0.5
_AGAIN = ("40001", "40P01")  # serialization_failure, deadlock_detected
_BUSY = ("53200", "53300", "55P03")  # out_of_memory, too_many_connections, lock_not_available
_AWAY = ("08", "57P", "25006", "F0", "58000")  # no connection, shut down, became a standby, its own files
_DAMAGED = ("XX001", "XX002")  # data_corrupted, index_corrupted


def driver_error(error: BaseException) -> psycopg.Error | None:
    """Return psycopg's error, also inside of SQLAlchemy's; None where it is another one."""
    cause = getattr(error, "orig", None) or error
    return cause if isinstance(cause, psycopg.Error) else None


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection, or the server, went away."""
    cause = driver_error(error)
    if cause is None:
        return False
    state = cause.sqlstate
    return state.startswith(_AWAY) if state else isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)


def may_run_again(error: BaseException) -> bool:
    """Tell whether nothing happened, and the same transaction may succeed the next time."""
    cause = driver_error(error)
    return cause is not None and (cause.sqlstate in _AGAIN or is_lost(error))


def of_postgresql(error: BaseException, database: str) -> BaseException:
    """Return the error of the tree for what PostgreSQL says of the database itself; any other error as it is."""
    cause = driver_error(error)
    if isinstance(error, QuartetError) or cause is None:
        return error
    state = cause.sqlstate or ""
    if is_lost(error):
        return unreachable(database, cause)
    if state in _AGAIN:
        return Contention(f"a transaction on database {database} kept being refused: {_first_line(cause)}")
    if state == "53100":
        return DatabaseFull(f"the disk of database {database} has no room left: nothing was written", database=database)
    if state in _BUSY:
        text = f"database {database} is busy: {_first_line(cause)}"
        return DatabaseBusy(text, retry_after=RETRY_SECONDS, database=database)
    if state in _DAMAGED:
        return DatabaseDamaged(f"database {database} is damaged: {_first_line(cause)}", database=database)
    if state == "57014":  # query_canceled, by statement_timeout
        return DeadlinePassed(f"database {database} took too long over a statement")
    return error


def unreachable(database: str, cause: BaseException) -> DatabaseUnreachable:
    """Return the error for a server that does not answer; nothing of what was asked has happened."""
    return DatabaseUnreachable(
        f"the server of database {database} does not answer: {_first_line(cause)}",
        retry_after=RETRY_SECONDS,
        database=database,
    )


def _first_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
