"""Tasks: what must hold of one, how its status changes and what follows, which of them are ready, who gets which."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from quartet.projects.v1 import plans_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.project_errors import TransitionRefused
from quartet_server.projects import schema
from quartet_server.projects.unit import Unit
from quartet_server.projects.writing import Writer
from quartet_server.record_errors import ReferenceMissing
from quartet_server.records import rows
from quartet_server.records.codec import MICROSECONDS, micros, stamp
from quartet_server.records.fields import spellings

PENDING, QUEUED = pb.TASK_STATUS_PENDING, pb.TASK_STATUS_QUEUED
IN_PROGRESS, IN_REVIEW = pb.TASK_STATUS_IN_PROGRESS, pb.TASK_STATUS_IN_REVIEW
COMPLETED, FAILED, BLOCKED = pb.TASK_STATUS_COMPLETED, pb.TASK_STATUS_FAILED, pb.TASK_STATUS_BLOCKED

SPELLED: Mapping[int, str] = spellings(pb.TaskStatus.DESCRIPTOR)
"""How each status is stored, in the order in which a task goes through them."""
NEXT: Mapping[int, frozenset[int]] = {
    PENDING: frozenset((QUEUED, IN_PROGRESS, COMPLETED, FAILED, BLOCKED)),
    QUEUED: frozenset((PENDING, IN_PROGRESS, COMPLETED, FAILED, BLOCKED)),
    IN_PROGRESS: frozenset((PENDING, QUEUED, IN_REVIEW, COMPLETED, FAILED, BLOCKED)),
    IN_REVIEW: frozenset((PENDING, IN_PROGRESS, COMPLETED, FAILED, BLOCKED)),
    BLOCKED: frozenset((PENDING, QUEUED, IN_PROGRESS, FAILED)),
    FAILED: frozenset((PENDING, QUEUED, IN_PROGRESS)),
    COMPLETED: frozenset((PENDING, QUEUED, IN_PROGRESS)),
}
"""What a task may become, besides what it is."""
MAX_NOTES = 1000
_MINUTE = 60 * MICROSECONDS
_COUNT = (0, 2**31 - 1)


class TaskWriter(Writer[pb.Task]):
    """Writes tasks: of features of their project, depending on tasks of it, without a cycle."""

    lists = ("tags", "notes", "depends_on")
    bounds = (
        ("priority", *_COUNT),
        ("qa_iterations", *_COUNT),
        ("max_iterations", *_COUNT),
        ("estimated_minutes", *_COUNT),
        ("actual_minutes", *_COUNT),
    )

    def fill(self, unit: Unit, message: pb.Task) -> None:
        """Draw the feature from the sub-feature."""
        if message.sub_feature_id and not message.feature_id:
            part = rows.find(unit.session, schema.SUB_FEATURES, message.sub_feature_id)
            if part is not None:
                message.feature_id = part.feature_id

    def check(self, unit: Unit, after: pb.Task, before: pb.Task | None, names: Collection[str]) -> None:
        """See that the feature is of the project, and the sub-feature of the feature. Raises ReferenceMissing."""
        if "feature_id" not in names and "sub_feature_id" not in names:
            return
        if after.feature_id:
            feature = rows.find(unit.session, schema.FEATURES, after.feature_id)
            if feature is None or feature.project_id != after.project_id:
                raise _foreign("feature", after.feature_id, "project", after.project_id)
        if after.sub_feature_id:
            part = rows.find(unit.session, schema.SUB_FEATURES, after.sub_feature_id)
            if part is None or part.feature_id != after.feature_id:
                raise _foreign("sub-feature", after.sub_feature_id, "feature", after.feature_id)

    def written(self, unit: Unit, before: pb.Task | None, after: pb.Task, names: Collection[str]) -> None:
        """Owe the order of tasks, and the counts of features."""
        if after.depends_on and "depends_on" in names:
            unit.depends(after.id, new=before is None)
        if before is None:
            if after.status == COMPLETED:
                unit.counts(after.feature_id)
        elif (before.feature_id, before.status) != (after.feature_id, after.status):
            unit.counts(before.feature_id)
            unit.counts(after.feature_id)

    def delete(self, unit: Unit, id_: str, etag: str) -> None:
        """Delete a task on which none depends. Raises RecordNotFound, EtagStale, RecordReferenced."""
        task = rows.fetch(unit.session, self.record, id_)
        super().delete(unit, id_, etag)
        unit.gone(id_, task.project_id)
        unit.counts(task.feature_id)


def move(unit: Unit, task: pb.Task, status: int, *, blocked_by: str = "", note: str = "", agent: str = "") -> pb.Task:
    """Change the status of a stored task, with what follows for it, its agent and its feature; return it as it is.

    Raises:
        TransitionRefused: It may not become that.
        FieldInvalid: There is no such status.
    """
    if status not in SPELLED:
        raise FieldInvalid.of("status", f"is one of: {', '.join(SPELLED.values())}")
    if status != task.status and status not in NEXT[task.status]:
        raise TransitionRefused(
            f"task {task.id} is {SPELLED[task.status]} and cannot become {SPELLED[status]}",
            hint=f"it may become: {', '.join(SPELLED[one] for one in sorted(NEXT[task.status]))}",
            table="tasks",
            id=task.id,
            status=SPELLED[task.status],
            wanted=SPELLED[status],
        )
    now, session = unit.session.now, unit.session
    names = ["status"]
    new = pb.Task(id=task.id, status=status)  # type: ignore[arg-type]

    def put(name: str, value: Any) -> None:
        names.append(name)
        if value is None:
            return
        if name.endswith("_at"):
            getattr(new, name).CopyFrom(stamp(value))
        else:
            setattr(new, name, value)

    if status == IN_PROGRESS and not task.HasField("started_at"):
        put("started_at", now)
    if status == COMPLETED and task.status != COMPLETED:
        put("completed_at", now)
        if not task.HasField("actual_minutes") and task.HasField("started_at"):
            put("actual_minutes", min(-(-(now - micros(task.started_at)) // _MINUTE), _COUNT[1]))
    elif status != COMPLETED and task.HasField("completed_at"):
        put("completed_at", None)
    if status == BLOCKED and blocked_by:
        if rows.find(session, schema.TASKS, rows.check_id(blocked_by, "blocked_by")) is None or blocked_by == task.id:
            raise _foreign("blocking task", blocked_by, "project", task.project_id)
        put("blocked_by", blocked_by)
    elif status != BLOCKED and task.HasField("blocked_by"):
        put("blocked_by", None)
    if agent:
        put("assigned_agent", agent)
    elif status in (PENDING, QUEUED) and task.HasField("assigned_agent"):
        put("assigned_agent", None)
    if note:
        names.append("notes")
        new.notes.extend([*task.notes, note][-MAX_NOTES:])
    done = rows.update(session, schema.TASKS, new, names)
    if status == IN_PROGRESS:
        hold(unit, done)
    elif task.status != status:
        release(unit, task, status)
    if task.status != status:
        unit.counts(task.feature_id)
    return done


def hold(unit: Unit, task: pb.Task) -> None:
    """Let the agent of a task be working on it, if the pool has the agent and it has not ended."""
    if not task.assigned_agent:
        return
    table = schema.AGENTS.table
    mine = sa.and_(table.c.id == task.assigned_agent, table.c.status != "terminated")
    values = {"status": "working", "current_task_id": task.id, "last_activity_at": unit.session.now}
    if rows.change(unit.session, schema.AGENTS, mine, values):
        unit.agent(task.assigned_agent)


def release(unit: Unit, task: pb.Task, status: int) -> None:
    """Let the agent of a task that it does not work on any more be idle, and count what it came to."""
    if status == IN_REVIEW or not task.assigned_agent:
        return
    table = schema.AGENTS.table
    values: dict[str, object] = {"last_activity_at": unit.session.now}
    if status == COMPLETED:
        values["tasks_completed"] = table.c.tasks_completed + 1
    if status == FAILED:
        values["tasks_failed"] = table.c.tasks_failed + 1
    mine = sa.and_(table.c.id == task.assigned_agent, table.c.status != "terminated")
    holds = sa.and_(mine, table.c.current_task_id == task.id)
    idle = {"status": "idle", "current_task_id": None}
    changed = rows.change(unit.session, schema.AGENTS, holds, {**values, **idle})
    if not changed and len(values) > 1:
        changed = rows.change(unit.session, schema.AGENTS, mine, values)
    if changed:
        unit.agent(task.assigned_agent)


def unblock(unit: Unit, task: pb.Task) -> list[str]:
    """Make tasks pending that a completed task had blocked; return their ids."""
    table = schema.TASKS.table
    waiting = sa.and_(table.c.project_id == task.project_id, table.c.status == "blocked", table.c.blocked_by == task.id)
    chosen = sa.select(table.c.id).where(table.c.zone == unit.session.zone, waiting).order_by(table.c.id)
    ids = list(unit.session.connection.scalars(chosen))
    if ids:
        values = {"status": "pending", "blocked_by": None, "assigned_agent": None}
        rows.change(unit.session, schema.TASKS, waiting, values)
    return ids


def _foreign(what: str, id_: str, owner: str, of: str) -> ReferenceMissing:
    return ReferenceMissing(
        f"there is no {what} {id_[:64]} of {owner} {of[:64]}", database="projects", table="tasks", id=id_[:64]
    )
