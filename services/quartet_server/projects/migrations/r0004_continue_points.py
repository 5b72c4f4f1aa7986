"""Continue points."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from quartet_server.records.fields import TEXT

revision = "0004_continue_points"
down_revision = "0003_hard_may_parker"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "continue_points",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("task_id", TEXT, nullable=False),
        sa.Column("last_action", TEXT, nullable=False),
        sa.Column("file", TEXT, nullable=True),
        sa.Column("line", sa.BigInteger(), nullable=True),
        sa.Column("function_name", TEXT, nullable=True),
        sa.Column("next_steps", TEXT, nullable=True),
        sa.Column("agent_id", TEXT, nullable=True),
        sa.Column("iteration_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone", "project_id"],
            ["projects.zone", "projects.id"],
            name="continue_points_project_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("continue_points_project_idx", "continue_points", ["zone", "project_id"], unique=False)
    op.create_index("continue_points_task_idx", "continue_points", ["zone", "task_id"], unique=False)
