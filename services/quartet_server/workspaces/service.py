"""WorkspaceService: registrations of directories over gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.workspaces.v1 import workspaces_pb2, workspaces_pb2_grpc
from quartet.workspaces.v1 import workspaces_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.errors import EtagStale, FieldInvalid, FileNotFound, QuartetError, WorkspaceExists
from quartet_server.files.places import Places, claim, enter, principal
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.times import timestamps
from quartet_server.workspaces import document, listing, records
from quartet_server.workspaces.loading import Loading
from quartet_server.workspaces.records import Declaration
from quartet_server.workspaces.registry import Change, Registry
from raftmeta.metastore import Metastore

Context = aio.ServicerContext[Any, Any]
CHANGEABLE = ("kind", "labels", "description", "path")
"""Fields that Update takes."""


async def start(resources: Resources) -> WorkspaceService:
    """Serve registrations from the node's Metastore."""
    return WorkspaceService(resources.metastore, timestamps(resources.clock))


class WorkspaceService(workspaces_pb2_grpc.WorkspaceServiceServicer):
    """Serves `quartet.workspaces.v1.WorkspaceService` from a Metastore; it remembers nothing itself."""

    names = (workspaces_pb2.DESCRIPTOR.services_by_name["WorkspaceService"].full_name,)

    def __init__(self, store: Metastore, now: Callable[[], Timestamp]) -> None:
        """Keep registrations in `store`, beside the tree; `now` tells the time for records."""
        self._store = store
        self._registry = Registry(Places(store, now))

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        workspaces_pb2_grpc.add_WorkspaceServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Do nothing: no work goes on in the background."""

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.Workspace:
        """Give a directory a name."""
        zone = enter(context)
        wanted = Declaration(
            name=request.name,
            path=request.path,
            kind=request.kind or records.WORKSPACE,
            labels=dict(request.labels),
            description=request.description,
            created_by=request.created_by or principal(),
            create=request.create,
        )
        wanted.check()
        claimed = claim(zone, "Register", request, request.request_id)
        places = self._registry.places
        await places.ensure(zone)
        if wanted.create:
            with contextlib.suppress(QuartetError):  # what else is wrong is found below, unless this is a repetition
                await self._missing(zone, wanted, request.if_match)

        async def build(snapshot: Snapshot) -> Plan[pb.Workspace]:
            return _plan(request.name, await self._registered(zone, snapshot, wanted, request.if_match))

        return _at(*await places.mutator.run(pb.Workspace, build, claimed))

    async def Unregister(self, request: pb.UnregisterRequest, context: Context) -> pb.UnregisterResponse:
        """Forget a registration."""
        zone = enter(context)
        name = records.check_name(request.name)

        async def build(snapshot: Snapshot) -> Plan[pb.UnregisterResponse]:
            return await self._registry.forgotten(zone, snapshot, name, request.if_match)

        claimed = claim(zone, "Unregister", request, request.request_id)
        answer, revision = await self._registry.places.mutator.run(pb.UnregisterResponse, build, claimed)
        answer.revision = revision
        return answer

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.Workspace:
        """Read a registration."""
        zone = enter(context)
        if bool(request.name) == bool(request.path):
            raise FieldInvalid.of("name", "either a name or a path says which one is meant")
        snapshot = Snapshot(self._store, serializable=request.serializable)
        if request.name:
            found = await self._registry.demand(zone, snapshot, records.check_name(request.name))
        else:
            found = await self._registry.at(zone, snapshot, request.path)
        answer = records.told(found.name, found.record, found.path, found.kv.mod_revision)
        answer.revision = snapshot.revision
        return answer

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        """Read a page of registrations."""
        zone = enter(context)
        snapshot = Snapshot(self._store, serializable=request.serializable)
        return await listing.page(self._registry, zone, snapshot, request)

    async def Update(self, request: pb.UpdateRequest, context: Context) -> pb.Workspace:
        """Change a registration."""
        zone, wanted = enter(context), request.workspace
        name = records.check_name(wanted.name, "workspace.name")
        fields = set(request.update_mask.paths)
        if not fields or not fields.issubset(CHANGEABLE):
            raise FieldInvalid.of("update_mask", f"names at least one of {', '.join(CHANGEABLE)}, and nothing else")
        if "kind" in fields:
            records.check_kind(wanted.kind, "workspace.kind")
        records.check_labels(wanted.labels, "workspace.labels")
        records.check_text(wanted.description, "workspace.description", records.LONGEST_DESCRIPTION)

        async def build(snapshot: Snapshot) -> Plan[pb.Workspace]:
            found = await self._registry.demand(zone, snapshot, name)
            found.require(request.if_match)
            return _plan(name, await self._registry.updated(zone, snapshot, wanted, fields, found))

        claimed = claim(zone, "Update", request, request.request_id)
        return _at(*await self._registry.places.mutator.run(pb.Workspace, build, claimed))

    async def LoadConfig(self, request: pb.LoadConfigRequest, context: Context) -> pb.LoadConfigResponse:
        """Register what a document declares."""
        zone = enter(context)
        declared = document.parse(request.document, request.format)
        claimed = claim(zone, "LoadConfig", request, request.request_id)
        await self._registry.places.ensure(zone)
        return await Loading(self._store, self._registry, zone, request.dry_run, claimed).run(declared)

    async def _registered(self, zone: str, snapshot: Snapshot, wanted: Declaration, if_match: str) -> Change:
        """Plan a registration that is new, or replaces the one with an etag. Raises WorkspaceExists, EtagStale."""
        before = await self._registry.find(zone, snapshot, wanted.name)
        if before is None and if_match:
            raise EtagStale(f"nothing is registered as {wanted.name}", etag=if_match, current="")
        if before is not None:
            if not if_match:
                raise WorkspaceExists(f"{wanted.name} is registered already", name=wanted.name, path=before.path or "")
            before.require(if_match)
        return await self._registry.declared(zone, snapshot, wanted, before)

    async def _missing(self, zone: str, wanted: Declaration, if_match: str) -> None:
        """Make the directory if it is all that a registration lacks. Raises what else it lacks."""
        try:
            await self._registered(zone, Snapshot(self._store), wanted, if_match)
        except FileNotFound:
            await self._registry.places.make(zone, wanted.path)


def _plan(name: str, change: Change) -> Plan[pb.Workspace]:
    return Plan(records.told(name, change.record, change.path), change.compares, change.operations)


def _at(workspace: pb.Workspace, revision: int) -> pb.Workspace:
    """Say at which revision it was written; that is its etag."""
    workspace.etag, workspace.revision = str(revision), revision
    return workspace
