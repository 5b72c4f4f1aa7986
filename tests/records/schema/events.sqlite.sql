CREATE TABLE consumers (
    zone TEXT NOT NULL,
    name TEXT NOT NULL,
    position BIGINT DEFAULT 0 NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, name)
);

CREATE TABLE events (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    source_id TEXT NOT NULL,
    type TEXT NOT NULL,
    direction TEXT DEFAULT 'inbound' NOT NULL,
    thread_id TEXT,
    reply_to TEXT,
    content TEXT DEFAULT '' NOT NULL,
    content_type TEXT DEFAULT 'text' NOT NULL,
    attachments TEXT,
    from_channel TEXT NOT NULL,
    from_identifier TEXT DEFAULT '' NOT NULL,
    to_recipients TEXT,
    timestamp BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    metadata TEXT,
    platform TEXT,
    account_id TEXT,
    space_id TEXT,
    container_kind TEXT,
    container_id TEXT,
    receiver_id TEXT,
    position BIGINT DEFAULT 0 NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT events_direction_check CHECK (direction IN ('inbound', 'outbound', 'observed'))
);

CREATE INDEX idx_events_from ON events (zone, from_channel, from_identifier);

CREATE UNIQUE INDEX idx_events_position ON events (zone, position);

CREATE INDEX idx_events_reply_to ON events (zone, reply_to);

CREATE INDEX idx_events_source ON events (zone, source);

CREATE UNIQUE INDEX idx_events_source_id ON events (zone, source, source_id);

CREATE INDEX idx_events_thread ON events (zone, thread_id);

CREATE INDEX idx_events_timestamp ON events (zone, timestamp DESC);

CREATE INDEX idx_events_type ON events (zone, type);

CREATE TABLE ledger_positions (
    zone TEXT NOT NULL,
    position BIGINT NOT NULL,
    filling BOOLEAN DEFAULT 0 NOT NULL,
    PRIMARY KEY (zone)
);

CREATE TABLE requests (
    zone TEXT NOT NULL,
    request_id TEXT NOT NULL,
    method TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (zone, request_id)
);

CREATE INDEX requests_created_at_idx ON requests (zone, created_at);

CREATE TABLE sync_jobs (
    zone TEXT NOT NULL,
    adapter TEXT NOT NULL,
    status TEXT NOT NULL,
    phase TEXT,
    cursor TEXT,
    started_at BIGINT,
    updated_at BIGINT NOT NULL,
    last_error TEXT,
    progress TEXT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, adapter),
    CONSTRAINT sync_jobs_status_check CHECK (status IN ('running', 'succeeded', 'failed')),
    CONSTRAINT sync_jobs_phase_check CHECK (phase IN ('sync', 'recent', 'backfill', 'incremental', 'history'))
);

CREATE TABLE sync_watermarks (
    zone TEXT NOT NULL,
    adapter TEXT NOT NULL,
    last_sync_at BIGINT NOT NULL,
    last_event_id TEXT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, adapter)
);

CREATE TABLE tags (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    normalized TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id)
);

CREATE UNIQUE INDEX idx_tags_normalized ON tags (zone, normalized);

CREATE TABLE threads (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    channel TEXT NOT NULL,
    name TEXT,
    is_group BOOLEAN DEFAULT 0 NOT NULL,
    source_adapter TEXT,
    source_id TEXT,
    first_event_at BIGINT,
    last_event_at BIGINT,
    last_event_id TEXT,
    event_count BIGINT DEFAULT 0 NOT NULL,
    metadata TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id)
);

CREATE INDEX idx_threads_channel ON threads (zone, channel);

CREATE INDEX idx_threads_last_event_at ON threads (zone, last_event_at DESC);

CREATE UNIQUE INDEX idx_threads_source ON threads (zone, source_adapter, source_id);

CREATE TABLE attachments (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    source TEXT NOT NULL,
    source_attachment_id TEXT,
    filename TEXT,
    mime_type TEXT,
    media_type TEXT,
    size_bytes BIGINT,
    content_hash TEXT,
    storage_uri TEXT,
    local_path TEXT,
    url TEXT,
    metadata TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT attachments_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id) ON DELETE CASCADE
);

CREATE INDEX idx_attachments_event ON attachments (zone, event_id);

CREATE INDEX idx_attachments_hash ON attachments (zone, content_hash);

CREATE INDEX idx_attachments_mime ON attachments (zone, mime_type);

CREATE UNIQUE INDEX idx_attachments_source ON attachments (zone, source, source_attachment_id);

CREATE TABLE document_heads (
    zone TEXT NOT NULL,
    doc_key TEXT NOT NULL,
    channel TEXT NOT NULL,
    current_event_id TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    title TEXT,
    description TEXT,
    metadata TEXT,
    updated_at BIGINT NOT NULL,
    retrieval_count BIGINT DEFAULT 0 NOT NULL,
    last_retrieved_at BIGINT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, doc_key),
    CONSTRAINT document_heads_current_event_id_fkey FOREIGN KEY(zone, current_event_id) REFERENCES events (zone, id)
);

CREATE TABLE event_participants (
    zone TEXT NOT NULL,
    event_id TEXT NOT NULL,
    role TEXT NOT NULL,
    channel TEXT NOT NULL,
    identifier TEXT NOT NULL,
    position BIGINT,
    metadata TEXT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, event_id, role, channel, identifier),
    CONSTRAINT event_participants_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id) ON DELETE CASCADE,
    CONSTRAINT event_participants_role_check CHECK (role IN ('sender', 'recipient', 'member', 'mentioned', 'cc', 'bcc', 'observer'))
);

CREATE INDEX idx_event_participants_event ON event_participants (zone, event_id);

CREATE INDEX idx_event_participants_identifier ON event_participants (zone, channel, identifier);

CREATE TABLE event_state (
    zone TEXT NOT NULL,
    event_id TEXT NOT NULL,
    is_viewed BOOLEAN DEFAULT 0 NOT NULL,
    viewed_at BIGINT,
    is_archived BOOLEAN DEFAULT 0 NOT NULL,
    archived_at BIGINT,
    is_pinned BOOLEAN DEFAULT 0 NOT NULL,
    pinned_at BIGINT,
    is_flagged BOOLEAN DEFAULT 0 NOT NULL,
    flagged_at BIGINT,
    updated_at BIGINT NOT NULL,
    metadata TEXT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, event_id),
    CONSTRAINT event_state_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id)
);

CREATE TABLE event_state_log (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    state_key TEXT NOT NULL,
    state_value BIGINT DEFAULT 0 NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT,
    source TEXT,
    metadata TEXT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT event_state_log_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id),
    CONSTRAINT event_state_log_state_key_check CHECK (state_key IN ('viewed', 'archived', 'pinned', 'flagged', 'custom'))
);

CREATE INDEX idx_event_state_log_event ON event_state_log (zone, event_id, changed_at DESC);

CREATE TABLE event_tags (
    zone TEXT NOT NULL,
    event_id TEXT NOT NULL,
    tag_id TEXT NOT NULL,
    tagged_at BIGINT NOT NULL,
    tagged_by TEXT,
    source TEXT,
    metadata TEXT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, event_id, tag_id),
    CONSTRAINT event_tags_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id),
    CONSTRAINT event_tags_tag_id_fkey FOREIGN KEY(zone, tag_id) REFERENCES tags (zone, id)
);

CREATE INDEX idx_event_tags_tag ON event_tags (zone, tag_id);

CREATE TABLE retrieval_log (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    doc_key TEXT,
    event_id TEXT,
    query_text TEXT,
    score DOUBLE,
    retrieved_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT retrieval_log_doc_key_fkey FOREIGN KEY(zone, doc_key) REFERENCES document_heads (zone, doc_key),
    CONSTRAINT retrieval_log_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id)
);

CREATE VIRTUAL TABLE events_fts USING fts5(content, content='events', tokenize='porter unicode61');

CREATE TRIGGER events_fts_insert AFTER INSERT ON events WHEN NOT coalesce((SELECT filling FROM ledger_positions WHERE zone = new.zone), 0) BEGIN INSERT INTO events_fts(rowid, content) VALUES (new.rowid, new.content); END;

CREATE TRIGGER events_fts_update AFTER UPDATE OF content ON events BEGIN INSERT INTO events_fts(events_fts, rowid, content) VALUES ('delete', old.rowid, old.content); INSERT INTO events_fts(rowid, content) VALUES (new.rowid, new.content); END;

CREATE TRIGGER events_fts_delete AFTER DELETE ON events BEGIN INSERT INTO events_fts(events_fts, rowid, content) VALUES ('delete', old.rowid, old.content); END;
