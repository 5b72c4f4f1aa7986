"""The ledger of events, with its index of words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from quartet_server.records.fields import TEXT
from quartet_server.records.migrating import run

revision = "0000_first"
down_revision: str | None = None

DDL = {
    "sqlite": (
        """
        CREATE VIRTUAL TABLE events_fts USING fts5(content, content='events', tokenize='porter unicode61')
        """,
        """
        CREATE TRIGGER events_fts_insert AFTER INSERT ON events WHEN NOT coalesce((SELECT filling FROM ledger_positions WHERE zone = new.zone), 0) BEGIN INSERT INTO events_fts(rowid, content) VALUES (new.rowid, new.content); END
        """,
        """
        CREATE TRIGGER events_fts_update AFTER UPDATE OF content ON events BEGIN INSERT INTO events_fts(events_fts, rowid, content) VALUES ('delete', old.rowid, old.content); INSERT INTO events_fts(rowid, content) VALUES (new.rowid, new.content); END
        """,
        """
        CREATE TRIGGER events_fts_delete AFTER DELETE ON events BEGIN INSERT INTO events_fts(events_fts, rowid, content) VALUES ('delete', old.rowid, old.content); END
        """,
    ),
    "postgresql": (
        """
        CREATE TABLE events_fts (zone text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, words tsvector NOT NULL, PRIMARY KEY (zone, id))
        """,
        """
        CREATE INDEX events_fts_words ON events_fts USING gin (words)
        """,
        """
        CREATE POLICY events_fts_owner ON events_fts FOR SELECT TO CURRENT_USER USING (true)
        """,
        """
        CREATE FUNCTION events_fts_fill() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
 IF TG_OP <> 'INSERT' THEN DELETE FROM events_fts WHERE (zone, id) IN (SELECT zone, id FROM gone); END IF;
 IF TG_OP <> 'DELETE' THEN INSERT INTO events_fts
  SELECT zone, id, to_tsvector('english', left(content, 150000)) FROM fresh; END IF;
 RETURN NULL; END $$
        """,
        """
        CREATE TRIGGER events_fts_insert AFTER INSERT ON events REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill()
        """,
        """
        CREATE TRIGGER events_fts_update AFTER UPDATE ON events REFERENCING OLD TABLE AS gone NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill()
        """,
        """
        CREATE TRIGGER events_fts_delete AFTER DELETE ON events REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill()
        """,
        """
        CREATE FUNCTION events_matching(asked tsquery) RETURNS TABLE (id text, score double precision) LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$ SELECT id, ts_rank(words, asked, 1)::double precision FROM events_fts WHERE words @@ asked AND zone = current_setting('quartet.zone', true) $$
        """,
    ),
}


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "consumers",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("zone", "name"),
    )
    op.create_table(
        "events",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("source_id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("direction", TEXT, server_default=sa.text("'inbound'"), nullable=False),
        sa.Column("thread_id", TEXT, nullable=True),
        sa.Column("reply_to", TEXT, nullable=True),
        sa.Column("content", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("content_type", TEXT, server_default=sa.text("'text'"), nullable=False),
        sa.Column("attachments", TEXT, nullable=True),
        sa.Column("from_channel", TEXT, nullable=False),
        sa.Column("from_identifier", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("to_recipients", TEXT, nullable=True),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("platform", TEXT, nullable=True),
        sa.Column("account_id", TEXT, nullable=True),
        sa.Column("space_id", TEXT, nullable=True),
        sa.Column("container_kind", TEXT, nullable=True),
        sa.Column("container_id", TEXT, nullable=True),
        sa.Column("receiver_id", TEXT, nullable=True),
        sa.Column("position", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("direction IN ('inbound', 'outbound', 'observed')", name="events_direction_check"),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_events_from", "events", ["zone", "from_channel", "from_identifier"], unique=False)
    op.create_index("idx_events_position", "events", ["zone", "position"], unique=True)
    op.create_index("idx_events_reply_to", "events", ["zone", "reply_to"], unique=False)
    op.create_index("idx_events_source", "events", ["zone", "source"], unique=False)
    op.create_index("idx_events_source_id", "events", ["zone", "source", "source_id"], unique=True)
    op.create_index("idx_events_thread", "events", ["zone", "thread_id"], unique=False)
    op.create_index("idx_events_timestamp", "events", ["zone", sa.literal_column("timestamp DESC")], unique=False)
    op.create_index("idx_events_type", "events", ["zone", "type"], unique=False)
    op.create_table(
        "ledger_positions",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("filling", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("zone"),
    )
    op.create_table(
        "requests",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("zone", "request_id"),
    )
    op.create_index("requests_created_at_idx", "requests", ["zone", "created_at"], unique=False)
    op.create_table(
        "sync_jobs",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("adapter", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("phase", TEXT, nullable=True),
        sa.Column("cursor", TEXT, nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("last_error", TEXT, nullable=True),
        sa.Column("progress", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "phase IN ('sync', 'recent', 'backfill', 'incremental', 'history')", name="sync_jobs_phase_check"
        ),
        sa.CheckConstraint("status IN ('running', 'succeeded', 'failed')", name="sync_jobs_status_check"),
        sa.PrimaryKeyConstraint("zone", "adapter"),
    )
    op.create_table(
        "sync_watermarks",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("adapter", TEXT, nullable=False),
        sa.Column("last_sync_at", sa.BigInteger(), nullable=False),
        sa.Column("last_event_id", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("zone", "adapter"),
    )
    op.create_table(
        "tags",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("normalized", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_tags_normalized", "tags", ["zone", "normalized"], unique=True)
    op.create_table(
        "threads",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=True),
        sa.Column("is_group", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("source_adapter", TEXT, nullable=True),
        sa.Column("source_id", TEXT, nullable=True),
        sa.Column("first_event_at", sa.BigInteger(), nullable=True),
        sa.Column("last_event_at", sa.BigInteger(), nullable=True),
        sa.Column("last_event_id", TEXT, nullable=True),
        sa.Column("event_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_threads_channel", "threads", ["zone", "channel"], unique=False)
    op.create_index(
        "idx_threads_last_event_at", "threads", ["zone", sa.literal_column("last_event_at DESC")], unique=False
    )
    op.create_index("idx_threads_source", "threads", ["zone", "source_adapter", "source_id"], unique=True)
    op.create_table(
        "attachments",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("source_attachment_id", TEXT, nullable=True),
        sa.Column("filename", TEXT, nullable=True),
        sa.Column("mime_type", TEXT, nullable=True),
        sa.Column("media_type", TEXT, nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("content_hash", TEXT, nullable=True),
        sa.Column("storage_uri", TEXT, nullable=True),
        sa.Column("local_path", TEXT, nullable=True),
        sa.Column("url", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "event_id"], ["events.zone", "events.id"], name="attachments_event_id_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_attachments_event", "attachments", ["zone", "event_id"], unique=False)
    op.create_index("idx_attachments_hash", "attachments", ["zone", "content_hash"], unique=False)
    op.create_index("idx_attachments_mime", "attachments", ["zone", "mime_type"], unique=False)
    op.create_index("idx_attachments_source", "attachments", ["zone", "source", "source_attachment_id"], unique=True)
    op.create_table(
        "document_heads",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("doc_key", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("current_event_id", TEXT, nullable=False),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("title", TEXT, nullable=True),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("retrieval_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_retrieved_at", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "current_event_id"], ["events.zone", "events.id"], name="document_heads_current_event_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "doc_key"),
    )
    op.create_table(
        "event_participants",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("identifier", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "role IN ('sender', 'recipient', 'member', 'mentioned', 'cc', 'bcc', 'observer')",
            name="event_participants_role_check",
        ),
        sa.ForeignKeyConstraint(
            ["zone", "event_id"],
            ["events.zone", "events.id"],
            name="event_participants_event_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("zone", "event_id", "role", "channel", "identifier"),
    )
    op.create_index("idx_event_participants_event", "event_participants", ["zone", "event_id"], unique=False)
    op.create_index(
        "idx_event_participants_identifier", "event_participants", ["zone", "channel", "identifier"], unique=False
    )
    op.create_table(
        "event_state",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("is_viewed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("viewed_at", sa.BigInteger(), nullable=True),
        sa.Column("is_archived", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.Column("is_pinned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("pinned_at", sa.BigInteger(), nullable=True),
        sa.Column("is_flagged", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("flagged_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(["zone", "event_id"], ["events.zone", "events.id"], name="event_state_event_id_fkey"),
        sa.PrimaryKeyConstraint("zone", "event_id"),
    )
    op.create_table(
        "event_state_log",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("state_key", TEXT, nullable=False),
        sa.Column("state_value", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", TEXT, nullable=True),
        sa.Column("source", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "state_key IN ('viewed', 'archived', 'pinned', 'flagged', 'custom')", name="event_state_log_state_key_check"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "event_id"], ["events.zone", "events.id"], name="event_state_log_event_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index(
        "idx_event_state_log_event",
        "event_state_log",
        ["zone", "event_id", sa.literal_column("changed_at DESC")],
        unique=False,
    )
    op.create_table(
        "event_tags",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("tag_id", TEXT, nullable=False),
        sa.Column("tagged_at", sa.BigInteger(), nullable=False),
        sa.Column("tagged_by", TEXT, nullable=True),
        sa.Column("source", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(["zone", "event_id"], ["events.zone", "events.id"], name="event_tags_event_id_fkey"),
        sa.ForeignKeyConstraint(["zone", "tag_id"], ["tags.zone", "tags.id"], name="event_tags_tag_id_fkey"),
        sa.PrimaryKeyConstraint("zone", "event_id", "tag_id"),
    )
    op.create_index("idx_event_tags_tag", "event_tags", ["zone", "tag_id"], unique=False)
    op.create_table(
        "retrieval_log",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("doc_key", TEXT, nullable=True),
        sa.Column("event_id", TEXT, nullable=True),
        sa.Column("query_text", TEXT, nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("retrieved_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "doc_key"], ["document_heads.zone", "document_heads.doc_key"], name="retrieval_log_doc_key_fkey"
        ),
        sa.ForeignKeyConstraint(["zone", "event_id"], ["events.zone", "events.id"], name="retrieval_log_event_id_fkey"),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    run(DDL)
