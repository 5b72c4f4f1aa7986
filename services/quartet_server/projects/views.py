"""What the pages of a console show, each read at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from quartet.projects.v1 import agents_pb2, plans_pb2
from quartet.projects.v1 import views_pb2 as pb

from quartet_server.projects import checkpoint_calls, counting, fields, metrics, schema, session_calls
from quartet_server.projects.calls import Calls, Context
from quartet_server.records import rows
from quartet_server.records.contract import Session
from quartet_server.records.fields import numbers

_TASKS, _AGENTS, _PROJECTS = schema.TASKS.table, schema.AGENTS.table, schema.PROJECTS.table
_BY_PRIORITY = (_TASKS.c.priority, _TASKS.c.created_at, _TASKS.c.id)
_LATELY = (_AGENTS.c.last_activity_at.desc(), _AGENTS.c.id)
_TASK_STATUS: Mapping[str, Any] = numbers(plans_pb2.TaskStatus.DESCRIPTOR)
_PROJECT_STATUS: Mapping[str, Any] = numbers(plans_pb2.ProjectStatus.DESCRIPTOR)
_AGENT_STATUS: Mapping[str, Any] = numbers(agents_pb2.AgentStatus.DESCRIPTOR)
_SHOWN = ("in_progress", "in_review", "blocked", "failed")
_DONE = ("completed", "failed")
_TASKS_OF_AGENT = 100


class ViewCalls(Calls):
    """Calls that read much of what there is."""

    async def Dashboard(self, request: pb.DashboardRequest, context: Context) -> pb.DashboardResponse:
        """Read everything at a glance."""
        limit = fields.limited(request.limit, 100)
        return await self.read(lambda session: dashboard(session, request.project_id, limit))

    async def AgentOverview(self, request: pb.AgentOverviewRequest, context: Context) -> pb.AgentOverviewResponse:
        """Read agents with what they do and took."""
        limit = fields.limited(request.limit, 100)
        return await self.read(lambda session: overview(session, request.agent_id, limit))

    async def ExecutionView(self, request: pb.ExecutionViewRequest, context: Context) -> pb.ExecutionViewResponse:
        """Read how far the work on a project is."""
        limit = fields.limited(request.limit, 100)
        return await self.read(lambda session: execution(session, request.project_id, limit))


def dashboard(session: Session, project: str, limit: int) -> pb.DashboardResponse:
    """Return everything, or what is of one project. Raises RecordNotFound."""
    if project:
        found = [rows.fetch(session, schema.PROJECTS, project)]
    else:
        order = (_PROJECTS.c.updated_at.desc(), _PROJECTS.c.id)
        found = rows.select(session, schema.PROJECTS, order=order, limit=limit)
    tasks = [_TASKS.c.project_id == project] if project else []
    measured = [schema.METRICS.table.c.project_id == project] if project else []
    projects = [_PROJECTS.c.id == project] if project else []
    agents = rows.select(session, schema.AGENTS, _AGENTS.c.status != "terminated", order=_LATELY, limit=limit)
    made = pb.DashboardResponse(
        tasks_by_status=_tasks(session, *tasks),
        metrics=metrics.aggregate(session, measured, (1,)),
    )
    made.projects.extend(fields.fitting(counting.summaries(session, found), lambda one: 2 * one.ByteSize()))
    made.agents.extend(fields.fitting(agents, lambda one: 4 * one.ByteSize()))
    for text, count in _in_order(counting.by_status(session, schema.PROJECTS, *projects), _PROJECT_STATUS):
        made.projects_by_status.add(status=_PROJECT_STATUS[text], count=count)
    for text, count in _in_order(counting.by_status(session, schema.AGENTS), _AGENT_STATUS):
        made.agents_by_status.add(status=_AGENT_STATUS[text], count=count)
    return made


def overview(session: Session, agent: str, limit: int) -> pb.AgentOverviewResponse:
    """Return one agent, or all that have not ended. Raises RecordNotFound."""
    if agent:
        agents = [rows.fetch(session, schema.AGENTS, agent)]
    else:
        agents = rows.select(session, schema.AGENTS, _AGENTS.c.status != "terminated", order=_LATELY, limit=limit)
    ids = [one.id for one in agents]
    tokens = metrics.tokens_by_agent(session, ids)
    cards = {one.id: pb.AgentCard(agent=one, token_usage=tokens.get(one.id)) for one in agents}
    mine = [_TASKS.c.assigned_agent.in_(ids), _TASKS.c.status.not_in(_DONE)]
    for task in rows.select(session, schema.TASKS, *mine, order=_BY_PRIORITY, limit=10 * _TASKS_OF_AGENT):
        if len(cards[task.assigned_agent].tasks) < _TASKS_OF_AGENT:
            cards[task.assigned_agent].tasks.append(task)
    return pb.AgentOverviewResponse(agents=fields.fitting(cards.values(), pb.AgentCard.ByteSize))


def execution(session: Session, project: str, limit: int) -> pb.ExecutionViewResponse:
    """Return how far the work on a project is. Raises RecordNotFound."""
    made = pb.ExecutionViewResponse(
        project=rows.fetch(session, schema.PROJECTS, project),
        tasks_by_status=_tasks(session, _TASKS.c.project_id == project),
    )
    at_work = sa.case({status: place for place, status in enumerate(_SHOWN)}, value=_TASKS.c.status)
    shown = [_TASKS.c.project_id == project, _TASKS.c.status.in_(_SHOWN)]
    tasks = rows.select(session, schema.TASKS, *shown, order=(at_work, *_BY_PRIORITY), limit=limit)
    made.tasks.extend(fields.fitting(tasks, lambda one: 2 * one.ByteSize()))
    kept = schema.CHECKPOINTS.table
    newest = (kept.c.created_at.desc(), kept.c.id.desc())
    checkpoints = rows.select(session, checkpoint_calls.LISTED, kept.c.project_id == project, order=newest, limit=limit)
    made.checkpoints.extend(fields.fitting(checkpoints, lambda one: 4 * one.ByteSize()))
    points = schema.CONTINUE_POINTS.table
    number = sa.func.row_number().over(partition_by=points.c.task_id, order_by=session_calls.NEWEST)
    mine = sa.and_(points.c.zone == session.zone, points.c.project_id == project)
    ranked = sa.select(points.c.id, number.label("number")).where(mine).subquery()
    last = points.c.id.in_(sa.select(ranked.c.id).where(ranked.c.number == 1))
    found = rows.select(session, schema.CONTINUE_POINTS, last, order=session_calls.NEWEST, limit=limit)
    made.continue_points.extend(fields.fitting(found, lambda one: 4 * one.ByteSize()))
    return made


def _tasks(session: Session, *where: sa.ColumnElement[bool]) -> list[pb.TaskCount]:
    counts = counting.by_status(session, schema.TASKS, *where)
    return [pb.TaskCount(status=_TASK_STATUS[text], count=count) for text, count in _in_order(counts, _TASK_STATUS)]


def _in_order(counts: Mapping[str, int], known: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return counts in the order of the enum, without those that are none."""
    return [(text, counts[text]) for text in known if text in counts]
