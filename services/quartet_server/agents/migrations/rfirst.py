"""The tables of the agents ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from quartet_server.records.fields import TEXT

revision = "first"
down_revision: str | None = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "artifacts",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("storage", TEXT, server_default=sa.text("'fs'"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sha256", TEXT, nullable=True),
        sa.Column("host_path", TEXT, nullable=False),
        sa.Column("agent_path", TEXT, nullable=False),
        sa.Column("relative_path", TEXT, nullable=True),
        sa.Column("content_type", TEXT, nullable=True),
        sa.Column("encoding", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_artifacts_created", "artifacts", ["zone", sa.literal_column("created_at DESC")], unique=False)
    op.create_index(
        "idx_artifacts_kind_created", "artifacts", ["zone", "kind", sa.literal_column("created_at DESC")], unique=False
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
        "session_import_chunk_parts",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("upload_id", TEXT, nullable=False),
        sa.Column("chunk_index", sa.BigInteger(), nullable=False),
        sa.Column("chunk_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("persona_id", TEXT, nullable=True),
        sa.Column("idempotency_key", TEXT, nullable=False),
        sa.Column("source_provider", TEXT, nullable=False),
        sa.Column("source_session_id", TEXT, nullable=False),
        sa.Column("source_session_fingerprint", TEXT, nullable=False),
        sa.Column("encoding", TEXT, nullable=False),
        sa.Column("payload", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("mode IN ('backfill', 'tail')", name="session_import_chunk_parts_mode_check"),
        sa.PrimaryKeyConstraint("zone", "source", "upload_id", "chunk_index"),
    )
    op.create_index(
        "idx_session_import_chunk_parts_created",
        "session_import_chunk_parts",
        ["zone", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_table(
        "session_import_requests",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("idempotency_key", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("request_hash", TEXT, nullable=True),
        sa.Column("response", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("mode IN ('backfill', 'tail')", name="session_import_requests_mode_check"),
        sa.PrimaryKeyConstraint("zone", "idempotency_key"),
    )
    op.create_index(
        "idx_session_import_requests_created",
        "session_import_requests",
        ["zone", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_table(
        "turns",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("parent_turn_id", TEXT, nullable=True),
        sa.Column("turn_type", TEXT, server_default=sa.text("'normal'"), nullable=False),
        sa.Column("status", TEXT, server_default=sa.text("'pending'"), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("model", TEXT, nullable=True),
        sa.Column("provider", TEXT, nullable=True),
        sa.Column("role", TEXT, server_default=sa.text("'unified'"), nullable=False),
        sa.Column("toolset_name", TEXT, nullable=True),
        sa.Column("tools_available", TEXT, nullable=True),
        sa.Column("permissions_granted", TEXT, nullable=True),
        sa.Column("permissions_used", TEXT, nullable=True),
        sa.Column("effective_config", TEXT, nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=True),
        sa.Column("query_message_ids", TEXT, nullable=True),
        sa.Column("response_message_id", TEXT, nullable=True),
        sa.Column("has_children", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("tool_call_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("source_event_id", TEXT, nullable=True),
        sa.Column("workspace_path", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("role IN ('manager', 'worker', 'unified')", name="turns_role_check"),
        sa.CheckConstraint("status IN ('pending', 'streaming', 'completed', 'failed')", name="turns_status_check"),
        sa.CheckConstraint("turn_type IN ('normal', 'compaction')", name="turns_turn_type_check"),
        sa.ForeignKeyConstraint(
            ["zone", "parent_turn_id"], ["turns.zone", "turns.id"], name="turns_parent_turn_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_turns_has_children", "turns", ["zone", "has_children"], unique=False)
    op.create_index("idx_turns_parent", "turns", ["zone", "parent_turn_id"], unique=False)
    op.create_index("idx_turns_role", "turns", ["zone", "role"], unique=False)
    op.create_index("idx_turns_source_event", "turns", ["zone", "source_event_id"], unique=False)
    op.create_index("idx_turns_started", "turns", ["zone", sa.literal_column("started_at DESC")], unique=False)
    op.create_index("idx_turns_status", "turns", ["zone", "status"], unique=False)
    op.create_index("idx_turns_type", "turns", ["zone", "turn_type"], unique=False)
    op.create_table(
        "compactions",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("turn_id", TEXT, nullable=False),
        sa.Column("summary", TEXT, nullable=False),
        sa.Column("summarized_through_turn_id", TEXT, nullable=False),
        sa.Column("first_kept_turn_id", TEXT, nullable=True),
        sa.Column("turns_summarized", sa.BigInteger(), nullable=True),
        sa.Column("compaction_type", TEXT, server_default=sa.text("'summary'"), nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=True),
        sa.Column("tokens_before", sa.BigInteger(), nullable=True),
        sa.Column("tokens_after", sa.BigInteger(), nullable=True),
        sa.Column("summary_tokens", sa.BigInteger(), nullable=True),
        sa.Column("summarization_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("summarization_output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("trigger", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "compaction_type IN ('summary', 'sliding_window', 'selective')", name="compactions_compaction_type_check"
        ),
        sa.CheckConstraint("trigger IN ('context_limit', 'manual', 'periodic')", name="compactions_trigger_check"),
        sa.ForeignKeyConstraint(
            ["zone", "first_kept_turn_id"], ["turns.zone", "turns.id"], name="compactions_first_kept_turn_id_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "summarized_through_turn_id"],
            ["turns.zone", "turns.id"],
            name="compactions_summarized_through_turn_id_fkey",
        ),
        sa.ForeignKeyConstraint(["zone", "turn_id"], ["turns.zone", "turns.id"], name="compactions_turn_id_fkey"),
        sa.PrimaryKeyConstraint("zone", "turn_id"),
    )
    op.create_table(
        "messages",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("turn_id", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("content", TEXT, nullable=True),
        sa.Column("source", TEXT, nullable=True),
        sa.Column("sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("thinking", TEXT, nullable=True),
        sa.Column("context", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="messages_role_check"),
        sa.CheckConstraint(
            "source IN ('human', 'trigger', 'agent', 'webhook', 'cron', 'event')", name="messages_source_check"
        ),
        sa.ForeignKeyConstraint(["zone", "turn_id"], ["turns.zone", "turns.id"], name="messages_turn_id_fkey"),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_messages_role", "messages", ["zone", "role"], unique=False)
    op.create_index("idx_messages_turn", "messages", ["zone", "turn_id", "sequence"], unique=False)
    op.create_table(
        "threads",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("turn_id", TEXT, nullable=False),
        sa.Column("ancestry", TEXT, nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=True),
        sa.Column("depth", sa.BigInteger(), nullable=True),
        sa.Column("persona_id", TEXT, nullable=True),
        sa.Column("system_prompt_hash", TEXT, nullable=True),
        sa.Column("thread_key", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(["zone", "turn_id"], ["turns.zone", "turns.id"], name="threads_turn_id_fkey"),
        sa.PrimaryKeyConstraint("zone", "turn_id"),
    )
    op.create_index("idx_threads_key", "threads", ["zone", "thread_key"], unique=True)
    op.create_table(
        "message_codeblocks",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", TEXT, nullable=False),
        sa.Column("idx", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("language", TEXT, nullable=True),
        sa.Column("content", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("file_path", TEXT, nullable=True),
        sa.Column("line_start", sa.BigInteger(), nullable=True),
        sa.Column("line_end", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "message_id"], ["messages.zone", "messages.id"], name="message_codeblocks_message_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index(
        "message_codeblocks_message_id_idx_key", "message_codeblocks", ["zone", "message_id", "idx"], unique=True
    )
    op.create_table(
        "message_files",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("file_path", TEXT, nullable=False),
        sa.Column("line_start", sa.BigInteger(), nullable=True),
        sa.Column("line_end", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("kind IN ('read', 'written', 'referenced', 'attached')", name="message_files_kind_check"),
        sa.ForeignKeyConstraint(
            ["zone", "message_id"], ["messages.zone", "messages.id"], name="message_files_message_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_message_files_path", "message_files", ["zone", "file_path"], unique=False)
    op.create_index(
        "message_files_message_id_kind_file_path_line_start_key",
        "message_files",
        ["zone", "message_id", "kind", "file_path", "line_start"],
        unique=True,
    )
    op.create_table(
        "message_lints",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", TEXT, nullable=False),
        sa.Column("file_path", TEXT, nullable=True),
        sa.Column("message", TEXT, nullable=True),
        sa.Column("lint_source", TEXT, nullable=True),
        sa.Column("start_line", sa.BigInteger(), nullable=True),
        sa.Column("start_col", sa.BigInteger(), nullable=True),
        sa.Column("end_line", sa.BigInteger(), nullable=True),
        sa.Column("end_col", sa.BigInteger(), nullable=True),
        sa.Column("severity", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "message_id"], ["messages.zone", "messages.id"], name="message_lints_message_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_message_lints_message", "message_lints", ["zone", "message_id"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("label", TEXT, nullable=False),
        sa.Column("thread_id", TEXT, nullable=True),
        sa.Column("persona_id", TEXT, nullable=False),
        sa.Column("is_subagent", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("parent_session_label", TEXT, nullable=True),
        sa.Column("parent_turn_id", TEXT, nullable=True),
        sa.Column("spawn_tool_call_id", TEXT, nullable=True),
        sa.Column("task_description", TEXT, nullable=True),
        sa.Column("task_status", TEXT, nullable=True),
        sa.Column("routing_key", TEXT, nullable=True),
        sa.Column("origin", TEXT, nullable=True),
        sa.Column("origin_session_id", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("status", TEXT, server_default=sa.text("'active'"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("status IN ('active', 'archived', 'deleted')", name="sessions_status_check"),
        sa.CheckConstraint(
            "task_status IN ('pending', 'running', 'completed', 'failed')", name="sessions_task_status_check"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "parent_turn_id"], ["turns.zone", "turns.id"], name="sessions_parent_turn_id_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "thread_id"], ["threads.zone", "threads.turn_id"], name="sessions_thread_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "label"),
    )
    op.create_index("idx_sessions_origin", "sessions", ["zone", "origin"], unique=False)
    op.create_index("idx_sessions_parent", "sessions", ["zone", "parent_session_label"], unique=False)
    op.create_index("idx_sessions_persona", "sessions", ["zone", "persona_id"], unique=False)
    op.create_index("idx_sessions_routing", "sessions", ["zone", "routing_key"], unique=False)
    op.create_index("idx_sessions_updated", "sessions", ["zone", sa.literal_column("updated_at DESC")], unique=False)
    op.create_table(
        "tool_calls",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("turn_id", TEXT, nullable=False),
        sa.Column("message_id", TEXT, nullable=True),
        sa.Column("tool_name", TEXT, nullable=False),
        sa.Column("tool_number", sa.BigInteger(), nullable=True),
        sa.Column("params", TEXT, nullable=False),
        sa.Column("result", TEXT, nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("status", TEXT, server_default=sa.text("'pending'"), nullable=False),
        sa.Column("spawned_session_label", TEXT, nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("status IN ('pending', 'running', 'completed', 'failed')", name="tool_calls_status_check"),
        sa.ForeignKeyConstraint(
            ["zone", "message_id"], ["messages.zone", "messages.id"], name="tool_calls_message_id_fkey"
        ),
        sa.ForeignKeyConstraint(["zone", "turn_id"], ["turns.zone", "turns.id"], name="tool_calls_turn_id_fkey"),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("idx_tool_calls_tool", "tool_calls", ["zone", "tool_name"], unique=False)
    op.create_index("idx_tool_calls_turn", "tool_calls", ["zone", "turn_id", "sequence"], unique=False)
    op.create_table(
        "queue_items",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("session_label", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("enqueued_at", sa.BigInteger(), nullable=False),
        sa.Column("status", TEXT, server_default=sa.text("'pending'"), nullable=False),
        sa.Column("claimed_at", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "mode IN ('steer', 'followup', 'collect', 'queue', 'interrupt')", name="queue_items_mode_check"
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'delivered', 'failed')", name="queue_items_status_check"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "session_label"], ["sessions.zone", "sessions.label"], name="queue_items_session_label_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index(
        "idx_queue_items_session_status",
        "queue_items",
        ["zone", "session_label", "status", "enqueued_at"],
        unique=False,
    )
    op.create_table(
        "queue_settings",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("session_label", TEXT, nullable=False),
        sa.Column("mode", TEXT, server_default=sa.text("'collect'"), nullable=False),
        sa.Column("debounce_ms", sa.BigInteger(), server_default=sa.text("1000"), nullable=False),
        sa.Column("cap", sa.BigInteger(), server_default=sa.text("20"), nullable=False),
        sa.Column("drop_policy", TEXT, server_default=sa.text("'summarize'"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("drop_policy IN ('old', 'new', 'summarize')", name="queue_settings_drop_policy_check"),
        sa.CheckConstraint(
            "mode IN ('steer', 'followup', 'collect', 'queue', 'interrupt')", name="queue_settings_mode_check"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "session_label"], ["sessions.zone", "sessions.label"], name="queue_settings_session_label_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "session_label"),
    )
    op.create_table(
        "session_aliases",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("session_label", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "reason IN ('identity_promotion', 'identity_merge', 'manual')", name="session_aliases_reason_check"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "session_label"], ["sessions.zone", "sessions.label"], name="session_aliases_session_label_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "alias"),
    )
    op.create_index("idx_session_aliases_session", "session_aliases", ["zone", "session_label"], unique=False)
    op.create_table(
        "session_history",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("session_label", TEXT, nullable=False),
        sa.Column("thread_id", TEXT, nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "session_label"], ["sessions.zone", "sessions.label"], name="session_history_session_label_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "thread_id"], ["threads.zone", "threads.turn_id"], name="session_history_thread_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index(
        "idx_session_history_label",
        "session_history",
        ["zone", "session_label", sa.literal_column("changed_at DESC")],
        unique=False,
    )
    op.create_index("idx_session_history_thread", "session_history", ["zone", "thread_id"], unique=False)
    op.create_table(
        "session_imports",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("source_provider", TEXT, nullable=False),
        sa.Column("source_session_id", TEXT, nullable=False),
        sa.Column("source_session_fingerprint", TEXT, nullable=False),
        sa.Column("session_label", TEXT, nullable=False),
        sa.Column("imported_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("last_run_id", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "session_label"], ["sessions.zone", "sessions.label"], name="session_imports_session_label_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "source", "source_provider", "source_session_id"),
    )
    op.create_index("idx_session_imports_label", "session_imports", ["zone", "session_label"], unique=False)
    op.create_index(
        "idx_session_imports_updated", "session_imports", ["zone", sa.literal_column("updated_at DESC")], unique=False
    )
    op.create_table(
        "tool_call_artifacts",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("tool_call_id", TEXT, nullable=False),
        sa.Column("artifact_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "artifact_id"], ["artifacts.zone", "artifacts.id"], name="tool_call_artifacts_artifact_id_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "tool_call_id"], ["tool_calls.zone", "tool_calls.id"], name="tool_call_artifacts_tool_call_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "tool_call_id", "artifact_id"),
    )
    op.create_index(
        "idx_tool_call_artifacts_artifact",
        "tool_call_artifacts",
        ["zone", "artifact_id", sa.literal_column("created_at DESC")],
        unique=False,
    )
