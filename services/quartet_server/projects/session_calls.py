"""Calls about sessions, and about where work stopped."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.projects.v1 import continue_calls_pb2, history_calls_pb2
from quartet.projects.v1 import history_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.project_errors import TransitionRefused
from quartet_server.projects import fields, schema
from quartet_server.projects.calls import Calls, Context
from quartet_server.projects.unit import Unit
from quartet_server.projects.writers import CONTINUE_POINTS, SESSIONS
from quartet_server.record_errors import RecordNotFound
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session
from quartet_server.records.fields import spellings

SPELLED = spellings(pb.SessionStatus.DESCRIPTOR)
_OPEN = (pb.SESSION_STATUS_ACTIVE, pb.SESSION_STATUS_PAUSED)
_ENDED = (pb.SESSION_STATUS_COMPLETED, pb.SESSION_STATUS_CANCELLED)
_POINTS = schema.CONTINUE_POINTS.table
NEWEST = (_POINTS.c.saved_at.desc(), _POINTS.c.id.desc())


class SessionCalls(Calls):
    """Calls about sessions and continue points."""

    async def StartSession(self, request: history_calls_pb2.StartSessionRequest, context: Context) -> pb.Session:
        """Begin a session."""

        def work(unit: Unit) -> pb.Session:
            given = request.session
            fresh = pb.Session(
                id=given.id, project_id=given.project_id, type=given.type, status=pb.SESSION_STATUS_ACTIVE
            )
            if given.HasField("data"):
                fresh.data.CopyFrom(given.data)
            return SESSIONS.create(unit, fresh, "session")

        return await self.write("StartSession", request, pb.Session, work)

    async def SaveSession(self, request: history_calls_pb2.SaveSessionRequest, context: Context) -> pb.Session:
        """Keep what a session has come to."""

        def work(unit: Unit) -> pb.Session:
            if request.status and request.status not in _OPEN:
                raise FieldInvalid.of("status", "is one of: active, paused; EndSession ends a session")
            status = request.status or rows.fetch(unit.session, schema.SESSIONS, request.id).status
            return _set(unit, request, status, request.etag)

        return await self.write("SaveSession", request, pb.Session, work)

    async def EndSession(self, request: history_calls_pb2.EndSessionRequest, context: Context) -> pb.Session:
        """End a session."""

        def work(unit: Unit) -> pb.Session:
            status = request.status or pb.SESSION_STATUS_COMPLETED
            if status not in _ENDED:
                raise FieldInvalid.of("status", "is one of: completed, cancelled")
            before = rows.fetch(unit.session, schema.SESSIONS, request.id)
            return before if before.status == status else _set(unit, request, status, "")

        return await self.write("EndSession", request, pb.Session, work)

    async def SaveContinuePoint(
        self, request: continue_calls_pb2.SaveContinuePointRequest, context: Context
    ) -> pb.ContinuePoint:
        """Keep where work stopped."""

        def work(unit: Unit) -> pb.ContinuePoint:
            point = pb.ContinuePoint()
            point.CopyFrom(request.continue_point)
            if not point.iteration_count and point.task_id:
                task = rows.find(unit.session, schema.TASKS, rows.check_id(point.task_id, "continue_point.task_id"))
                point.iteration_count = task.qa_iterations if task is not None else 0
            return CONTINUE_POINTS.create(unit, point, "continue_point")

        return await self.write("SaveContinuePoint", request, pb.ContinuePoint, work)

    async def LatestContinuePoint(
        self, request: continue_calls_pb2.LatestContinuePointRequest, context: Context
    ) -> pb.ContinuePoint:
        """Read where work on a task stopped last."""
        fields.needed(request, "task_id")

        def work(session: Session) -> pb.ContinuePoint:
            mine = _POINTS.c.task_id == request.task_id
            found = rows.select(session, schema.CONTINUE_POINTS, mine, order=NEWEST, limit=1)
            if not found:
                raise RecordNotFound(
                    f"task {request.task_id[:64]} has no continue point",
                    database=schema.CONTINUE_POINTS.database,
                    table=schema.CONTINUE_POINTS.name,
                    id=request.task_id[:64],
                )
            return found[0]

        return await self.read(work)

    async def ClearContinuePoints(
        self, request: continue_calls_pb2.ClearContinuePointsRequest, context: Context
    ) -> continue_calls_pb2.ClearContinuePointsResponse:
        """Delete continue points."""

        def work(unit: Unit) -> continue_calls_pb2.ClearContinuePointsResponse:
            where = [
                _POINTS.c[name] == fields.column(schema.CONTINUE_POINTS, name, getattr(request, name))
                for name in ("task_id", "project_id")
                if getattr(request, name)
            ]
            if not where:
                fields.needed(request, "task_id")
            keep = fields.limited(request.keep, 0, name="keep")
            where.insert(0, _POINTS.c.zone == unit.session.zone)
            if keep:
                number = sa.func.row_number().over(partition_by=_POINTS.c.task_id, order_by=NEWEST)
                ranked = sa.select(_POINTS.c.id, number.label("number")).where(*where).subquery()
                where.append(_POINTS.c.id.in_(sa.select(ranked.c.id).where(ranked.c.number > keep)))
            done = unit.session.connection.execute(_POINTS.delete().where(*where))
            return continue_calls_pb2.ClearContinuePointsResponse(cleared=done.rowcount)

        return await self.write("ClearContinuePoints", request, continue_calls_pb2.ClearContinuePointsResponse, work)


def _set(
    unit: Unit,
    request: history_calls_pb2.SaveSessionRequest | history_calls_pb2.EndSessionRequest,
    status: pb.SessionStatus.ValueType,
    etag: str,
) -> pb.Session:
    """Change a session that goes on. Raises RecordNotFound, EtagStale, TransitionRefused."""
    before = rows.fetch(unit.session, schema.SESSIONS, request.id)
    rows.check_etag(schema.SESSIONS, etag, int(before.etag))
    if before.status in _ENDED:
        raise TransitionRefused(
            f"session {before.id} is {SPELLED[before.status]}",
            table="sessions",
            id=before.id,
            status=SPELLED[before.status],
            wanted=SPELLED[status],
        )
    after, names = pb.Session(id=before.id, status=status), ["status"]
    if status in _ENDED:
        after.ended_at.CopyFrom(stamp(unit.session.now))
        names.append("ended_at")
    if request.HasField("data"):
        after.data.CopyFrom(request.data)
        names.append("data")
    return rows.update(unit.session, schema.SESSIONS, after, names)
