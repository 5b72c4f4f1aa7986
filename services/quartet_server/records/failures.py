"""What a driver's errors mean: which constraint a record breaks, or what is the matter with the database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pysqlite3
import sqlalchemy as sa

from quartet_server.errors import FieldInvalid, QuartetError
from quartet_server.record_errors import DatabaseDamaged, DatabaseFull, RecordExists, RecordReferenced, ReferenceMissing
from quartet_server.records.schema import ZONE, Record

_SQLITE = re.compile(r"(?P<kind>UNIQUE|FOREIGN KEY|CHECK|NOT NULL) constraint failed(?:: (?P<where>.*))?")
_COLUMN = re.compile(r"\w+\.(\w+)")


@contextmanager
def telling(record: Record[Any], *, deleting: bool = False, key: str = "") -> Iterator[None]:
    """Turn a constraint that a statement on `record` breaks into an error of the tree.

    Raises:
        RecordExists: A record with the same key, or the same values of a unique index, is there.
        ReferenceMissing: It refers to a record that is not there.
        RecordReferenced: Others refer to what is `deleting`.
        FieldInvalid: A value is missing, or not one of those that the column takes.
    """
    try:
        yield
    except (sa.exc.IntegrityError, pysqlite3.IntegrityError) as error:
        raise _violated(record, error, deleting, key) from error
    except Exception as error:
        if _sqlstate(error)[:2] != "23":  # integrity constraint violation
            raise
        raise _violated(record, error, deleting, key) from error


def _violated(record: Record[Any], error: Exception, deleting: bool, key: str) -> QuartetError:
    kind, where = _constraint(error)
    facts: dict[str, Any] = {"database": record.database, "table": record.name}
    if kind == "FOREIGN KEY":
        if deleting:
            return RecordReferenced(f"other records refer to {record.name} {key}".rstrip(), **facts)
        return ReferenceMissing(
            f"a record that this one of {record.name} refers to is not there{_named(where)}", **facts
        )
    if kind == "UNIQUE":
        columns = [name for name in where if name != ZONE]
        same = f" with the same {', '.join(columns)}" if columns else ""
        return RecordExists(f"there is a record of {record.name}{same} already", **facts)
    column = where[-1] if where else record.name
    return FieldInvalid.of(
        column, "has no value" if kind == "NOT NULL" else "has a value that the column does not take"
    )


def _named(where: list[str]) -> str:
    columns = [name for name in where if name != ZONE]
    return f": {', '.join(columns)}" if columns else ""


def _constraint(error: Exception) -> tuple[str, list[str]]:
    """Return which kind of constraint was violated, and the columns it is about as far as the driver tells."""
    cause: Any = getattr(error, "orig", None) or error
    state = _sqlstate(cause)
    if state:
        kinds = {"23505": "UNIQUE", "23503": "FOREIGN KEY", "23502": "NOT NULL"}
        diag = cause.diag
        column = diag.column_name or ""
        if not column:
            found = re.search(r"Key \(([^)]*)\)", diag.message_detail or "")
            return kinds.get(state, "CHECK"), [one.strip() for one in found[1].split(",")] if found else []
        return kinds.get(state, "CHECK"), [column]
    found = _SQLITE.search(str(cause))
    if found is None:
        return "CHECK", []
    where = found["where"] or ""
    return found["kind"], _COLUMN.findall(where) or [part.split("_")[-2] for part in [where] if part.count("_") > 1]


def _sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of an error of psycopg, also inside of SQLAlchemy's; empty for any other."""
    return getattr(getattr(error, "orig", None) or error, "sqlstate", None) or ""


def of_sqlite(error: BaseException, database: str) -> BaseException:
    """Return the error of the tree for what SQLite says of the database itself; any other error as it is."""
    cause = getattr(error, "orig", None) or error
    if not isinstance(cause, pysqlite3.Error):
        return error
    code = getattr(cause, "sqlite_errorname", "") or ""
    text = str(cause)
    if code == "SQLITE_FULL" or "is full" in text or (code.startswith("SQLITE_IOERR") and _no_space(code)):
        return DatabaseFull(f"the disk of database {database} has no room left: nothing was written", database=database)
    if code in ("SQLITE_CORRUPT", "SQLITE_NOTADB") or "malformed" in text:
        return DatabaseDamaged(f"database {database} is damaged: {text}", database=database)
    return error


def _no_space(code: str) -> bool:
    """Tell whether an I/O error is one of writing, which is what a full disk looks like where SQLite maps its files."""
    return code in ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_TRUNCATE")
