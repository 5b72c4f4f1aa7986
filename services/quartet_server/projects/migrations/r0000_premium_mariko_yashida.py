"""Projects, features, sub-features, tasks, agents and checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from quartet_server.records.fields import TEXT

revision = "0000_premium_mariko_yashida"
down_revision: str | None = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "agents",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("status", TEXT, server_default=sa.text("'idle'"), nullable=False),
        sa.Column("model_provider", TEXT, server_default=sa.text("'anthropic'"), nullable=False),
        sa.Column("model_name", TEXT, server_default=sa.text("'claude-sonnet-4'"), nullable=False),
        sa.Column("temperature", sa.Double(), server_default=sa.text("0.3"), nullable=False),
        sa.Column("max_tokens", sa.BigInteger(), server_default=sa.text("8000"), nullable=False),
        sa.Column("system_prompt", TEXT, nullable=True),
        sa.Column("tools", TEXT, nullable=True),
        sa.Column("current_task_id", TEXT, nullable=True),
        sa.Column("worktree_path", TEXT, nullable=True),
        sa.Column("branch_name", TEXT, nullable=True),
        sa.Column("tokens_used", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tasks_completed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tasks_failed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("spawned_at", sa.BigInteger(), nullable=False),
        sa.Column("last_activity_at", sa.BigInteger(), nullable=False),
        sa.Column("terminated_at", sa.BigInteger(), nullable=True),
        sa.Column("termination_reason", TEXT, nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "status IN ('idle', 'assigned', 'working', 'paused', 'error', 'terminated')", name="agents_status_check"
        ),
        sa.CheckConstraint("type IN ('planner', 'coder', 'tester', 'reviewer', 'merger')", name="agents_type_check"),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_table(
        "projects",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("status", TEXT, server_default=sa.text("'created'"), nullable=False),
        sa.Column("root_path", TEXT, nullable=False),
        sa.Column("repository_url", TEXT, nullable=True),
        sa.Column("settings", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("mode IN ('genesis', 'evolution')", name="projects_mode_check"),
        sa.CheckConstraint(
            "status IN ('created', 'planning', 'in_progress', 'paused', 'completed', 'failed')",
            name="projects_status_check",
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=True),
        sa.Column("git_commit", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "project_id"],
            ["projects.zone", "projects.id"],
            name="checkpoints_project_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_table(
        "features",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("priority", TEXT, server_default=sa.text("'should'"), nullable=False),
        sa.Column("status", TEXT, server_default=sa.text("'backlog'"), nullable=False),
        sa.Column("complexity", TEXT, server_default=sa.text("'simple'"), nullable=False),
        sa.Column("estimated_tasks", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("completed_tasks", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("complexity IN ('simple', 'complex')", name="features_complexity_check"),
        sa.CheckConstraint("priority IN ('must', 'should', 'could', 'wont')", name="features_priority_check"),
        sa.ForeignKeyConstraint(
            ["zone", "project_id"],
            ["projects.zone", "projects.id"],
            name="features_project_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_table(
        "sub_features",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("feature_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("status", TEXT, server_default=sa.text("'backlog'"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "feature_id"],
            ["features.zone", "features.id"],
            name="sub_features_feature_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_table(
        "tasks",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("feature_id", TEXT, nullable=True),
        sa.Column("sub_feature_id", TEXT, nullable=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("type", TEXT, server_default=sa.text("'auto'"), nullable=False),
        sa.Column("status", TEXT, server_default=sa.text("'pending'"), nullable=False),
        sa.Column("size", TEXT, server_default=sa.text("'small'"), nullable=False),
        sa.Column("priority", sa.BigInteger(), server_default=sa.text("5"), nullable=False),
        sa.Column("tags", TEXT, nullable=True),
        sa.Column("notes", TEXT, nullable=True),
        sa.Column("assigned_agent", TEXT, nullable=True),
        sa.Column("worktree_path", TEXT, nullable=True),
        sa.Column("branch_name", TEXT, nullable=True),
        sa.Column("depends_on", TEXT, nullable=True),
        sa.Column("blocked_by", TEXT, nullable=True),
        sa.Column("qa_iterations", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_iterations", sa.BigInteger(), server_default=sa.text("50"), nullable=False),
        sa.Column("estimated_minutes", sa.BigInteger(), server_default=sa.text("15"), nullable=False),
        sa.Column("actual_minutes", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("size IN ('atomic', 'small')", name="tasks_size_check"),
        sa.CheckConstraint(
            "status IN ('pending', 'queued', 'in_progress', 'in_review', 'completed', 'failed', 'blocked')",
            name="tasks_status_check",
        ),
        sa.CheckConstraint("type IN ('auto', 'checkpoint', 'tdd')", name="tasks_type_check"),
        sa.ForeignKeyConstraint(["zone", "feature_id"], ["features.zone", "features.id"], name="tasks_feature_id_fkey"),
        sa.ForeignKeyConstraint(
            ["zone", "project_id"], ["projects.zone", "projects.id"], name="tasks_project_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["zone", "sub_feature_id"], ["sub_features.zone", "sub_features.id"], name="tasks_sub_feature_id_fkey"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
