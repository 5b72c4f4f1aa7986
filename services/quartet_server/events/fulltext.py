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

_FILL_POSTGRESQL = f"""
CREATE FUNCTION events_fts_fill() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
 IF TG_OP <> 'INSERT' THEN DELETE FROM events_fts WHERE (zone, id) IN (SELECT zone, id FROM gone); END IF;
 IF TG_OP <> 'DELETE' THEN INSERT INTO events_fts
  SELECT zone, id, to_tsvector('english', left(content, {INDEXED_CHARACTERS})) FROM fresh; END IF;
 RETURN NULL; END $$"""  # noqa: S608

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
    # A table of its own, filled by the same triggers. Row-level security keeps an index from `@@`, which is not leak-proof, so the
    # search goes through a function of the owner, who may see all zones and looks at the session's.
    Dialect.POSTGRESQL: (
        'CREATE TABLE events_fts (zone text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, words tsvector NOT NULL,'
        " PRIMARY KEY (zone, id))",
        "CREATE INDEX events_fts_words ON events_fts USING gin (words)",
        "CREATE POLICY events_fts_owner ON events_fts FOR SELECT TO CURRENT_USER USING (true)",
        _FILL_POSTGRESQL,
        "CREATE TRIGGER events_fts_insert AFTER INSERT ON events REFERENCING NEW TABLE AS fresh"
        " FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill()",
        "CREATE TRIGGER events_fts_update AFTER UPDATE ON events REFERENCING OLD TABLE AS gone NEW TABLE AS fresh"
        " FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill()",
        "CREATE TRIGGER events_fts_delete AFTER DELETE ON events REFERENCING OLD TABLE AS gone"
        " FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill()",
        "CREATE FUNCTION events_matching(asked tsquery) RETURNS TABLE (id text, score double precision)"
        " LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$"
        " SELECT id, ts_rank(words, asked, 1)::double precision FROM events_fts"
        " WHERE words @@ asked AND zone = current_setting('quartet.zone', true) $$",
    ),
}
