"""The database `projects`: its twelve records, and the table by which WatchAgents resumes."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.projects.v1 import agents_pb2, history_pb2, memory_pb2, plans_pb2

from quartet_server.records.schema import schema


def _agent_changes(metadata: sa.MetaData) -> None:
    """Add when each agent changed last: a count of the zone's changes, with one row an agent, deleted ones included."""
    sa.Table(
        "agent_changes",
        metadata,
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("zone", "agent_id"),
        sa.Index("agent_changes_position_idx", "zone", "position", unique=True),
    )


SCHEMA = schema(
    "projects",
    owner="ProjectService",
    messages=(
        plans_pb2.Project,
        plans_pb2.Feature,
        plans_pb2.SubFeature,
        plans_pb2.Task,
        agents_pb2.Agent,
        history_pb2.Checkpoint,
        history_pb2.Requirement,
        history_pb2.Metric,
        history_pb2.Session,
        memory_pb2.Episode,
        history_pb2.ContinuePoint,
        memory_pb2.CodeChunk,
    ),
    extra=_agent_changes,
)

PROJECTS = SCHEMA.record(plans_pb2.Project)
FEATURES = SCHEMA.record(plans_pb2.Feature)
SUB_FEATURES = SCHEMA.record(plans_pb2.SubFeature)
TASKS = SCHEMA.record(plans_pb2.Task)
AGENTS = SCHEMA.record(agents_pb2.Agent)
CHECKPOINTS = SCHEMA.record(history_pb2.Checkpoint)
REQUIREMENTS = SCHEMA.record(history_pb2.Requirement)
METRICS = SCHEMA.record(history_pb2.Metric)
SESSIONS = SCHEMA.record(history_pb2.Session)
EPISODES = SCHEMA.record(memory_pb2.Episode)
CONTINUE_POINTS = SCHEMA.record(history_pb2.ContinuePoint)
CODE_CHUNKS = SCHEMA.record(memory_pb2.CodeChunk)
AGENT_CHANGES = SCHEMA.metadata.tables["agent_changes"]
