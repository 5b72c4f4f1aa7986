"""Calls about projects, features and sub-features that no standard method answers."""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa
from quartet.projects.v1 import feature_calls_pb2, project_calls_pb2
from quartet.projects.v1 import plans_pb2 as pb

from quartet_server.errors import LimitReached
from quartet_server.projects import counting, fields, schema
from quartet_server.projects.calls import SERVICE, Calls, Context
from quartet_server.projects.unit import Unit
from quartet_server.projects.writers import PROJECTS
from quartet_server.records import paging, rows
from quartet_server.records.contract import Session

MOST_TASKS = 5000
"""Most tasks of a tree."""
_NAMES = fields.without(
    schema.PROJECTS, *(name for name in schema.PROJECTS.fields if name not in ("id", "name", "status"))
)
_BY_PRIORITY = (schema.TASKS.table.c.priority, schema.TASKS.table.c.created_at, schema.TASKS.table.c.id)


class PlanCalls(Calls):
    """Calls about what is planned."""

    async def ListProjects(
        self, request: project_calls_pb2.ListProjectsRequest, context: Context
    ) -> project_calls_pb2.ListProjectsResponse:
        """Read a page of projects, with counts."""
        equal = fields.equal(schema.PROJECTS, request, ("status", "mode"))

        def work(session: Session) -> project_calls_pb2.ListProjectsResponse:
            found, token = fields.page(session, schema.PROJECTS, request, equal, SERVICE + "ListProjects")
            return project_calls_pb2.ListProjectsResponse(
                projects=counting.summaries(session, found), next_page_token=token
            )

        return await self.read(work)

    async def ListProjectNames(
        self, request: project_calls_pb2.ListProjectNamesRequest, context: Context
    ) -> project_calls_pb2.ListProjectNamesResponse:
        """Read a page of names."""
        equal = fields.equal(schema.PROJECTS, request, ("status",))

        def work(session: Session) -> project_calls_pb2.ListProjectNamesResponse:
            found, token = paging.listing(
                session,
                _NAMES,
                method=SERVICE + "ListProjectNames",
                equal=equal,
                filter="",
                order_by="",
                page_size=request.page_size,
                page_token=request.page_token,
            )
            names = [project_calls_pb2.ProjectName(id=one.id, name=one.name, status=one.status) for one in found]
            return project_calls_pb2.ListProjectNamesResponse(projects=names, next_page_token=token)

        return await self.read(work)

    async def GetProjectTree(
        self, request: project_calls_pb2.GetProjectTreeRequest, context: Context
    ) -> project_calls_pb2.ProjectTree:
        """Read all of a project's plan."""
        return await self.read(lambda session: tree(session, request))

    async def DeleteProject(
        self, request: project_calls_pb2.DeleteProjectRequest, context: Context
    ) -> project_calls_pb2.DeleteProjectResponse:
        """Delete a project, and its code when that is asked for."""

        def work(unit: Unit) -> project_calls_pb2.DeleteProjectResponse:
            PROJECTS.delete(unit, request.id, request.etag)
            if request.purge_code:
                chunks = schema.CODE_CHUNKS.table
                mine = sa.and_(chunks.c.zone == unit.session.zone, chunks.c.project_id == request.id)
                unit.session.connection.execute(chunks.delete().where(mine))
            return project_calls_pb2.DeleteProjectResponse()

        return await self.write("DeleteProject", request, project_calls_pb2.DeleteProjectResponse, work)

    async def ListFeatures(
        self, request: feature_calls_pb2.ListFeaturesRequest, context: Context
    ) -> feature_calls_pb2.ListFeaturesResponse:
        """Read a page of features, with how far they are."""
        equal = fields.equal(schema.FEATURES, request, ("project_id", "status", "priority"))

        def work(session: Session) -> feature_calls_pb2.ListFeaturesResponse:
            found, token = fields.page(session, schema.FEATURES, request, equal, SERVICE + "ListFeatures")
            return feature_calls_pb2.ListFeaturesResponse(
                features=counting.features(session, found), next_page_token=token
            )

        return await self.read(work)

    async def ListSubFeatures(
        self, request: feature_calls_pb2.ListSubFeaturesRequest, context: Context
    ) -> feature_calls_pb2.ListSubFeaturesResponse:
        """Read a page of sub-features, with counts of their tasks."""
        equal = fields.equal(schema.SUB_FEATURES, request, ("feature_id", "status"))

        def work(session: Session) -> feature_calls_pb2.ListSubFeaturesResponse:
            found, token = fields.page(session, schema.SUB_FEATURES, request, equal, SERVICE + "ListSubFeatures")
            return feature_calls_pb2.ListSubFeaturesResponse(
                sub_features=counting.sub_features(session, found), next_page_token=token
            )

        return await self.read(work)


def tree(session: Session, request: project_calls_pb2.GetProjectTreeRequest) -> project_calls_pb2.ProjectTree:
    """Return a project with everything planned in it. Raises RecordNotFound, LimitReached."""
    made = project_calls_pb2.ProjectTree(project=rows.fetch(session, schema.PROJECTS, request.id))
    features = schema.FEATURES.table
    order = sa.case({"must": 0, "should": 1, "could": 2, "wont": 3}, value=features.c.priority)
    found = rows.select(
        session, schema.FEATURES, features.c.project_id == request.id, order=(order, features.c.name, features.c.id)
    )
    parts = _parts(session, request.id)
    tasks: dict[tuple[str, str], list[pb.Task]] = defaultdict(list)
    if not request.without_tasks:
        for task in _tasks(session, request.id):
            tasks[task.feature_id, task.sub_feature_id].append(task)
    made.tasks.extend(tasks["", ""])
    for feature in found:
        branch = made.features.add(feature=feature, tasks=tasks[feature.id, ""])
        for part in parts[feature.id]:
            branch.sub_features.add(sub_feature=part, tasks=tasks[feature.id, part.id])
    if made.ByteSize() > paging.MAX_BYTES:
        raise LimitReached(
            f"the tree of project {request.id} has more than {paging.MAX_BYTES} bytes", hint="ask for it without_tasks"
        )
    return made


def _parts(session: Session, project: str) -> dict[str, list[pb.SubFeature]]:
    features, table = schema.FEATURES.table, schema.SUB_FEATURES.table
    of_project = sa.select(features.c.id).where(features.c.zone == session.zone, features.c.project_id == project)
    found: dict[str, list[pb.SubFeature]] = defaultdict(list)
    for part in rows.select(
        session, schema.SUB_FEATURES, table.c.feature_id.in_(of_project), order=(table.c.name, table.c.id)
    ):
        found[part.feature_id].append(part)
    return found


def _tasks(session: Session, project: str) -> list[pb.Task]:
    mine = schema.TASKS.table.c.project_id == project
    tasks = rows.select(session, schema.TASKS, mine, order=_BY_PRIORITY, limit=MOST_TASKS + 1)
    if len(tasks) > MOST_TASKS:
        raise LimitReached(f"project {project} has more than {MOST_TASKS} tasks", hint="ask for it without_tasks")
    return tasks
