"""Takes the tables of events out of a cortex.db, so that all else in it goes on to work."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from quartet_server.importers.ddl import renamed, without_references
from quartet_server.importers.faults import WrongKindError

TABLES = (
    "retrieval_log", "document_heads", "event_participants", "event_state", "event_state_log", "event_tags", "tags", "attachments",
    "events_fts", "events", "threads",
)  # fmt: skip
"""What goes: the ledger has all of it."""
_PATIENCE = 30.0
_NEW = "quartet_without_references"


def drop(path: Path, state: tuple[int, int, int]) -> list[str]:
    """Drop the tables, and what refers to them in others; return their names.

    `state` is what `state_of` said of events when they were compared: when somebody has written since, nothing happens. All of
    it is one transaction. Raises WrongKindError, sqlite3.Error.
    """
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("BEGIN EXCLUSIVE")
        try:
            gone = _drop(database, path, state)
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise
    return gone


def state_of(database: sqlite3.Connection) -> tuple[int, int, int]:
    """Return what changes when events do: their last row, how many they are, and how long their contents."""
    sql = "SELECT coalesce(max(rowid), 0), count(*), coalesce(sum(length(content)), 0) FROM events"
    last, count, length = database.execute(sql).fetchone()
    return last, count, length


def _drop(database: sqlite3.Connection, path: Path, state: tuple[int, int, int]) -> list[str]:
    if state_of(database) != state:
        raise WrongKindError(f"{path} was written meanwhile", "stop what writes it, and run the command again")
    broken = {row[0] for row in database.execute("PRAGMA foreign_key_check")}
    there = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    gone = [table for table in TABLES if table in there]
    for table in sorted(there - set(gone)):
        _free(database, table, set(gone))
    for table in gone:
        database.execute(f'DROP TABLE "{table}"')
    _check(database, path, broken)
    return gone


def _free(database: sqlite3.Connection, table: str, gone: set[str]) -> None:
    """Make a table again without foreign keys to tables that go; with its rows, indexes and triggers."""
    quoted = '"' + table.replace('"', '""') + '"'
    if not {row[2].lower() for row in database.execute(f"PRAGMA foreign_key_list({quoted})")} & gone:
        return
    sql = database.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()[0]
    others = database.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL",
        (table,),
    ).fetchall()
    columns = ", ".join(
        '"' + row[1].replace('"', '""') + '"' for row in database.execute(f"PRAGMA table_info({quoted})")
    )
    database.execute(renamed(without_references(sql, gone), _NEW))
    database.execute(f"INSERT INTO {_NEW} ({columns}) SELECT {columns} FROM {quoted}")  # noqa: S608
    database.execute(f"DROP TABLE {quoted}")
    database.execute(f"ALTER TABLE {_NEW} RENAME TO {quoted}")
    for (other,) in others:
        database.execute(other)


def _check(database: sqlite3.Connection, path: Path, before: set[str]) -> None:
    """Let pass a database in which all works that did `before`. Raises WrongKindError."""
    broken = [row[0] for row in database.execute("PRAGMA foreign_key_check") if row[0] not in before]
    for name, kind, of in database.execute(
        "SELECT name, type, tbl_name FROM sqlite_master WHERE type IN ('view', 'trigger')"
    ).fetchall():
        quoted = '"' + (name if kind == "view" else of).replace('"', '""') + '"'
        try:
            if kind == "view":
                database.execute(f"EXPLAIN SELECT * FROM {quoted}")  # noqa: S608
            else:
                for statement in (f"DELETE FROM {quoted}", f"INSERT INTO {quoted} DEFAULT VALUES"):  # noqa: S608
                    database.execute(f"EXPLAIN {statement}")
        except sqlite3.Error:
            broken.append(name)
    if broken:
        raise WrongKindError(
            f"{path} would not work without the tables of events: {', '.join(sorted(set(broken)))}",
            "drop these views and triggers first, or leave --drop-source out",
        )
