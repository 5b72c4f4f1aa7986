"""When agents changed, and the answers that requests got."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from quartet_server.records.fields import TEXT

revision = "0006_agent_changes"
down_revision = "0005_code_chunks"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "agent_changes",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("agent_id", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("zone", "agent_id"),
    )
    op.create_index("agent_changes_position_idx", "agent_changes", ["zone", "position"], unique=True)
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
