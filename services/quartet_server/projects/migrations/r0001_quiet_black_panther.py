"""Requirements, metrics and sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from quartet_server.records.fields import TEXT

revision = "0001_quiet_black_panther"
down_revision = "0000_premium_mariko_yashida"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "metrics",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("agent_id", TEXT, nullable=True),
        sa.Column("task_id", TEXT, nullable=True),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("value", sa.Double(), server_default=sa.text("0.0"), nullable=False),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "project_id"], ["projects.zone", "projects.id"], name="metrics_project_id_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_table(
        "requirements",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("category", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("priority", TEXT, server_default=sa.text("'medium'"), nullable=False),
        sa.Column("source", TEXT, nullable=True),
        sa.Column("user_stories", TEXT, nullable=True),
        sa.Column("acceptance_criteria", TEXT, nullable=True),
        sa.Column("linked_features", TEXT, nullable=True),
        sa.Column("validated", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("confidence", sa.Double(), server_default=sa.text("1.0"), nullable=False),
        sa.Column("tags", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "project_id"],
            ["projects.zone", "projects.id"],
            name="requirements_project_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_table(
        "sessions",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("status", TEXT, server_default=sa.text("'active'"), nullable=False),
        sa.Column("data", TEXT, nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("status IN ('active', 'paused', 'completed', 'cancelled')", name="sessions_status_check"),
        sa.CheckConstraint("type IN ('interview', 'planning', 'execution')", name="sessions_type_check"),
        sa.ForeignKeyConstraint(
            ["zone", "project_id"],
            ["projects.zone", "projects.id"],
            name="sessions_project_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
