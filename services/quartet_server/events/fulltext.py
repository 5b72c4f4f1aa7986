"""The index of words over events: what SQLAlchemy has no words for."""

from __future__ import annotations

from quartet_server.records.contract import Dialect

INDEXED_CHARACTERS = 150_000
"""How much of a content PostgreSQL indexes: a tsvector has at most 1 MiB, also of the most various text."""

FILL = (
    "INSERT INTO events_fts(rowid, content) SELECT rowid, content FROM events WHERE zone = ? AND position >= ?",
    "UPDATE ledger_positions SET filling = 0 WHERE zone = ?",
)
"""What appending a batch does instead of the trigger of each row, with SQLite. A statement that fires a trigger which writes to
a virtual table begins with a savepoint of its own, and at each savepoint FTS5 writes what it has gathered: for single rows that
is most of the cost. So drawing positions sets `filling`, which the trigger of insertions asks, and one statement fills in all."""

DDL = {
    # External content (https://sqlite.org/fts5.html#external_content_tables): the index has words only, the text is the
    # event's, found by its rowid. VACUUM keeps rowids of a table that has indexes; Rebuild makes the index again anyway.
    Dialect.SQLITE: (
        "CREATE VIRTUAL TABLE events_fts USING fts5(content, content='events', tokenize='porter unicode61')",
        "CREATE TRIGGER events_fts_insert AFTER INSERT ON events"
        " WHEN NOT coalesce((SELECT filling FROM ledger_positions WHERE zone = new.zone), 0) BEGIN"
        " INSERT INTO events_fts(rowid, content) VALUES (new.rowid, new.content); END",
        "CREATE TRIGGER events_fts_update AFTER UPDATE OF content ON events BEGIN"
        " INSERT INTO events_fts(events_fts, rowid, content) VALUES ('delete', old.rowid, old.content);"
        " INSERT INTO events_fts(rowid, content) VALUES (new.rowid, new.content); END",
        "CREATE TRIGGER events_fts_delete AFTER DELETE ON events BEGIN"
        " INSERT INTO events_fts(events_fts, rowid, content) VALUES ('delete', old.rowid, old.content); END",
    ),
    Dialect.POSTGRESQL: (
        "ALTER TABLE events ADD COLUMN events_fts tsvector GENERATED ALWAYS AS"
        f" (to_tsvector('english', left(content, {INDEXED_CHARACTERS}))) STORED",
        "CREATE INDEX idx_events_fts ON events USING gin (events_fts)",
    ),
}
