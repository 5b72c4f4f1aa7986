"""What a database is made of: as its schema says it, and as its own catalogs do.

`PYTHONPATH=tests .venv/bin/python -m harness.ddl` writes the former for readers into tests/records/schema/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from quartet_server.catalog import SCHEMAS
from quartet_server.records.contract import Dialect
from quartet_server.records.migrating import VERSION_TABLE
from quartet_server.records.schema import Schema
from sqlalchemy.dialects import postgresql, sqlite

GOLDEN = Path(__file__).parents[1] / "records" / "schema"
_DIALECTS = {Dialect.SQLITE: sqlite.dialect, Dialect.POSTGRESQL: postgresql.dialect}

_SQLITE_COLUMNS = (
    'SELECT m.name, x.name, x.type, x."notnull", x.dflt_value, x.pk, x.hidden FROM sqlite_master m, pragma_table_xinfo(m.name) x'
    " WHERE m.type = 'table'"
)
_SQLITE_KEYS = (
    'SELECT m.name, f.id, f.seq, f."table", f."from", f."to", f.on_delete FROM sqlite_master m,'
    " pragma_foreign_key_list(m.name) f WHERE m.type = 'table'"
)
_POSTGRES = {
    "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name, is_generated,"
    " generation_expression FROM information_schema.columns WHERE table_schema = %s",
    "constraints": "SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = %s::regnamespace",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %s",
    "triggers": "SELECT tgrelid::regclass::text, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid"
    " WHERE NOT tgisinternal AND c.relnamespace = %s::regnamespace",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = %s::regnamespace",
    "policies": "SELECT tablename, policyname, roles::text, cmd, qual, with_check FROM pg_policies WHERE schemaname = %s",
    "fences": "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class WHERE relkind = 'r'"
    " AND relnamespace = %s::regnamespace",
    "rights": "SELECT table_name, grantee, privilege_type FROM information_schema.table_privileges WHERE table_schema = %s",
}


def description(connection: sa.Connection, schema: str) -> list[str]:
    """Return what the tables of a database are made of, a line each, sorted: the same for databases that work the same."""
    if connection.dialect.name == "sqlite":
        return sorted(_of_sqlite(connection))
    run = connection.exec_driver_sql
    lines = [(kind, *row) for kind, query in _POSTGRES.items() for row in run(query, (schema,)).all()]
    return sorted(line for line in map(_line, lines) if VERSION_TABLE not in line)


def _of_sqlite(connection: sa.Connection) -> list[str]:
    run = connection.exec_driver_sql
    lines: list[tuple[Any, ...]] = []
    for name, kind, table, text in run("SELECT name, type, tbl_name, sql FROM sqlite_master").all():
        if name.startswith("sqlite_") or table == VERSION_TABLE:
            continue
        made = text or ""
        if kind == "table" and "VIRTUAL" not in made:
            lines += [("check", name, check) for check in _checks(made)]
        else:
            lines.append((kind, name, table, made))
    lines += [("column", *row) for row in run(_SQLITE_COLUMNS).all() if row[0] != VERSION_TABLE]
    lines += [("key", row[0], row[2:]) for row in run(_SQLITE_KEYS).all()]
    return [_line(line) for line in lines]


def _checks(text: str) -> list[str]:
    """Return the named CHECKs of a CREATE TABLE."""
    found = []
    for match in re.finditer(r"CONSTRAINT \"?(\w+)\"? CHECK \(", text):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        found.append(f"{match[1]} {text[match.end() : end - 1]}")
    return found


def _line(values: tuple[Any, ...]) -> str:
    return re.sub(r"\s+", " ", " | ".join(map(str, values))).replace('"', "")


def written(schema: Schema, dialect: Dialect) -> str:
    """Return the statements that make a database, as people read them."""
    return "\n\n".join(f"{one};" for one in _statements(schema, dialect)) + "\n"


def golden(schema: Schema, dialect: Dialect) -> Path:
    """Return the file that shows the statements of a database."""
    return GOLDEN / f"{schema.database}.{dialect.value}.sql"


def _statements(schema: Schema, dialect: Dialect) -> Iterator[str]:
    compiler = _DIALECTS[dialect]()
    for table in schema.metadata.sorted_tables:
        yield _tidy(str(sa.schema.CreateTable(table).compile(dialect=compiler)))
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            yield _tidy(str(sa.schema.CreateIndex(index).compile(dialect=compiler)))
    yield from map(_tidy, schema.ddl.get(dialect, ()))


def _tidy(text: str) -> str:
    lines = (line.replace("\t", "    ").rstrip() for line in text.strip().rstrip(";").splitlines())
    return "\n".join(line for line in lines if line)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for made in SCHEMAS.values():
        for spoken in Dialect:
            golden(made, spoken).write_text(written(made, spoken))
