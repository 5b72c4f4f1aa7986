"""Code chunks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from quartet_server.records.fields import TEXT, VectorType

revision = "0005_code_chunks"
down_revision = "0004_continue_points"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "code_chunks",
        sa.Column("zone", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("file", TEXT, nullable=False),
        sa.Column("start_line", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("end_line", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("content", TEXT, nullable=False),
        sa.Column("embedding", VectorType(), nullable=True),
        sa.Column("symbols", TEXT, nullable=True),
        sa.Column("chunk_type", TEXT, nullable=False),
        sa.Column("language", TEXT, nullable=False),
        sa.Column("complexity", sa.BigInteger(), nullable=True),
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("indexed_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("zone", "id"),
    )
    op.create_index("code_chunks_file_idx", "code_chunks", ["zone", "file"], unique=False)
    op.create_index("code_chunks_hash_idx", "code_chunks", ["zone", "hash"], unique=False)
    op.create_index("code_chunks_project_idx", "code_chunks", ["zone", "project_id"], unique=False)
