"""The tables that the messages make, in the databases themselves, against what was transcribed from the sources."""

from __future__ import annotations

import re
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from harness.records import Opening
from quartet_server.catalog import SCHEMAS
from quartet_server.records.contract import Dialect, Session

FOLDER = Path(__file__).parent / "expected"
ENGINE = tomllib.loads((FOLDER / "engine.toml").read_text())
DATABASES = {one.database: one for one in SCHEMAS.values()}
FILES = {name: tomllib.loads((FOLDER / f"{name}.toml").read_text()) for name in DATABASES}
TYPES = {
    Dialect.SQLITE: {"real": "DOUBLE", "bool": "BOOLEAN", "blob": "BLOB", "vector": "BLOB"},
    Dialect.POSTGRESQL: {"real": "DOUBLE PRECISION", "bool": "BOOLEAN", "blob": "BYTEA", "vector": "NULL"},
}
PLAIN = {"text": "TEXT", "int": "BIGINT", "time": "BIGINT", "json": "TEXT", "enum": "TEXT"}
INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (\S+) ON \S+ (?:USING btree )?\((.*?)\)(?: WHERE (.*))?$", re.DOTALL)


def engine_columns(table: dict[str, Any]) -> list[str]:
    """Names of the engine's columns in a table."""
    return table.get("engine", [one["name"] for one in ENGINE["columns"]])  # type: ignore[no-any-return]


def expected_columns(table: dict[str, Any], dialect: Dialect) -> dict[str, tuple[str, bool, str | None]]:
    """Type, NULL, default by name."""
    own = [one for one in ENGINE["columns"] if one["name"] in engine_columns(table)]
    found = {}
    for column in (*own, *table["columns"]):
        kind, default = column["type"], column.get("default")
        found[column["name"]] = (
            TYPES[dialect].get(kind) or PLAIN[kind],
            column.get("null", False),
            None if default is None else plain_default(default),
        )
    return found


def plain_default(text: str) -> str:
    """A default without the ways in which databases write it."""
    text = text.split("::", maxsplit=1)[0].strip("'")
    return {"false": "0", "true": "1"}.get(text, text)


def found_columns(inspector: sa.Inspector, table: str) -> dict[str, tuple[str, bool, str | None]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # SQLAlchemy does not know pgvector's type
        columns = inspector.get_columns(table)
    return {
        one["name"]: (
            str(one["type"]).removesuffix(' COLLATE "C"'),  # texts sort by their bytes, as with SQLite
            one["nullable"],
            None if one["default"] is None else plain_default(one["default"]),
        )
        for one in columns
        if one.get("computed") is None
    }


def found_indexes(connection: sa.Connection, dialect: Dialect, table: str) -> dict[str, tuple[list[str], bool, str]]:
    """Columns without the zone, uniqueness and condition, by name."""
    asked = {
        Dialect.SQLITE: "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = :table",
        Dialect.POSTGRESQL: "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = :table"
        " AND indexname NOT LIKE '%_pkey' AND indexdef LIKE '%USING btree%'",
    }
    found = {}
    for text in connection.execute(sa.text(asked[dialect]), {"table": table}).scalars():
        said = INDEX.match(text.replace('"', ""))
        assert said is not None, text
        unique, name, columns, where = said.groups()
        zone, *rest = [one.strip() for one in columns.split(",")]
        assert zone == ENGINE["key"], f"{name} does not begin with the zone"
        found[name] = (rest, bool(unique), (where or "").strip("()"))
    return found


def expected_indexes(table: dict[str, Any]) -> dict[str, tuple[list[str], bool, str]]:
    return {
        one["name"]: (one["columns"], one.get("unique", False), one.get("where", ""))
        for one in table.get("indexes", [])
    }


@pytest.mark.parametrize("database", FILES)
async def test_the_tables_are_those_of_the_sources(opening: Opening, database: str) -> None:
    made = DATABASES[database]
    opened = await opening.database(made)
    expected: dict[str, Any] = FILES[database]["tables"]
    counts = {"tables": 0, "columns": 0, "indexes": 0}

    def look(session: Session) -> None:
        connection, dialect = session.connection, session.dialect
        inspector = sa.inspect(connection)
        names = {one for one in inspector.get_table_names() if not one.startswith(("events_fts", "alembic_version"))}
        assert names - set(ENGINE["tables"]) == set(expected)
        for name, table in expected.items():
            columns = found_columns(inspector, name)
            wanted = expected_columns(table, dialect)
            assert set(columns) == set(wanted), name
            for column, (kind, null, default) in wanted.items():
                found = columns[column]
                assert found[:2] == (kind, null), f"{name}.{column}"
                assert found[2] == default or (default is None and is_zero(table, column, found[2])), f"{name}.{column}"
            key = inspector.get_pk_constraint(name)["constrained_columns"]
            assert key == [ENGINE["key"], *table["primary_key"]], name
            check_references(inspector, name, table)
            counts["indexes"] += check_indexes(found_indexes(connection, dialect, name), table, name, dialect)
            counts["columns"] += len(columns)
            counts["tables"] += 1

    await opened.read("default", look)
    print(f"{database} on {opened.dialect.value}: {', '.join(f'{count} {what}' for what, count in counts.items())}")


def is_zero(table: dict[str, Any], column: str, default: str | None) -> bool:
    """Tell whether a default is the engine's, which the sources do not tell."""
    kinds = {one["name"]: one["type"] for one in (*ENGINE["columns"], *table["columns"])}
    if column == "revision":
        return default == "1"
    zero = ENGINE["zeros"].get(kinds[column])
    if default is None or zero is None:
        return default is None
    return default == plain_default(zero) or (
        kinds[column] == "real" and float(default) == float(plain_default(zero) or 0)
    )


def check_references(inspector: sa.Inspector, name: str, table: dict[str, Any]) -> None:
    found = {}
    for one in inspector.get_foreign_keys(name):
        zone, column = one["constrained_columns"]
        assert (zone, one["referred_columns"][0]) == (ENGINE["key"], ENGINE["key"]), name
        cascade = one.get("options", {}).get("ondelete", "").lower()
        found[column] = (f"{one['referred_table']}.{one['referred_columns'][1]}", cascade)
    wanted = {
        one["name"]: (one["references"], one.get("on_delete", "")) for one in table["columns"] if "references" in one
    }
    assert found == wanted, name


def check_indexes(
    found: dict[str, tuple[list[str], bool, str]], table: dict[str, Any], name: str, dialect: Dialect
) -> int:
    wanted = expected_indexes(table)
    for index, (columns, unique, where) in wanted.items():
        assert index in found, f"{name} has no index {index}"
        assert found[index][:2] == (columns, unique), index
        assert bool(found[index][2]) is bool(where), index
        if dialect is Dialect.SQLITE:  # PostgreSQL writes conditions in its own way
            assert found[index][2] == where.strip("()"), index
    nameless = [one[0] for index, one in found.items() if index not in wanted and one[1]]
    assert sorted(nameless) == sorted(table.get("unique", [])), f"{name}: unique without a name in the sources"
    assert len(nameless) + len(wanted) == len(found), f"{name} has indexes that nobody asked for"
    return len(found)


@pytest.mark.parametrize("database", FILES)
def test_the_values_of_enums_are_those_of_the_sources(database: str) -> None:
    made = DATABASES[database]
    for name, table in FILES[database]["tables"].items():
        checks = {
            str(one.name): str(one.sqltext)
            for one in made.metadata.tables[name].constraints
            if isinstance(one, sa.CheckConstraint)
        }
        wanted = {
            f"{name}_{one['name']}_check": f"{one['name']} IN ({', '.join(repr(value) for value in one['values'])})"
            for one in table["columns"]
            if one["type"] == "enum"
        }
        assert {key: sorted_values(text) for key, text in checks.items()} == {
            key: sorted_values(text) for key, text in wanted.items()
        }


def sorted_values(text: str) -> tuple[str, list[str]]:
    column, _, values = text.partition(" IN ")
    return column, sorted(values.strip("()").split(", "))


def test_every_deviation_is_one_of_something_that_is_there_and_has_a_reason() -> None:
    for one in tomllib.loads((FOLDER / "deviations.toml").read_text())["deviation"]:
        assert one["source"], one
        assert one["ours"], one
        assert one["reason"], one
        if one["database"] not in FILES:
            continue
        tables = FILES[one["database"]]["tables"]
        if table := one.get("table"):
            assert table in tables, one
            if column := one.get("column"):
                assert column in [each["name"] for each in tables[table]["columns"]], one
            if index := one.get("index"):
                assert index in [each["name"] for each in tables[table].get("indexes", [])], one
