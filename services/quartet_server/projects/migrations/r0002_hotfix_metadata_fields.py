"""Episodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from quartet_server.records.fields import TEXT, VectorType

revision = "0002_hotfix_metadata_fields"
down_revision = "0001_quiet_black_panther"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "episodes",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("content", TEXT, nullable=False),
        sa.Column("summary", TEXT, nullable=True),
        sa.Column("embedding", VectorType(), nullable=True),
        sa.Column("context", TEXT, nullable=True),
        sa.Column("task_id", TEXT, nullable=True),
        sa.Column("agent_id", TEXT, nullable=True),
        sa.Column("importance", sa.Double(), server_default=sa.text("1.0"), nullable=False),
        sa.Column("access_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_accessed_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "type IN ('code_generation', 'error_fix', 'review_feedback', 'decision', 'research')",
            name="episodes_type_check",
        ),
        sa.ForeignKeyConstraint(
            ["zone", "project_id"],
            ["projects.zone", "projects.id"],
            name="episodes_project_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
