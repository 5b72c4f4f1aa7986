"""The writers of the twelve tables."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask
from quartet.projects.v1 import agents_pb2, batch_pb2, history_pb2, memory_pb2, plans_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.projects import schema, state
from quartet_server.projects.tasks import TaskWriter
from quartet_server.projects.unit import Unit
from quartet_server.projects.writing import Writer
from quartet_server.record_errors import ReferenceMissing
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.drafts import within

_COUNT = (0, 2**31 - 1)


class ProjectWriter(Writer[plans_pb2.Project]):
    """Writes projects."""

    def change(self, unit: Unit, before: plans_pb2.Project, message: plans_pb2.Project, names: list[str]) -> None:
        """Say when a project was completed, and take that back when it goes on."""
        if "status" not in names or "completed_at" in names:
            return
        completed = message.status == plans_pb2.PROJECT_STATUS_COMPLETED
        if completed and not before.HasField("completed_at"):
            message.completed_at.CopyFrom(stamp(unit.session.now))
            names.append("completed_at")
        elif not completed and before.HasField("completed_at"):
            message.ClearField("completed_at")
            names.append("completed_at")

    def fill(self, unit: Unit, message: plans_pb2.Project) -> None:
        """Say when a project was completed that is created so."""
        if message.status == plans_pb2.PROJECT_STATUS_COMPLETED and not message.HasField("completed_at"):
            message.completed_at.CopyFrom(stamp(unit.session.now))


class FeatureWriter(Writer[plans_pb2.Feature]):
    """Writes features."""

    bounds = (("estimated_tasks", *_COUNT),)


class AgentWriter(Writer[agents_pb2.Agent]):
    """Writes agents, and gives each change a position."""

    now = ("spawned_at", "last_activity_at")
    lists = ("tools",)
    bounds = (
        ("temperature", 0, math.inf),
        ("max_tokens", *_COUNT),
        ("tokens_used", 0, 2**62),
        ("tasks_completed", 0, 2**62),
        ("tasks_failed", 0, 2**62),
    )

    def written(
        self, unit: Unit, before: agents_pb2.Agent | None, after: agents_pb2.Agent, names: Collection[str]
    ) -> None:
        """Tell those who watch."""
        unit.agent(after.id)

    def delete(self, unit: Unit, id_: str, etag: str) -> None:
        """Delete an agent, and tell those who watch."""
        super().delete(unit, id_, etag)
        unit.agent(id_, deleted=True)


class CheckpointWriter(Writer[history_pb2.Checkpoint]):
    """Writes checkpoints, whose states may be longer than a text column of the API."""

    def create(self, unit: Unit, given: history_pb2.Checkpoint, path: str) -> history_pb2.Checkpoint:
        """Keep the state that is given, or the project's own; the answer has none."""
        with within(path):
            rows.fetch(unit.session, schema.PROJECTS, rows.check_id(given.project_id, "project_id"))
        text = given.state or state.capture(unit.session, given.project_id)
        if given.state:
            state.parse(given.state)
        bare = history_pb2.Checkpoint()
        bare.CopyFrom(given)
        bare.ClearField("state")
        made = super().create(unit, bare, path)
        table = schema.CHECKPOINTS.table
        unit.session.connection.execute(
            table.update().where(table.c.zone == unit.session.zone, table.c.id == made.id).values(state=text)
        )
        return made

    def update(self, unit: Unit, given: history_pb2.Checkpoint, mask: FieldMask, path: str) -> history_pb2.Checkpoint:
        """Change what a checkpoint is called; the answer has no state."""
        bare = history_pb2.Checkpoint()
        bare.CopyFrom(given)
        bare.ClearField("state")
        done = super().update(unit, bare, mask, path)
        done.ClearField("state")
        return done


class RequirementWriter(Writer[history_pb2.Requirement]):
    """Writes requirements, which are linked to features of their project only."""

    bounds = (("confidence", 0, 1),)
    lists = ("user_stories", "acceptance_criteria", "linked_features", "tags")

    def check(
        self,
        unit: Unit,
        after: history_pb2.Requirement,
        before: history_pb2.Requirement | None,
        names: Collection[str],
    ) -> None:
        """See that the features are there. Raises ReferenceMissing."""
        known = set(before.linked_features) if before is not None else set()
        wanted = [one for one in after.linked_features if one not in known]
        if "linked_features" not in names or not wanted:
            return
        table = schema.FEATURES.table
        chosen = sa.select(table.c.id).where(
            table.c.zone == unit.session.zone, table.c.project_id == after.project_id, table.c.id.in_(wanted)
        )
        there = set(unit.session.connection.scalars(chosen))
        for one in wanted:
            if one not in there:
                raise ReferenceMissing(
                    f"project {after.project_id[:64]} has no feature {one[:64]}",
                    database=schema.FEATURES.database,
                    table=schema.FEATURES.name,
                    id=one[:64],
                )


class MetricWriter(Writer[history_pb2.Metric]):
    """Writes measurements."""

    now = ("timestamp",)


class SessionWriter(Writer[history_pb2.Session]):
    """Writes sessions."""

    now = ("started_at",)


class ContinuePointWriter(Writer[history_pb2.ContinuePoint]):
    """Writes continue points."""

    now = ("saved_at",)
    lists = ("next_steps",)
    bounds = (("line", 1, 2**31 - 1), ("iteration_count", *_COUNT))


class EpisodeWriter(Writer[memory_pb2.Episode]):
    """Writes episodes."""

    bounds = (("importance", -math.inf, math.inf), ("access_count", 0, 2**62))


class CodeChunkWriter(Writer[memory_pb2.CodeChunk]):
    """Writes chunks of code."""

    now = ("indexed_at",)
    lists = ("symbols",)
    bounds = (("start_line", *_COUNT), ("end_line", *_COUNT))

    def fill(self, unit: Unit, message: memory_pb2.CodeChunk) -> None:
        """Draw the hash of the content."""
        if not message.hash:
            message.hash = hashlib.sha256(message.content.encode()).hexdigest()

    def check(
        self, unit: Unit, after: memory_pb2.CodeChunk, before: memory_pb2.CodeChunk | None, names: Collection[str]
    ) -> None:
        """See that it does not end before it begins. Raises FieldInvalid."""
        if after.end_line < after.start_line:
            raise FieldInvalid.of("end_line", "is before start_line")


PROJECTS = ProjectWriter(schema.PROJECTS)
FEATURES = FeatureWriter(schema.FEATURES)
SUB_FEATURES: Writer[plans_pb2.SubFeature] = Writer(schema.SUB_FEATURES)
TASKS = TaskWriter(schema.TASKS)
AGENTS = AgentWriter(schema.AGENTS)
CHECKPOINTS = CheckpointWriter(schema.CHECKPOINTS)
REQUIREMENTS = RequirementWriter(schema.REQUIREMENTS)
METRICS = MetricWriter(schema.METRICS)
SESSIONS = SessionWriter(schema.SESSIONS)
EPISODES = EpisodeWriter(schema.EPISODES)
CONTINUE_POINTS = ContinuePointWriter(schema.CONTINUE_POINTS)
CODE_CHUNKS = CodeChunkWriter(schema.CODE_CHUNKS)

BY_TABLE: Mapping[int, Writer[Any]] = {
    batch_pb2.TABLE_PROJECTS: PROJECTS,
    batch_pb2.TABLE_FEATURES: FEATURES,
    batch_pb2.TABLE_SUB_FEATURES: SUB_FEATURES,
    batch_pb2.TABLE_TASKS: TASKS,
    batch_pb2.TABLE_AGENTS: AGENTS,
    batch_pb2.TABLE_CHECKPOINTS: CHECKPOINTS,
    batch_pb2.TABLE_REQUIREMENTS: REQUIREMENTS,
    batch_pb2.TABLE_METRICS: METRICS,
    batch_pb2.TABLE_SESSIONS: SESSIONS,
    batch_pb2.TABLE_EPISODES: EPISODES,
    batch_pb2.TABLE_CONTINUE_POINTS: CONTINUE_POINTS,
    batch_pb2.TABLE_CODE_CHUNKS: CODE_CHUNKS,
}
"""By the number of its table in the API, which is that of its field in AnyRecord, too."""
