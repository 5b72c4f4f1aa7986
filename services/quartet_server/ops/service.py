"""OpsService: the databases of records as operators see them, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from importlib import metadata
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.ops.v1 import ops_pb2, ops_pb2_grpc
from quartet.ops.v1 import ops_pb2 as pb

from quartet_server.catalog import BACKFILLS, REFERENCES
from quartet_server.domain import Resources
from quartet_server.errors import FieldInvalid
from quartet_server.meta.operators import demand_operator
from quartet_server.meta.times import timestamps
from quartet_server.ops import describing, filling, health, referring
from quartet_server.ops.copying import Copying
from quartet_server.ops.staging import Staging
from quartet_server.placement_errors import BackupRefused, DatabaseNotFound
from quartet_server.records.contract import Databases, Dialect
from quartet_server.records.crossing import Backfill, Reference
from quartet_server.records.engine import FOLDER, OpenDatabases
from quartet_server.rpc import current_zone

Context = aio.ServicerContext[Any, Any]
PIECE = 1 << 20
"""Most bytes of a file in one message."""


async def start(resources: Resources) -> OpsService:
    """Look after the databases of this node."""
    assert resources.records is not None, "the composition root opens databases when this service is on"
    assert resources.opened is not None
    config, opened = resources.config, resources.opened
    version = metadata.version("quartet")
    return OpsService(
        resources.records,
        opened,
        Copying(opened, config.serve.data_dir / FOLDER, config.serve.name, version, resources.clock),
        config.serve.data_dir,
        resources.disk,
        node=config.serve.name,
        version=version,
        now=timestamps(resources.clock),
    )


class OpsService(ops_pb2_grpc.OpsServiceServicer):
    """Serves `quartet.ops.v1.OpsService`."""

    names = (ops_pb2.DESCRIPTOR.services_by_name["OpsService"].full_name,)

    def __init__(
        self,
        databases: Databases,
        opened: OpenDatabases,
        copying: Copying,
        data_dir: Path,
        disk: bytes,
        *,
        node: str,
        version: str,
        now: Callable[[], Timestamp],
        references: Sequence[Reference] = REFERENCES,
        jobs: Sequence[Backfill] = BACKFILLS,
    ) -> None:
        """Look after `opened`, whose rows are read and written through `databases`.

        Args:
            databases: What services use.
            opened: The same, as the node opened them.
            copying: Makes copies of them.
            data_dir: Where a restored backup waits for the next start.
            disk: Id of the disk they are on.
            node: This node's name.
            version: Version of the software.
            now: The time.
            references: What crosses databases.
            jobs: What can be run over all rows.
        """
        self._databases = databases
        self._opened = opened
        self._copying = copying
        self._data_dir = data_dir
        self._disk = disk
        self._node = node
        self._version = version
        self._now = now
        self._references = references
        self._jobs = jobs
        self._restoring = False

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        ops_pb2_grpc.add_OpsServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Nothing runs in the background."""

    async def Ping(self, request: pb.PingRequest, context: Context) -> pb.PingResponse:
        """Answer."""
        return pb.PingResponse(node=self._node, version=self._version, now_time=self._now())

    async def Health(self, request: pb.HealthRequest, context: Context) -> pb.HealthResponse:
        """Tell how databases are."""
        demand_operator(context, "the health of databases")
        found = [await health.of(self._opened, name) for name in self._named(request.database)]
        return pb.HealthResponse(healthy=all(one.healthy for one in found), databases=found)

    async def DescribeSchema(self, request: pb.DescribeSchemaRequest, context: Context) -> pb.DescribeSchemaResponse:
        """Tell what is in databases."""
        demand_operator(context, "the schema of databases")
        answer, zone = pb.DescribeSchemaResponse(), current_zone()
        for name in self._named(request.database):
            schema, database = self._opened.schemas[name], self._databases.database(name)
            told = describing.described(schema, database.dialect)
            if not request.skip_rows:
                await describing.count(told, schema, database, zone)
            answer.databases.append(told)
        return answer

    async def CheckReferences(
        self, request: pb.CheckReferencesRequest, context: Context
    ) -> AsyncIterator[pb.CheckReferencesResponse]:
        """Look for rows that name what is not there."""
        demand_operator(context, "checking references")
        schemas = dict(self._opened.schemas)
        async for told in referring.dangling(self._databases, schemas, self._references, current_zone()):
            yield told

    async def Backup(self, request: pb.BackupRequest, context: Context) -> AsyncIterator[pb.BackupResponse]:
        """Stream a copy of all databases."""
        demand_operator(context, "a backup")
        before = ""
        async with aclosing(self._copying.copies(self._disk)) as pieces:
            async for name, piece in pieces:
                yield pb.BackupResponse(file=name if name != before else "", data=piece)
                before = name

    async def Restore(self, request_iterator: AsyncIterator[pb.RestoreRequest], context: Context) -> pb.RestoreResponse:
        """Take a backup for the next start."""
        demand_operator(context, "restoring a backup")
        if any(self._opened.database(name).dialect is not Dialect.SQLITE for name in self._opened.names):
            raise BackupRefused("the databases are PostgreSQL's", hint="pg_restore, which knows how to fill them")
        if self._restoring:
            raise BackupRefused("another restore is under way", hint="try again when it is done")
        self._restoring = True
        staging = None
        try:
            name = ""
            async for request in request_iterator:
                if staging is None:
                    staging = await asyncio.to_thread(Staging, self._data_dir)
                if len(request.data) > PIECE:
                    raise FieldInvalid.of("data", f"at most {PIECE} bytes at once")
                name = request.file or name
                await asyncio.to_thread(staging.take, name, request.data)
            if staging is None:
                raise FieldInvalid.of("file", "nothing was sent")
            manifest = await asyncio.to_thread(staging.finish, self._opened.names)
        finally:
            self._restoring = False
            if staging is not None:
                await asyncio.to_thread(staging.close)
        made = Timestamp()
        made.FromMicroseconds(round(manifest.time * 1_000_000))
        return pb.RestoreResponse(databases=[one.database for one in manifest.databases], backup_time=made)

    async def ListBackfills(self, request: pb.ListBackfillsRequest, context: Context) -> pb.ListBackfillsResponse:
        """Tell which jobs there are."""
        demand_operator(context, "jobs over all rows")
        return pb.ListBackfillsResponse(
            jobs=[
                pb.BackfillJob(name=one.name, description=one.description)
                for one in sorted(self._jobs, key=lambda one: one.name)
            ]
        )

    async def Backfill(self, request: pb.BackfillRequest, context: Context) -> AsyncIterator[pb.BackfillResponse]:
        """Run a job."""
        demand_operator(context, "a job over all rows")
        async for told in filling.filled(self._databases, self._jobs, current_zone(), request):
            yield told

    def _named(self, database: str) -> list[str]:
        """Return the names of the databases that a request means. Raises DatabaseNotFound."""
        if not database:
            return sorted(self._opened.names)
        if database not in self._opened.names:
            raise DatabaseNotFound(
                f"this node has no database {database[:100]!r}; it has {', '.join(sorted(self._opened.names))}",
                database=database[:100],
            )
        return [database]
