"""Databases are brought from one form to the next, whole or not at all, and never back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from harness import ddl
from harness.migrations import Store
from quartet_server.record_errors import MigrationFailed, SchemaNewer, SchemaOlder
from quartet_server.records.contract import Dialect
from quartet_server.records.revising import revision
from quartet_server.records.schema import Schema, schema

TRIGGERS = {
    Dialect.SQLITE: (
        "CREATE VIRTUAL TABLE notes_search USING fts5(text, content='notes')",
        "CREATE TRIGGER notes_added AFTER INSERT ON notes BEGIN\n"
        "  INSERT INTO notes_search (rowid, text) VALUES (new.rowid, new.text || '100 %');\nEND",
    ),
    Dialect.POSTGRESQL: ("CREATE INDEX notes_search_idx ON notes USING gin (to_tsvector('english', text || '100 %'))",),
}


def first() -> Schema:
    """A table."""

    def tables(metadata: sa.MetaData) -> None:
        sa.Table(
            "notes",
            metadata,
            sa.Column("zone", sa.Text, primary_key=True),
            sa.Column("id", sa.Text, primary_key=True),
            sa.Column("text", sa.Text, nullable=False, server_default=""),
            sa.Column("done", sa.Boolean, nullable=False, server_default=sa.false()),
        )

    return schema("notes", owner="NoteService", messages=(), extra=tables)


def second() -> Schema:
    """The same with a column, an index, a table that refers to it, and hand-written parts."""

    def tables(metadata: sa.MetaData) -> None:
        sa.Table(
            "notes",
            metadata,
            sa.Column("zone", sa.Text, primary_key=True),
            sa.Column("id", sa.Text, primary_key=True),
            sa.Column("text", sa.Text, nullable=False, server_default=""),
            sa.Column("done", sa.Boolean, nullable=False, server_default=sa.false()),
            sa.Column("number", sa.BigInteger, nullable=False, server_default=sa.text("5")),
            sa.Index(
                "notes_number_idx", "zone", "number", sqlite_where=sa.text("done"), postgresql_where=sa.text("done")
            ),
        )
        sa.Table(
            "tags",
            metadata,
            sa.Column("zone", sa.Text, primary_key=True),
            sa.Column("note", sa.Text, primary_key=True),
            sa.Column("kind", sa.Text, nullable=False),
            sa.ForeignKeyConstraint(
                ["zone", "note"], ["notes.zone", "notes.id"], name="tags_note_fkey", ondelete="CASCADE"
            ),
            sa.CheckConstraint("kind IN ('a', 'b')", name="tags_kind_check"),
        )

    return schema("notes", owner="NoteService", messages=(), extra=tables, ddl=TRIGGERS)


def commit(folder: Path, made: Schema, name: str) -> None:
    """Write the next revision as a developer does."""
    text = revision(made, folder, name)
    assert text
    (folder / f"r{name}.py").write_text(text)


def fail_after(folder: Path, name: str, down: str) -> None:
    """Write a revision that breaks when it has done half of its work."""
    (folder / f"r{name}.py").write_text(
        f'''"""Breaks."""
from alembic import op
revision = "{name}"
down_revision = "{down}"
def upgrade() -> None:
    op.execute("CREATE TABLE half (zone TEXT)")
    op.execute("INSERT INTO notes (zone, id) VALUES ('a', 'half')")
    op.execute("INSERT INTO nowhere VALUES (1)")
'''
    )


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A history of two revisions."""
    folder = tmp_path / "migrations"
    commit(folder, first(), "0000_first")
    commit(folder, second(), "0001_second")
    return folder


def add(store: Store) -> None:
    with store.connected(first()) as connection:
        connection.exec_driver_sql("INSERT INTO notes (zone, id, text) VALUES ('a', 'k', 'kept')")


def revision_of(store: Store) -> str:
    with store.connected(first()) as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def test_what_revisions_make_is_what_the_schema_says(store: Store, history: Path, tmp_path: Path) -> None:
    assert store.prepare(second(), history) == ["0000_first", "0001_second"]
    with store.connected(second()) as connection:
        migrated = ddl.description(connection, "notes")
    other = Store(store.driver, tmp_path / "other")
    (tmp_path / "other").mkdir()
    try:
        other.prepare(second())
        with other.connected(second()) as connection:
            assert migrated == ddl.description(connection, "notes")
    finally:
        other.close()
    for part in ("tags_kind_check", "notes_number_idx", "CASCADE", "notes_search"):
        assert any(part in line for line in migrated), part


def test_a_database_goes_on_from_where_it_was_and_keeps_its_rows(store: Store, history: Path, tmp_path: Path) -> None:
    shorter = tmp_path / "shorter"
    commit(shorter, first(), "0000_first")
    assert store.prepare(first(), shorter) == ["0000_first"]
    add(store)
    assert store.prepare(second(), history) == ["0001_second"]
    assert store.prepare(second(), history) == []
    with store.connected(second()) as connection:
        rows = connection.exec_driver_sql("SELECT zone, id, text, number FROM notes").all()
    assert rows == [("a", "k", "kept", 5)]


def test_a_newer_database_is_refused_and_left_alone(store: Store, history: Path, tmp_path: Path) -> None:
    store.prepare(second(), history)
    shorter = tmp_path / "shorter"
    commit(shorter, first(), "0000_first")
    with pytest.raises(SchemaNewer) as refused:
        store.prepare(first(), shorter)
    assert refused.value.metadata["revision"] == "0001_second"
    assert revision_of(store) == "0001_second"


def test_an_older_database_is_refused_where_nobody_may_change_it(store: Store, history: Path, tmp_path: Path) -> None:
    shorter = tmp_path / "shorter"
    commit(shorter, first(), "0000_first")
    store.prepare(first(), shorter)
    with pytest.raises(SchemaOlder) as refused:
        store.prepare(second(), history, allowed=False)
    assert refused.value.hint == "quartet migrate"
    assert revision_of(store) == "0000_first"
    assert store.prepare(first(), shorter, allowed=False) == []


def test_a_migration_that_fails_leaves_what_was_there(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    commit(folder, first(), "0000_first")
    store.prepare(first(), folder)
    add(store)
    with store.connected(first()) as connection:
        before = ddl.description(connection, "notes")
    fail_after(folder, "0001_breaks", "0000_first")
    with pytest.raises(MigrationFailed, match="nowhere"):
        store.prepare(first(), folder)
    with store.connected(first()) as connection:
        assert ddl.description(connection, "notes") == before
        assert connection.exec_driver_sql("SELECT id FROM notes").scalars().all() == ["k"]
    assert revision_of(store) == "0000_first"


def test_a_history_with_two_ends_is_refused(store: Store, history: Path) -> None:
    fail_after(history, "0001_other", "0000_first")
    with pytest.raises(MigrationFailed, match="0001_other"):
        store.prepare(second(), history)


def test_nodes_that_start_at_once_migrate_once(store: Store, history: Path) -> None:
    ready = threading.Barrier(4)

    def start() -> None:
        ready.wait(20)
        store.prepare(second(), history)

    with ThreadPoolExecutor(4) as nodes:
        for one in [nodes.submit(start) for _ in range(4)]:
            one.result(60)
    assert revision_of(store) == "0001_second"


def test_a_schema_that_its_revisions_make_needs_no_new_one(history: Path) -> None:
    assert revision(second(), history, "0002_more") == ""


@pytest.mark.parametrize("name", ["", "Some Name", "../x", "0000_first"])
def test_a_revision_needs_a_name_of_its_own(history: Path, name: str) -> None:
    with pytest.raises(ValueError, match="revision"):
        revision(second(), history, name)
