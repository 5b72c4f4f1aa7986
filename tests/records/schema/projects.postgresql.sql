CREATE TABLE agent_changes (
    zone TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    deleted BOOLEAN DEFAULT false NOT NULL,
    PRIMARY KEY (zone, agent_id)
);

CREATE UNIQUE INDEX agent_changes_position_idx ON agent_changes (zone, position);

CREATE TABLE agents (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'idle' NOT NULL,
    model_provider TEXT COLLATE "C" DEFAULT 'anthropic' NOT NULL,
    model_name TEXT COLLATE "C" DEFAULT 'claude-sonnet-4' NOT NULL,
    temperature DOUBLE PRECISION DEFAULT 0.3 NOT NULL,
    max_tokens BIGINT DEFAULT 8000 NOT NULL,
    system_prompt TEXT COLLATE "C",
    tools TEXT COLLATE "C",
    current_task_id TEXT COLLATE "C",
    worktree_path TEXT COLLATE "C",
    branch_name TEXT COLLATE "C",
    tokens_used BIGINT DEFAULT 0 NOT NULL,
    tasks_completed BIGINT DEFAULT 0 NOT NULL,
    tasks_failed BIGINT DEFAULT 0 NOT NULL,
    spawned_at BIGINT NOT NULL,
    last_activity_at BIGINT NOT NULL,
    terminated_at BIGINT,
    termination_reason TEXT COLLATE "C",
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT agents_type_check CHECK (type IN ('planner', 'coder', 'tester', 'reviewer', 'merger')),
    CONSTRAINT agents_status_check CHECK (status IN ('idle', 'assigned', 'working', 'paused', 'error', 'terminated'))
);

CREATE TABLE code_chunks (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    file TEXT COLLATE "C" NOT NULL,
    start_line BIGINT DEFAULT 0 NOT NULL,
    end_line BIGINT DEFAULT 0 NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    embedding vector,
    symbols TEXT COLLATE "C",
    chunk_type TEXT COLLATE "C" NOT NULL,
    language TEXT COLLATE "C" NOT NULL,
    complexity BIGINT,
    hash TEXT COLLATE "C" NOT NULL,
    indexed_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id)
);

CREATE INDEX code_chunks_file_idx ON code_chunks (zone, file);

CREATE INDEX code_chunks_hash_idx ON code_chunks (zone, hash);

CREATE INDEX code_chunks_project_idx ON code_chunks (zone, project_id);

CREATE TABLE projects (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    mode TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'created' NOT NULL,
    root_path TEXT COLLATE "C" NOT NULL,
    repository_url TEXT COLLATE "C",
    settings TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    completed_at BIGINT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT projects_mode_check CHECK (mode IN ('genesis', 'evolution')),
    CONSTRAINT projects_status_check CHECK (status IN ('created', 'planning', 'in_progress', 'paused', 'completed', 'failed'))
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

CREATE TABLE checkpoints (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C",
    reason TEXT COLLATE "C",
    state TEXT COLLATE "C",
    git_commit TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT checkpoints_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE
);

CREATE INDEX checkpoints_project_idx ON checkpoints (zone, project_id);

CREATE TABLE continue_points (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL,
    last_action TEXT COLLATE "C" NOT NULL,
    file TEXT COLLATE "C",
    line BIGINT,
    function_name TEXT COLLATE "C",
    next_steps TEXT COLLATE "C",
    agent_id TEXT COLLATE "C",
    iteration_count BIGINT DEFAULT 0 NOT NULL,
    saved_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT continue_points_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE
);

CREATE INDEX continue_points_project_idx ON continue_points (zone, project_id);

CREATE INDEX continue_points_task_idx ON continue_points (zone, task_id);

CREATE TABLE episodes (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    summary TEXT COLLATE "C",
    embedding vector,
    context TEXT COLLATE "C",
    task_id TEXT COLLATE "C",
    agent_id TEXT COLLATE "C",
    importance DOUBLE PRECISION DEFAULT 1.0 NOT NULL,
    access_count BIGINT DEFAULT 0 NOT NULL,
    last_accessed_at BIGINT,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT episodes_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE,
    CONSTRAINT episodes_type_check CHECK (type IN ('code_generation', 'error_fix', 'review_feedback', 'decision', 'research'))
);

CREATE INDEX episodes_project_idx ON episodes (zone, project_id);

CREATE INDEX episodes_type_idx ON episodes (zone, type);

CREATE TABLE features (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    priority TEXT COLLATE "C" DEFAULT 'should' NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'backlog' NOT NULL,
    complexity TEXT COLLATE "C" DEFAULT 'simple' NOT NULL,
    estimated_tasks BIGINT DEFAULT 0 NOT NULL,
    completed_tasks BIGINT DEFAULT 0 NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT features_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE,
    CONSTRAINT features_priority_check CHECK (priority IN ('must', 'should', 'could', 'wont')),
    CONSTRAINT features_complexity_check CHECK (complexity IN ('simple', 'complex'))
);

CREATE INDEX features_project_idx ON features (zone, project_id);

CREATE TABLE metrics (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C",
    task_id TEXT COLLATE "C",
    type TEXT COLLATE "C" NOT NULL,
    value DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    metadata TEXT COLLATE "C",
    timestamp BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT metrics_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE
);

CREATE INDEX metrics_project_idx ON metrics (zone, project_id);

CREATE TABLE requirements (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    category TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    priority TEXT COLLATE "C" DEFAULT 'medium' NOT NULL,
    source TEXT COLLATE "C",
    user_stories TEXT COLLATE "C",
    acceptance_criteria TEXT COLLATE "C",
    linked_features TEXT COLLATE "C",
    validated BOOLEAN DEFAULT false NOT NULL,
    confidence DOUBLE PRECISION DEFAULT 1.0 NOT NULL,
    tags TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT requirements_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE
);

CREATE INDEX requirements_project_idx ON requirements (zone, project_id);

CREATE TABLE sessions (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'active' NOT NULL,
    data TEXT COLLATE "C",
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT sessions_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE,
    CONSTRAINT sessions_type_check CHECK (type IN ('interview', 'planning', 'execution')),
    CONSTRAINT sessions_status_check CHECK (status IN ('active', 'paused', 'completed', 'cancelled'))
);

CREATE INDEX sessions_project_idx ON sessions (zone, project_id);

CREATE TABLE sub_features (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    feature_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    status TEXT COLLATE "C" DEFAULT 'backlog' NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT sub_features_feature_id_fkey FOREIGN KEY(zone, feature_id) REFERENCES features (zone, id) ON DELETE CASCADE
);

CREATE INDEX sub_features_feature_idx ON sub_features (zone, feature_id);

CREATE TABLE tasks (
    zone TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    feature_id TEXT COLLATE "C",
    sub_feature_id TEXT COLLATE "C",
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    type TEXT COLLATE "C" DEFAULT 'auto' NOT NULL,
    status TEXT COLLATE "C" DEFAULT 'pending' NOT NULL,
    size TEXT COLLATE "C" DEFAULT 'small' NOT NULL,
    priority BIGINT DEFAULT 5 NOT NULL,
    tags TEXT COLLATE "C",
    notes TEXT COLLATE "C",
    assigned_agent TEXT COLLATE "C",
    worktree_path TEXT COLLATE "C",
    branch_name TEXT COLLATE "C",
    depends_on TEXT COLLATE "C",
    blocked_by TEXT COLLATE "C",
    qa_iterations BIGINT DEFAULT 0 NOT NULL,
    max_iterations BIGINT DEFAULT 50 NOT NULL,
    estimated_minutes BIGINT DEFAULT 15 NOT NULL,
    actual_minutes BIGINT,
    started_at BIGINT,
    completed_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT tasks_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE,
    CONSTRAINT tasks_feature_id_fkey FOREIGN KEY(zone, feature_id) REFERENCES features (zone, id),
    CONSTRAINT tasks_sub_feature_id_fkey FOREIGN KEY(zone, sub_feature_id) REFERENCES sub_features (zone, id),
    CONSTRAINT tasks_type_check CHECK (type IN ('auto', 'checkpoint', 'tdd')),
    CONSTRAINT tasks_status_check CHECK (status IN ('pending', 'queued', 'in_progress', 'in_review', 'completed', 'failed', 'blocked')),
    CONSTRAINT tasks_size_check CHECK (size IN ('atomic', 'small'))
);

CREATE INDEX tasks_feature_idx ON tasks (zone, feature_id);

CREATE INDEX tasks_project_idx ON tasks (zone, project_id);

CREATE INDEX tasks_status_idx ON tasks (zone, status);
