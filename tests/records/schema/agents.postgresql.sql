CREATE TABLE artifacts (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    storage TEXT COLLATE "C" DEFAULT 'fs' NOT NULL,
    created_at BIGINT NOT NULL,
    bytes BIGINT DEFAULT 0 NOT NULL,
    sha256 TEXT COLLATE "C",
    host_path TEXT COLLATE "C" NOT NULL,
    agent_path TEXT COLLATE "C" NOT NULL,
    relative_path TEXT COLLATE "C",
    content_type TEXT COLLATE "C",
    encoding TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id)
);

CREATE INDEX idx_artifacts_created ON artifacts (zone, created_at DESC);

CREATE INDEX idx_artifacts_kind_created ON artifacts (zone, kind, created_at DESC);

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

CREATE TABLE session_import_chunk_parts (
    zone TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    upload_id TEXT COLLATE "C" NOT NULL,
    chunk_index BIGINT NOT NULL,
    chunk_total BIGINT DEFAULT 0 NOT NULL,
    mode TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    persona_id TEXT COLLATE "C",
    idempotency_key TEXT COLLATE "C" NOT NULL,
    source_provider TEXT COLLATE "C" NOT NULL,
    source_session_id TEXT COLLATE "C" NOT NULL,
    source_session_fingerprint TEXT COLLATE "C" NOT NULL,
    encoding TEXT COLLATE "C" NOT NULL,
    payload TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, source, upload_id, chunk_index),
    CONSTRAINT session_import_chunk_parts_mode_check CHECK (mode IN ('backfill', 'tail'))
);

CREATE INDEX idx_session_import_chunk_parts_created ON session_import_chunk_parts (zone, created_at DESC);

CREATE TABLE session_import_requests (
    zone TEXT COLLATE "C" NOT NULL,
    idempotency_key TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    mode TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    request_hash TEXT COLLATE "C",
    response TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, idempotency_key),
    CONSTRAINT session_import_requests_mode_check CHECK (mode IN ('backfill', 'tail'))
);

CREATE INDEX idx_session_import_requests_created ON session_import_requests (zone, created_at DESC);

CREATE TABLE turns (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    parent_turn_id TEXT COLLATE "C",
    turn_type TEXT COLLATE "C" DEFAULT 'normal' NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'pending' NOT NULL,
    started_at BIGINT NOT NULL,
    completed_at BIGINT,
    model TEXT COLLATE "C",
    provider TEXT COLLATE "C",
    role TEXT COLLATE "C" DEFAULT 'unified' NOT NULL,
    toolset_name TEXT COLLATE "C",
    tools_available TEXT COLLATE "C",
    permissions_granted TEXT COLLATE "C",
    permissions_used TEXT COLLATE "C",
    effective_config TEXT COLLATE "C",
    input_tokens BIGINT,
    output_tokens BIGINT,
    cached_input_tokens BIGINT,
    cache_write_tokens BIGINT,
    reasoning_tokens BIGINT,
    total_tokens BIGINT,
    query_message_ids TEXT COLLATE "C",
    response_message_id TEXT COLLATE "C",
    has_children BOOLEAN DEFAULT false NOT NULL,
    tool_call_count BIGINT DEFAULT 0 NOT NULL,
    source_event_id TEXT COLLATE "C",
    workspace_path TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT turns_parent_turn_id_fkey FOREIGN KEY(zone, parent_turn_id) REFERENCES turns (zone, id),
    CONSTRAINT turns_turn_type_check CHECK (turn_type IN ('normal', 'compaction')),
    CONSTRAINT turns_status_check CHECK (status IN ('pending', 'streaming', 'completed', 'failed')),
    CONSTRAINT turns_role_check CHECK (role IN ('manager', 'worker', 'unified'))
);

CREATE INDEX idx_turns_has_children ON turns (zone, has_children);

CREATE INDEX idx_turns_parent ON turns (zone, parent_turn_id);

CREATE INDEX idx_turns_role ON turns (zone, role);

CREATE INDEX idx_turns_source_event ON turns (zone, source_event_id);

CREATE INDEX idx_turns_started ON turns (zone, started_at DESC);

CREATE INDEX idx_turns_status ON turns (zone, status);

CREATE INDEX idx_turns_type ON turns (zone, turn_type);

CREATE TABLE compactions (
    zone TEXT COLLATE "C" NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    summary TEXT COLLATE "C" NOT NULL,
    summarized_through_turn_id TEXT COLLATE "C" NOT NULL,
    first_kept_turn_id TEXT COLLATE "C",
    turns_summarized BIGINT,
    compaction_type TEXT COLLATE "C" DEFAULT 'summary' NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C",
    tokens_before BIGINT,
    tokens_after BIGINT,
    summary_tokens BIGINT,
    summarization_input_tokens BIGINT,
    summarization_output_tokens BIGINT,
    duration_ms BIGINT,
    trigger TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, turn_id),
    CONSTRAINT compactions_turn_id_fkey FOREIGN KEY(zone, turn_id) REFERENCES turns (zone, id),
    CONSTRAINT compactions_summarized_through_turn_id_fkey FOREIGN KEY(zone, summarized_through_turn_id) REFERENCES turns (zone, id),
    CONSTRAINT compactions_first_kept_turn_id_fkey FOREIGN KEY(zone, first_kept_turn_id) REFERENCES turns (zone, id),
    CONSTRAINT compactions_compaction_type_check CHECK (compaction_type IN ('summary', 'sliding_window', 'selective')),
    CONSTRAINT compactions_trigger_check CHECK (trigger IN ('context_limit', 'manual', 'periodic'))
);

CREATE TABLE messages (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C",
    source TEXT COLLATE "C",
    sequence BIGINT DEFAULT 0 NOT NULL,
    created_at BIGINT NOT NULL,
    thinking TEXT COLLATE "C",
    context TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT messages_turn_id_fkey FOREIGN KEY(zone, turn_id) REFERENCES turns (zone, id),
    CONSTRAINT messages_role_check CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    CONSTRAINT messages_source_check CHECK (source IN ('human', 'trigger', 'agent', 'webhook', 'cron', 'event'))
);

CREATE INDEX idx_messages_role ON messages (zone, role);

CREATE INDEX idx_messages_turn ON messages (zone, turn_id, sequence);

CREATE TABLE threads (
    zone TEXT COLLATE "C" NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    ancestry TEXT COLLATE "C",
    total_tokens BIGINT,
    depth BIGINT,
    persona_id TEXT COLLATE "C",
    system_prompt_hash TEXT COLLATE "C",
    thread_key TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, turn_id),
    CONSTRAINT threads_turn_id_fkey FOREIGN KEY(zone, turn_id) REFERENCES turns (zone, id)
);

CREATE UNIQUE INDEX idx_threads_key ON threads (zone, thread_key);

CREATE TABLE message_codeblocks (
    zone TEXT COLLATE "C" NOT NULL,
    id BIGINT NOT NULL,
    message_id TEXT COLLATE "C" NOT NULL,
    idx BIGINT DEFAULT 0 NOT NULL,
    language TEXT COLLATE "C",
    content TEXT COLLATE "C" DEFAULT '' NOT NULL,
    file_path TEXT COLLATE "C",
    line_start BIGINT,
    line_end BIGINT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT message_codeblocks_message_id_fkey FOREIGN KEY(zone, message_id) REFERENCES messages (zone, id)
);

CREATE UNIQUE INDEX message_codeblocks_message_id_idx_key ON message_codeblocks (zone, message_id, idx);

CREATE TABLE message_files (
    zone TEXT COLLATE "C" NOT NULL,
    id BIGINT NOT NULL,
    message_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    file_path TEXT COLLATE "C" NOT NULL,
    line_start BIGINT,
    line_end BIGINT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT message_files_message_id_fkey FOREIGN KEY(zone, message_id) REFERENCES messages (zone, id),
    CONSTRAINT message_files_kind_check CHECK (kind IN ('read', 'written', 'referenced', 'attached'))
);

CREATE INDEX idx_message_files_path ON message_files (zone, file_path);

CREATE UNIQUE INDEX message_files_message_id_kind_file_path_line_start_key ON message_files (zone, message_id, kind, file_path, line_start);

CREATE TABLE message_lints (
    zone TEXT COLLATE "C" NOT NULL,
    id BIGINT NOT NULL,
    message_id TEXT COLLATE "C" NOT NULL,
    file_path TEXT COLLATE "C",
    message TEXT COLLATE "C",
    lint_source TEXT COLLATE "C",
    start_line BIGINT,
    start_col BIGINT,
    end_line BIGINT,
    end_col BIGINT,
    severity TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT message_lints_message_id_fkey FOREIGN KEY(zone, message_id) REFERENCES messages (zone, id)
);

CREATE INDEX idx_message_lints_message ON message_lints (zone, message_id);

CREATE TABLE sessions (
    zone TEXT COLLATE "C" NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    thread_id TEXT COLLATE "C",
    persona_id TEXT COLLATE "C" NOT NULL,
    is_subagent BOOLEAN DEFAULT false NOT NULL,
    parent_session_label TEXT COLLATE "C",
    parent_turn_id TEXT COLLATE "C",
    spawn_tool_call_id TEXT COLLATE "C",
    task_description TEXT COLLATE "C",
    task_status TEXT COLLATE "C",
    routing_key TEXT COLLATE "C",
    origin TEXT COLLATE "C",
    origin_session_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'active' NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, label),
    CONSTRAINT sessions_thread_id_fkey FOREIGN KEY(zone, thread_id) REFERENCES threads (zone, turn_id),
    CONSTRAINT sessions_parent_turn_id_fkey FOREIGN KEY(zone, parent_turn_id) REFERENCES turns (zone, id),
    CONSTRAINT sessions_task_status_check CHECK (task_status IN ('pending', 'running', 'completed', 'failed')),
    CONSTRAINT sessions_status_check CHECK (status IN ('active', 'archived', 'deleted'))
);

CREATE INDEX idx_sessions_origin ON sessions (zone, origin);

CREATE INDEX idx_sessions_parent ON sessions (zone, parent_session_label);

CREATE INDEX idx_sessions_persona ON sessions (zone, persona_id);

CREATE INDEX idx_sessions_routing ON sessions (zone, routing_key);

CREATE INDEX idx_sessions_updated ON sessions (zone, updated_at DESC);

CREATE TABLE tool_calls (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    message_id TEXT COLLATE "C",
    tool_name TEXT COLLATE "C" NOT NULL,
    tool_number BIGINT,
    params TEXT COLLATE "C" NOT NULL,
    result TEXT COLLATE "C",
    error TEXT COLLATE "C",
    status TEXT COLLATE "C" DEFAULT 'pending' NOT NULL,
    spawned_session_label TEXT COLLATE "C",
    started_at BIGINT NOT NULL,
    completed_at BIGINT,
    sequence BIGINT DEFAULT 0 NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT tool_calls_turn_id_fkey FOREIGN KEY(zone, turn_id) REFERENCES turns (zone, id),
    CONSTRAINT tool_calls_message_id_fkey FOREIGN KEY(zone, message_id) REFERENCES messages (zone, id),
    CONSTRAINT tool_calls_status_check CHECK (status IN ('pending', 'running', 'completed', 'failed'))
);

CREATE INDEX idx_tool_calls_tool ON tool_calls (zone, tool_name);

CREATE INDEX idx_tool_calls_turn ON tool_calls (zone, turn_id, sequence);

CREATE TABLE queue_items (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    session_label TEXT COLLATE "C" NOT NULL,
    message TEXT COLLATE "C" NOT NULL,
    mode TEXT COLLATE "C" NOT NULL,
    enqueued_at BIGINT NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'pending' NOT NULL,
    claimed_at BIGINT,
    delivered_at BIGINT,
    error TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT queue_items_session_label_fkey FOREIGN KEY(zone, session_label) REFERENCES sessions (zone, label),
    CONSTRAINT queue_items_mode_check CHECK (mode IN ('steer', 'followup', 'collect', 'queue', 'interrupt')),
    CONSTRAINT queue_items_status_check CHECK (status IN ('pending', 'processing', 'delivered', 'failed'))
);

CREATE INDEX idx_queue_items_session_status ON queue_items (zone, session_label, status, enqueued_at);

CREATE TABLE queue_settings (
    zone TEXT COLLATE "C" NOT NULL,
    session_label TEXT COLLATE "C" NOT NULL,
    mode TEXT COLLATE "C" DEFAULT 'collect' NOT NULL,
    debounce_ms BIGINT DEFAULT 1000 NOT NULL,
    cap BIGINT DEFAULT 20 NOT NULL,
    drop_policy TEXT COLLATE "C" DEFAULT 'summarize' NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, session_label),
    CONSTRAINT queue_settings_session_label_fkey FOREIGN KEY(zone, session_label) REFERENCES sessions (zone, label),
    CONSTRAINT queue_settings_mode_check CHECK (mode IN ('steer', 'followup', 'collect', 'queue', 'interrupt')),
    CONSTRAINT queue_settings_drop_policy_check CHECK (drop_policy IN ('old', 'new', 'summarize'))
);

CREATE TABLE session_aliases (
    zone TEXT COLLATE "C" NOT NULL,
    alias TEXT COLLATE "C" NOT NULL,
    session_label TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    reason TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, alias),
    CONSTRAINT session_aliases_session_label_fkey FOREIGN KEY(zone, session_label) REFERENCES sessions (zone, label),
    CONSTRAINT session_aliases_reason_check CHECK (reason IN ('identity_promotion', 'identity_merge', 'manual'))
);

CREATE INDEX idx_session_aliases_session ON session_aliases (zone, session_label);

CREATE TABLE session_history (
    zone TEXT COLLATE "C" NOT NULL,
    id BIGINT NOT NULL,
    session_label TEXT COLLATE "C" NOT NULL,
    thread_id TEXT COLLATE "C" NOT NULL,
    changed_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT session_history_session_label_fkey FOREIGN KEY(zone, session_label) REFERENCES sessions (zone, label),
    CONSTRAINT session_history_thread_id_fkey FOREIGN KEY(zone, thread_id) REFERENCES threads (zone, turn_id)
);

CREATE INDEX idx_session_history_label ON session_history (zone, session_label, changed_at DESC);

CREATE INDEX idx_session_history_thread ON session_history (zone, thread_id);

CREATE TABLE session_imports (
    zone TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    source_provider TEXT COLLATE "C" NOT NULL,
    source_session_id TEXT COLLATE "C" NOT NULL,
    source_session_fingerprint TEXT COLLATE "C" NOT NULL,
    session_label TEXT COLLATE "C" NOT NULL,
    imported_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_run_id TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, source, source_provider, source_session_id),
    CONSTRAINT session_imports_session_label_fkey FOREIGN KEY(zone, session_label) REFERENCES sessions (zone, label)
);

CREATE INDEX idx_session_imports_label ON session_imports (zone, session_label);

CREATE INDEX idx_session_imports_updated ON session_imports (zone, updated_at DESC);

CREATE TABLE tool_call_artifacts (
    zone TEXT COLLATE "C" NOT NULL,
    tool_call_id TEXT COLLATE "C" NOT NULL,
    artifact_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, tool_call_id, artifact_id),
    CONSTRAINT tool_call_artifacts_tool_call_id_fkey FOREIGN KEY(zone, tool_call_id) REFERENCES tool_calls (zone, id),
    CONSTRAINT tool_call_artifacts_artifact_id_fkey FOREIGN KEY(zone, artifact_id) REFERENCES artifacts (zone, id)
);

CREATE INDEX idx_tool_call_artifacts_artifact ON tool_call_artifacts (zone, artifact_id, created_at DESC);
