"""The indexes of all tables there are."""

from __future__ import annotations

from alembic import op

revision = "0003_hard_may_parker"
down_revision = "0002_hotfix_metadata_fields"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_index("checkpoints_project_idx", "checkpoints", ["zone", "project_id"], unique=False)
    op.create_index("episodes_project_idx", "episodes", ["zone", "project_id"], unique=False)
    op.create_index("episodes_type_idx", "episodes", ["zone", "type"], unique=False)
    op.create_index("features_project_idx", "features", ["zone", "project_id"], unique=False)
    op.create_index("metrics_project_idx", "metrics", ["zone", "project_id"], unique=False)
    op.create_index("requirements_project_idx", "requirements", ["zone", "project_id"], unique=False)
    op.create_index("sessions_project_idx", "sessions", ["zone", "project_id"], unique=False)
    op.create_index("sub_features_feature_idx", "sub_features", ["zone", "feature_id"], unique=False)
    op.create_index("tasks_feature_idx", "tasks", ["zone", "feature_id"], unique=False)
    op.create_index("tasks_project_idx", "tasks", ["zone", "project_id"], unique=False)
    op.create_index("tasks_status_idx", "tasks", ["zone", "status"], unique=False)
