"""The committed revisions make what the schemas say, and readers can see what that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import ddl
from harness.migrations import Store
from quartet_server.catalog import SCHEMAS
from quartet_server.records.contract import Dialect
from quartet_server.records.migrating import VERSION_TABLE, History, folder_of
from quartet_server.records.revising import compare
from quartet_server.records.schema import Schema

schemas = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=list(SCHEMAS))


@schemas
def test_the_revisions_make_what_the_schema_says(store: Store, schema: Schema, tmp_path: Path) -> None:
    folder = folder_of(schema.database)
    assert store.prepare(schema, folder), f"no revisions: make migration DB={schema.database} NAME=first"
    with store.connected(schema) as connection:
        lacking = compare(connection, schema).as_diffs()
        migrated = ddl.description(connection, schema.database)
    hint = f"make migration DB={schema.database} NAME=what"
    assert lacking == [], hint
    (tmp_path / "at_once").mkdir()
    at_once = Store(store.driver, tmp_path / "at_once")
    try:
        at_once.prepare(schema)
        with at_once.connected(schema) as connection:
            assert migrated == ddl.description(connection, schema.database), hint
    finally:
        at_once.close()


@schemas
def test_every_revision_says_what_it_does(schema: Schema) -> None:
    history = History(schema.database, folder_of(schema.database))
    assert [one.name for one in history.revisions if not one.about] == []
    assert VERSION_TABLE not in schema.metadata.tables


@schemas
@pytest.mark.parametrize("dialect", Dialect, ids=lambda one: one.value)
def test_readers_see_the_tables_as_they_are(schema: Schema, dialect: Dialect) -> None:
    path = ddl.golden(schema, dialect)
    hint = "PYTHONPATH=tests .venv/bin/python -m harness.ddl"
    assert path.read_text() == ddl.written(schema, dialect), hint
