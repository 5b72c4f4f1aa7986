"""Calls about tasks: who gets one, how far it is, what comes after what."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.projects.v1 import plans_pb2
from quartet.projects.v1 import task_calls_pb2 as pb

from quartet_server.errors import LimitReached
from quartet_server.project_errors import TransitionRefused
from quartet_server.projects import claiming, counting, fields, graph, schema, tasks
from quartet_server.projects.calls import Calls, Context
from quartet_server.projects.unit import Unit
from quartet_server.records import paging, rows
from quartet_server.records.contract import Session
from quartet_server.records.fields import numbers

MOST_NODES = 10_000
_ESCALATED = "escalated: quality assurance sent it back {} times"
_STATUSES = numbers(plans_pb2.TaskStatus.DESCRIPTOR)
_TABLE = schema.TASKS.table
_ORDER = (_TABLE.c.priority, _TABLE.c.created_at, _TABLE.c.id)


class TaskCalls(Calls):
    """Calls about tasks."""

    async def ClaimTask(self, request: pb.ClaimTaskRequest, context: Context) -> pb.ClaimTaskResponse:
        """Give a task to an agent."""
        return await self.write("ClaimTask", request, pb.ClaimTaskResponse, lambda unit: claiming.claim(unit, request))

    async def SetTaskStatus(self, request: pb.SetTaskStatusRequest, context: Context) -> pb.SetTaskStatusResponse:
        """Change how far a task is."""

        def work(unit: Unit) -> pb.SetTaskStatusResponse:
            task = rows.fetch(unit.session, schema.TASKS, request.id)
            rows.check_etag(schema.TASKS, request.etag, int(task.etag))
            done = tasks.move(unit, task, request.status, blocked_by=request.blocked_by, note=request.note)
            unblocked = tasks.unblock(unit, done) if done.status == tasks.COMPLETED else []
            return pb.SetTaskStatusResponse(task=done, unblocked_task_ids=unblocked)

        return await self.write("SetTaskStatus", request, pb.SetTaskStatusResponse, work)

    async def BumpQaIteration(self, request: pb.BumpQaIterationRequest, context: Context) -> pb.BumpQaIterationResponse:
        """Count that a task was sent back."""
        return await self.write(
            "BumpQaIteration", request, pb.BumpQaIterationResponse, lambda unit: bump(unit, request)
        )

    async def TaskGraph(self, request: pb.TaskGraphRequest, context: Context) -> pb.TaskGraphResponse:
        """Read tasks in an order in which they can be done."""
        fields.needed(request, "project_id")
        return await self.read(lambda session: nodes(session, request))

    async def Board(self, request: pb.BoardRequest, context: Context) -> pb.BoardResponse:
        """Read tasks by status."""
        fields.needed(request, "project_id")
        return await self.read(lambda session: board(session, request))


def bump(unit: Unit, request: pb.BumpQaIterationRequest) -> pb.BumpQaIterationResponse:
    """Count that a task was sent back; at the maximum, block it. Raises RecordNotFound, TransitionRefused."""
    task = rows.fetch(unit.session, schema.TASKS, request.id)
    if task.status not in (tasks.IN_PROGRESS, tasks.IN_REVIEW):
        raise TransitionRefused(
            f"task {task.id} is {tasks.SPELLED[task.status]}: nobody can send it back",
            table="tasks",
            id=task.id,
            status=tasks.SPELLED[task.status],
            wanted="in_progress",
        )
    bumped = plans_pb2.Task(id=task.id, qa_iterations=task.qa_iterations + 1)
    escalated = bumped.qa_iterations >= task.max_iterations
    status = tasks.BLOCKED if escalated else tasks.IN_PROGRESS
    notes = [request.note] if request.note else []
    if escalated:
        notes.append(_ESCALATED.format(bumped.qa_iterations))
    bumped.notes.extend([*task.notes, *notes][-tasks.MAX_NOTES :])
    task = rows.update(unit.session, schema.TASKS, bumped, ("qa_iterations", "notes"))
    return pb.BumpQaIterationResponse(task=tasks.move(unit, task, status), escalated=escalated)


def nodes(session: Session, request: pb.TaskGraphRequest) -> pb.TaskGraphResponse:
    """Return the graph of a project's tasks. Raises RecordNotFound, LimitReached."""
    columns = _TABLE.c
    where = [columns.zone == session.zone, columns.project_id == request.project_id]
    if request.feature_id:
        where.append(columns.feature_id == fields.column(schema.TASKS, "feature_id", request.feature_id))
    chosen = (
        sa.select(
            columns.id,
            columns.name,
            columns.status,
            columns.priority,
            columns.depends_on,
            columns.assigned_agent,
            columns.blocked_by,
        )
        .where(*where)
        .order_by(*_ORDER)
        .limit(MOST_NODES + 1)
    )
    found = session.connection.execute(chosen).all()
    if len(found) > MOST_NODES:
        raise LimitReached(f"there are more than {MOST_NODES} tasks", hint="ask for one feature")
    if not found:
        rows.fetch(session, schema.PROJECTS, request.project_id)
    depends = {row.id: graph.listed(row.depends_on) for row in found}
    place = {row.id: (row.priority, number) for number, row in enumerate(found)}
    order, depth = graph.ordered(depends, place.__getitem__)
    done = claiming.completed(session, (one for many in depends.values() for one in many))
    by_id = {row.id: row for row in found}
    made = pb.TaskGraphResponse()
    for id_ in order:
        row = by_id[id_]
        free = row.status in claiming.OPEN and not row.assigned_agent and not row.blocked_by
        made.nodes.add(
            id=id_,
            name=row.name,
            status=_STATUSES[row.status],
            priority=row.priority,
            depends_on=depends[id_],
            depth=depth[id_],
            ready=free and done.issuperset(depends[id_]),
        )
    if made.ByteSize() > paging.MAX_BYTES:
        raise LimitReached(f"the graph has more than {paging.MAX_BYTES} bytes", hint="ask for one feature")
    return made


def board(session: Session, request: pb.BoardRequest) -> pb.BoardResponse:
    """Return a project's tasks by status. Raises RecordNotFound."""
    columns, size = _TABLE.c, fields.limited(request.column_size, 100, name="column_size")
    equal = fields.equal(schema.TASKS, request, ("project_id", "feature_id", "assigned_agent"))
    where = [columns[name] == value for name, value in equal.items()]
    counts = counting.by_status(session, schema.TASKS, *where)
    if not counts:
        rows.fetch(session, schema.PROJECTS, request.project_id)
    made, room = pb.BoardResponse(), paging.MAX_BYTES
    for number, status in tasks.SPELLED.items():
        column = made.columns.add(status=number, count=counts.get(status, 0))
        if not column.count or room <= 0:
            continue
        for task in rows.select(session, schema.TASKS, *where, columns.status == status, order=_ORDER, limit=size):
            room -= task.ByteSize()
            if room <= 0:
                break
            column.tasks.append(task)
    return made
