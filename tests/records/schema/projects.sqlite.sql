CREATE TABLE agent_changes (
    zone TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    deleted BOOLEAN DEFAULT 0 NOT NULL,
    PRIMARY KEY (zone, agent_id)
);

CREATE UNIQUE INDEX agent_changes_position_idx ON agent_changes (zone, position);

CREATE TABLE agents (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    status TEXT DEFAULT 'idle' NOT NULL,
    model_provider TEXT DEFAULT 'anthropic' NOT NULL,
    model_name TEXT DEFAULT 'claude-sonnet-4' NOT NULL,
    temperature DOUBLE DEFAULT (0.3) NOT NULL,
    max_tokens BIGINT DEFAULT 8000 NOT NULL,
    system_prompt TEXT,
    tools TEXT,
    current_task_id TEXT,
    worktree_path TEXT,
    branch_name TEXT,
    tokens_used BIGINT DEFAULT 0 NOT NULL,
    tasks_completed BIGINT DEFAULT 0 NOT NULL,
    tasks_failed BIGINT DEFAULT 0 NOT NULL,
    spawned_at BIGINT NOT NULL,
    last_activity_at BIGINT NOT NULL,
    terminated_at BIGINT,
    termination_reason TEXT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT agents_type_check CHECK (type IN ('planner', 'coder', 'tester', 'reviewer', 'merger')),
    CONSTRAINT agents_status_check CHECK (status IN ('idle', 'assigned', 'working', 'paused', 'error', 'terminated'))
);

CREATE TABLE code_chunks (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    file TEXT NOT NULL,
    start_line BIGINT DEFAULT 0 NOT NULL,
    end_line BIGINT DEFAULT 0 NOT NULL,
    content TEXT NOT NULL,
    embedding BLOB,
    symbols TEXT,
    chunk_type TEXT NOT NULL,
    language TEXT NOT NULL,
    complexity BIGINT,
    hash TEXT NOT NULL,
    indexed_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id)
);

CREATE INDEX code_chunks_file_idx ON code_chunks (zone, file);

CREATE INDEX code_chunks_hash_idx ON code_chunks (zone, hash);

CREATE INDEX code_chunks_project_idx ON code_chunks (zone, project_id);

CREATE TABLE projects (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    mode TEXT NOT NULL,
    status TEXT DEFAULT 'created' NOT NULL,
    root_path TEXT NOT NULL,
    repository_url TEXT,
    settings TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    completed_at BIGINT,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT projects_mode_check CHECK (mode IN ('genesis', 'evolution')),
    CONSTRAINT projects_status_check CHECK (status IN ('created', 'planning', 'in_progress', 'paused', 'completed', 'failed'))
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

CREATE TABLE checkpoints (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT,
    reason TEXT,
    state TEXT,
    git_commit TEXT,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT checkpoints_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE
);

CREATE INDEX checkpoints_project_idx ON checkpoints (zone, project_id);

CREATE TABLE continue_points (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    last_action TEXT NOT NULL,
    file TEXT,
    line BIGINT,
    function_name TEXT,
    next_steps TEXT,
    agent_id TEXT,
    iteration_count BIGINT DEFAULT 0 NOT NULL,
    saved_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT continue_points_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE
);

CREATE INDEX continue_points_project_idx ON continue_points (zone, project_id);

CREATE INDEX continue_points_task_idx ON continue_points (zone, task_id);

CREATE TABLE episodes (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    type TEXT NOT NULL,
    content TEXT NOT NULL,
    summary TEXT,
    embedding BLOB,
    context TEXT,
    task_id TEXT,
    agent_id TEXT,
    importance DOUBLE DEFAULT (1.0) NOT NULL,
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
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    priority TEXT DEFAULT 'should' NOT NULL,
    status TEXT DEFAULT 'backlog' NOT NULL,
    complexity TEXT DEFAULT 'simple' NOT NULL,
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
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    agent_id TEXT,
    task_id TEXT,
    type TEXT NOT NULL,
    value DOUBLE DEFAULT (0.0) NOT NULL,
    metadata TEXT,
    timestamp BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT metrics_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE
);

CREATE INDEX metrics_project_idx ON metrics (zone, project_id);

CREATE TABLE requirements (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    category TEXT NOT NULL,
    description TEXT NOT NULL,
    priority TEXT DEFAULT 'medium' NOT NULL,
    source TEXT,
    user_stories TEXT,
    acceptance_criteria TEXT,
    linked_features TEXT,
    validated BOOLEAN DEFAULT 0 NOT NULL,
    confidence DOUBLE DEFAULT (1.0) NOT NULL,
    tags TEXT,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT requirements_project_id_fkey FOREIGN KEY(zone, project_id) REFERENCES projects (zone, id) ON DELETE CASCADE
);

CREATE INDEX requirements_project_idx ON requirements (zone, project_id);

CREATE TABLE sessions (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    type TEXT NOT NULL,
    status TEXT DEFAULT 'active' NOT NULL,
    data TEXT,
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
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    feature_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    status TEXT DEFAULT 'backlog' NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (zone, id),
    CONSTRAINT sub_features_feature_id_fkey FOREIGN KEY(zone, feature_id) REFERENCES features (zone, id) ON DELETE CASCADE
);

CREATE INDEX sub_features_feature_idx ON sub_features (zone, feature_id);

CREATE TABLE tasks (
    zone TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    feature_id TEXT,
    sub_feature_id TEXT,
    name TEXT NOT NULL,
    description TEXT,
    type TEXT DEFAULT 'auto' NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    size TEXT DEFAULT 'small' NOT NULL,
    priority BIGINT DEFAULT 5 NOT NULL,
    tags TEXT,
    notes TEXT,
    assigned_agent TEXT,
    worktree_path TEXT,
    branch_name TEXT,
    depends_on TEXT,
    blocked_by TEXT,
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
