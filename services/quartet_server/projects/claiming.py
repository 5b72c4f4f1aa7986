"""Which task an agent gets: the first that is ready. Writes of a zone come one after another, so no two get the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from quartet.projects.v1 import agents_pb2, task_calls_pb2
from quartet.projects.v1 import plans_pb2 as pb

from quartet_server.project_errors import TaskNotReady, TransitionRefused
from quartet_server.projects import fields, graph, schema, tasks
from quartet_server.projects.unit import Unit
from quartet_server.records import rows
from quartet_server.records.contract import Session

OPEN = ("pending", "queued")
_AT_ONCE = 200  # candidates looked at with one statement


def claim(unit: Unit, request: task_calls_pb2.ClaimTaskRequest) -> task_calls_pb2.ClaimTaskResponse:
    """Give a task to an agent.

    Raises:
        FieldInvalid: No agent is named, or neither a task nor a project.
        RecordNotFound: There is no such task, or project.
        TaskNotReady: The named task cannot be claimed.
        TransitionRefused: The agent has ended.
    """
    fields.needed(request, "agent_id")
    agent = rows.find(unit.session, schema.AGENTS, rows.check_id(request.agent_id, "agent_id"))
    if agent is not None and agent.status == agents_pb2.AGENT_STATUS_TERMINATED:
        raise TransitionRefused(
            f"agent {agent.id} has ended", table="agents", id=agent.id, status="terminated", wanted="working"
        )
    if request.task_id:
        task = rows.fetch(unit.session, schema.TASKS, request.task_id)
        if why := refusal(unit.session, task, request):
            raise TaskNotReady(
                f"task {task.id} cannot be claimed: {why}", id=task.id, status=tasks.SPELLED[task.status]
            )
        return task_calls_pb2.ClaimTaskResponse(task=_give(unit, task, request.agent_id))
    fields.needed(request, "project_id")
    waiting = 0
    for ready, id_ in candidates(unit.session, _conditions(request)):
        if ready:
            task = rows.fetch(unit.session, schema.TASKS, id_)
            return task_calls_pb2.ClaimTaskResponse(task=_give(unit, task, request.agent_id))
        waiting += 1
    if not waiting:
        rows.fetch(unit.session, schema.PROJECTS, request.project_id)
    return task_calls_pb2.ClaimTaskResponse(waiting=waiting)


def candidates(session: Session, conditions: Sequence[sa.ColumnElement[bool]]) -> Iterator[tuple[bool, str]]:
    """Yield whether it is ready, and the id, of each open task that is nobody's, in the order in which they are given."""
    columns = schema.TASKS.table.c
    order = (columns.priority, columns.created_at, columns.id)
    chosen = (
        sa.select(*order, columns.depends_on, columns.blocked_by)
        .where(columns.zone == session.zone, columns.status.in_(OPEN), *conditions)
        .where(sa.or_(columns.assigned_agent.is_(None), columns.assigned_agent == ""))
        .order_by(*order)
        .limit(_AT_ONCE)
    )
    some = session.connection.execute(chosen).all()
    while some:
        wanted = {row.id: graph.listed(row.depends_on) for row in some}
        done = completed(session, itertools.chain.from_iterable(wanted.values()))
        for row in some:
            yield not row.blocked_by and done.issuperset(wanted[row.id]), row.id
        if len(some) < _AT_ONCE:
            return
        behind = sa.tuple_(*order) > sa.tuple_(*(sa.literal(value) for value in some[-1][:3]))
        some = session.connection.execute(chosen.where(behind)).all()


def completed(session: Session, ids: Iterable[str]) -> set[str]:
    """Return which of the tasks are completed."""
    table, found = schema.TASKS.table, set[str]()
    named = sorted(set(ids))
    for start in range(0, len(named), 500):
        chosen = sa.select(table.c.id).where(
            table.c.zone == session.zone, table.c.status == "completed", table.c.id.in_(named[start : start + 500])
        )
        found.update(session.connection.scalars(chosen))
    return found


def refusal(session: Session, task: pb.Task, request: task_calls_pb2.ClaimTaskRequest) -> str:
    """Return why a named task cannot be claimed; empty when it can."""
    if request.project_id and request.project_id != task.project_id:
        return f"it is of project {task.project_id}"
    if request.feature_id and request.feature_id != task.feature_id:
        return "it is of another feature"
    if request.type and request.type != task.type:
        return "it is of another type"
    if task.status not in (tasks.PENDING, tasks.QUEUED):
        return f"it is {tasks.SPELLED[task.status]}"
    if task.assigned_agent:
        return f"agent {task.assigned_agent} has it"
    if task.blocked_by:
        return f"task {task.blocked_by} blocks it"
    if lacking := sorted(set(task.depends_on) - completed(session, task.depends_on)):
        return f"it depends on task {lacking[0]}, which is not completed"
    return ""


def _give(unit: Unit, task: pb.Task, agent: str) -> pb.Task:
    return tasks.move(unit, task, tasks.IN_PROGRESS, agent=agent)


def _conditions(request: task_calls_pb2.ClaimTaskRequest) -> list[Any]:
    columns = schema.TASKS.table.c
    found = [columns.project_id == fields.column(schema.TASKS, "project_id", request.project_id)]
    if request.feature_id:
        found.append(columns.feature_id == fields.column(schema.TASKS, "feature_id", request.feature_id))
    if request.type:
        found.append(columns.type == fields.column(schema.TASKS, "type", request.type))
    return found
