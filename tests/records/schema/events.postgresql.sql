CREATE TABLE consumers (
    zone TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    position BIGINT DEFAULT 0 NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, name)
);

CREATE TABLE events (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    source_id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    direction TEXT COLLATE "C" DEFAULT 'inbound' NOT NULL,
    thread_id TEXT COLLATE "C",
    reply_to TEXT COLLATE "C",
    content TEXT COLLATE "C" DEFAULT '' NOT NULL,
    content_type TEXT COLLATE "C" DEFAULT 'text' NOT NULL,
    attachments TEXT COLLATE "C",
    from_channel TEXT COLLATE "C" NOT NULL,
    from_identifier TEXT COLLATE "C" DEFAULT '' NOT NULL,
    to_recipients TEXT COLLATE "C",
    timestamp BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    metadata TEXT COLLATE "C",
    platform TEXT COLLATE "C",
    account_id TEXT COLLATE "C",
    space_id TEXT COLLATE "C",
    container_kind TEXT COLLATE "C",
    container_id TEXT COLLATE "C",
    receiver_id TEXT COLLATE "C",
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
    zone TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    filling BOOLEAN DEFAULT false NOT NULL,
    PRIMARY KEY (zone)
);

CREATE TABLE requests (
    zone TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL,
    answer BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (zone, request_id)
);

CREATE INDEX requests_created_at_idx ON requests (zone, created_at);

CREATE TABLE sync_jobs (
    zone TEXT COLLATE "C" NOT NULL,
    adapter TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    phase TEXT COLLATE "C",
    cursor TEXT COLLATE "C",
    started_at BIGINT,
    updated_at BIGINT NOT NULL,
    last_error TEXT COLLATE "C",
    progress TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, adapter),
    CONSTRAINT sync_jobs_status_check CHECK (status IN ('running', 'succeeded', 'failed')),
    CONSTRAINT sync_jobs_phase_check CHECK (phase IN ('sync', 'recent', 'backfill', 'incremental', 'history'))
);

CREATE TABLE sync_watermarks (
    zone TEXT COLLATE "C" NOT NULL,
    adapter TEXT COLLATE "C" NOT NULL,
    last_sync_at BIGINT NOT NULL,
    last_event_id TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, adapter)
);

CREATE TABLE tags (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    normalized TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id)
);

CREATE UNIQUE INDEX idx_tags_normalized ON tags (zone, normalized);

CREATE TABLE threads (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C",
    is_group BOOLEAN DEFAULT false NOT NULL,
    source_adapter TEXT COLLATE "C",
    source_id TEXT COLLATE "C",
    first_event_at BIGINT,
    last_event_at BIGINT,
    last_event_id TEXT COLLATE "C",
    event_count BIGINT DEFAULT 0 NOT NULL,
    metadata TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id)
);

CREATE INDEX idx_threads_channel ON threads (zone, channel);

CREATE INDEX idx_threads_last_event_at ON threads (zone, last_event_at DESC);

CREATE UNIQUE INDEX idx_threads_source ON threads (zone, source_adapter, source_id);

CREATE TABLE attachments (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    source_attachment_id TEXT COLLATE "C",
    filename TEXT COLLATE "C",
    mime_type TEXT COLLATE "C",
    media_type TEXT COLLATE "C",
    size_bytes BIGINT,
    content_hash TEXT COLLATE "C",
    storage_uri TEXT COLLATE "C",
    local_path TEXT COLLATE "C",
    url TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
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
    zone TEXT COLLATE "C" NOT NULL,
    doc_key TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    current_event_id TEXT COLLATE "C" NOT NULL,
    content_hash TEXT COLLATE "C" NOT NULL,
    title TEXT COLLATE "C",
    description TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
    updated_at BIGINT NOT NULL,
    retrieval_count BIGINT DEFAULT 0 NOT NULL,
    last_retrieved_at BIGINT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, doc_key),
    CONSTRAINT document_heads_current_event_id_fkey FOREIGN KEY(zone, current_event_id) REFERENCES events (zone, id)
);

CREATE TABLE event_participants (
    zone TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    identifier TEXT COLLATE "C" NOT NULL,
    position BIGINT,
    metadata TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, event_id, role, channel, identifier),
    CONSTRAINT event_participants_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id) ON DELETE CASCADE,
    CONSTRAINT event_participants_role_check CHECK (role IN ('sender', 'recipient', 'member', 'mentioned', 'cc', 'bcc', 'observer'))
);

CREATE INDEX idx_event_participants_event ON event_participants (zone, event_id);

CREATE INDEX idx_event_participants_identifier ON event_participants (zone, channel, identifier);

CREATE TABLE event_state (
    zone TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    is_viewed BOOLEAN DEFAULT false NOT NULL,
    viewed_at BIGINT,
    is_archived BOOLEAN DEFAULT false NOT NULL,
    archived_at BIGINT,
    is_pinned BOOLEAN DEFAULT false NOT NULL,
    pinned_at BIGINT,
    is_flagged BOOLEAN DEFAULT false NOT NULL,
    flagged_at BIGINT,
    updated_at BIGINT NOT NULL,
    metadata TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, event_id),
    CONSTRAINT event_state_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id)
);

CREATE TABLE event_state_log (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    state_key TEXT COLLATE "C" NOT NULL,
    state_value BIGINT DEFAULT 0 NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT COLLATE "C",
    source TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT event_state_log_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id),
    CONSTRAINT event_state_log_state_key_check CHECK (state_key IN ('viewed', 'archived', 'pinned', 'flagged', 'custom'))
);

CREATE INDEX idx_event_state_log_event ON event_state_log (zone, event_id, changed_at DESC);

CREATE TABLE event_tags (
    zone TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    tag_id TEXT COLLATE "C" NOT NULL,
    tagged_at BIGINT NOT NULL,
    tagged_by TEXT COLLATE "C",
    source TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, event_id, tag_id),
    CONSTRAINT event_tags_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id),
    CONSTRAINT event_tags_tag_id_fkey FOREIGN KEY(zone, tag_id) REFERENCES tags (zone, id)
);

CREATE INDEX idx_event_tags_tag ON event_tags (zone, tag_id);

CREATE TABLE retrieval_log (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    doc_key TEXT COLLATE "C",
    event_id TEXT COLLATE "C",
    query_text TEXT COLLATE "C",
    score DOUBLE PRECISION,
    retrieved_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT retrieval_log_doc_key_fkey FOREIGN KEY(zone, doc_key) REFERENCES document_heads (zone, doc_key),
    CONSTRAINT retrieval_log_event_id_fkey FOREIGN KEY(zone, event_id) REFERENCES events (zone, id)
);

CREATE TABLE events_fts (zone text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, words tsvector NOT NULL, PRIMARY KEY (zone, id));

CREATE INDEX events_fts_words ON events_fts USING gin (words);

CREATE POLICY events_fts_owner ON events_fts FOR SELECT TO CURRENT_USER USING (true);

CREATE FUNCTION events_fts_fill() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
 IF TG_OP <> 'INSERT' THEN DELETE FROM events_fts WHERE (zone, id) IN (SELECT zone, id FROM gone); END IF;
 IF TG_OP <> 'DELETE' THEN INSERT INTO events_fts
  SELECT zone, id, to_tsvector('english', left(content, 150000)) FROM fresh; END IF;
 RETURN NULL; END $$;

CREATE TRIGGER events_fts_insert AFTER INSERT ON events REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill();

CREATE TRIGGER events_fts_update AFTER UPDATE ON events REFERENCING OLD TABLE AS gone NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill();

CREATE TRIGGER events_fts_delete AFTER DELETE ON events REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION events_fts_fill();

CREATE FUNCTION events_matching(asked tsquery) RETURNS TABLE (id text, score double precision) LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$ SELECT id, ts_rank(words, asked, 1)::double precision FROM events_fts WHERE words @@ asked AND zone = current_setting('quartet.zone', true) $$;
