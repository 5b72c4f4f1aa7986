"""Databases of other programs, read while they use them: never written, never locked for long, row by row.

Rows are read in short transactions by rowid, so that the program that owns the database is never kept waiting.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

from quartet_server.importers.faults import Faults, WrongKindError

Row = sqlite3.Row
T = TypeVar("T")
BROKEN = (sqlite3.Error, ValueError)
"""What reading a damaged database raises; its messages may be no text, which raises in turn."""
_PAGE = 500
_LONGEST = 64 << 20
_MAGIC = b"SQLite format 3\x00"


class Source:
    """An SQLite database that is only read."""

    def __init__(self, path: Path, what: str, tables: Sequence[str]) -> None:
        """Open it; `what` says what it should be, `tables` what it must have. Raises WrongKindError and OSError."""
        self.path = path
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise WrongKindError(f"{path} is no SQLite database", f"expected {what}")
        self._connection = _connect(path)
        self._connection.row_factory = sqlite3.Row
        self._connection.text_factory = lambda data: data.decode(errors="replace")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        self._connection.execute("PRAGMA trusted_schema = OFF")
        self._columns: dict[str, frozenset[str]] = {}
        try:
            self.tables = self._tables()
        except BROKEN as error:
            self.close()
            raise WrongKindError(f"{path} cannot be read: {error}", f"expected {what}") from error
        if missing := [table for table in tables if table not in self.tables]:
            self.close()
            raise WrongKindError(f"{path} has no table {', '.join(missing)}", f"expected {what}")

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def __enter__(self) -> Source:
        """Return the database."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _tables(self) -> frozenset[str]:
        """Return the names of the ordinary tables: a view or a virtual table could do anything when it is read."""
        rows = self._connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        return frozenset(
            name for name, sql in rows if isinstance(name, str) and not str(sql).upper().startswith("CREATE VIRTUAL")
        )

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of a table; none of one that is not there."""
        if table not in self._columns:
            known = table in self.tables
            rows = self._connection.execute(f"PRAGMA table_info({_quoted(table)})").fetchall() if known else []
            self._columns[table] = frozenset(row["name"] for row in rows)
        return self._columns[table]

    def state(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `ask` reads. Raises sqlite3.Error."""
        return ask(self._connection)

    def last(self, table: str) -> int:
        """Return the greatest rowid of a table; 0 when it is empty. Raises sqlite3.Error."""
        return int(self._connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {_quoted(table)}").fetchone()[0])  # noqa: S608

    def find(self, table: str, columns: Sequence[str], key: str, value: object, most: int = 1000) -> list[Row]:
        """Return rows whose `key` is `value`, in their order; columns that are not there are NULL. Raises sqlite3.Error."""
        if key not in self.columns(table):
            return []
        sql = (
            f"SELECT {self._list(table, columns)} FROM {_quoted(table)} WHERE {_quoted(key)} = ? ORDER BY rowid LIMIT ?"  # noqa: S608
        )
        return self._connection.execute(sql, (value, most)).fetchall()

    def first(self, table: str, columns: Sequence[str], key: str, value: object) -> Row | None:
        """Return one row whose `key` is `value`. Raises sqlite3.Error."""
        found = self.find(table, columns, key, value, 1)
        return found[0] if found else None

    def walk(self, table: str, columns: Sequence[str], faults: Faults, after: int = 0) -> Iterator[Row]:
        """Yield the rows behind the rowid `after`, in order, each with `at`, its rowid. What cannot be read is a fault."""
        if table not in self.tables:
            return
        name = f"{self.path.name}:{table}"
        fields = f"rowid AS at, {self._list(table, columns)}"
        page = f"SELECT {fields} FROM {_quoted(table)} WHERE rowid > ? ORDER BY rowid LIMIT {_PAGE}"  # noqa: S608
        while True:
            broken = ""
            try:
                rows = self._connection.execute(page, (after,)).fetchall()
                yield from rows
            except BROKEN as error:
                broken = str(error)
                rows = yield from self._singly(table, fields, after, faults)
            if not rows and not broken:
                return
            if not rows or not isinstance(rows[-1]["at"], int) or rows[-1]["at"] <= after:
                faults.add(name, f"cannot be read behind row {after}: {broken or 'its rows are out of order'}")
                return
            after = rows[-1]["at"]
            if len(rows) < _PAGE and not broken:
                return

    def _singly(self, table: str, fields: str, after: int, faults: Faults) -> Generator[Row, None, list[Row]]:
        """Yield what can be read of a page that as a whole cannot; return its rowids."""
        keys = f"SELECT rowid AS at FROM {_quoted(table)} WHERE rowid > ? ORDER BY rowid LIMIT {_PAGE}"  # noqa: S608
        one = f"SELECT {fields} FROM {_quoted(table)} WHERE rowid = ?"  # noqa: S608
        try:
            found = self._connection.execute(keys, (after,)).fetchall()
        except BROKEN:
            return []
        for key in found:
            try:
                row = self._connection.execute(one, (key["at"],)).fetchone()
            except BROKEN as error:
                faults.add(f"{self.path.name}:{table}:{key['at']}", error)
                continue
            if row is not None:
                yield row
        return found

    def _list(self, table: str, columns: Sequence[str]) -> str:
        there = self.columns(table)
        return ", ".join(_quoted(one) if one in there else f"NULL AS {_quoted(one)}" for one in columns)

    def mark(self, table: str, rowid: int, key: str) -> str:
        """Return what a later run may hold against the table: the rowid, and a digest of that row's `key`."""
        if not rowid:
            return ""
        sql = f"SELECT {_quoted(key)} FROM {_quoted(table)} WHERE rowid = ?"  # noqa: S608
        row = self._connection.execute(sql, (rowid,)).fetchone()
        return "" if row is None else f"{rowid}:{hashlib.sha256(repr(row[0]).encode()).hexdigest()[:16]}"

    def resumed(self, table: str, mark: str, key: str) -> int:
        """Return the rowid that a mark means for the table as it is now; 0 when its rows are others. Raises sqlite3.Error."""
        number = mark.partition(":")[0]
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            return 0
        return int(number) if self.mark(table, int(number), key) == mark else 0


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database read-only, also one in WAL mode in a directory that cannot be written. Raises WrongKindError."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    wal = path.with_name(path.name + "-wal")
    try:
        return _tried(uri)
    except BROKEN as error:
        if wal.exists() and wal.stat().st_size:
            raise WrongKindError(
                f"{path} cannot be opened: {error}", f"copy it together with {wal.name} to where you may write"
            ) from error
    try:  # nothing is in its WAL, so that nobody writes it and what is in the file is all of it
        return _tried(f"{uri}&immutable=1")
    except BROKEN as error:
        raise WrongKindError(f"{path} cannot be opened: {error}") from error


def _tried(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
