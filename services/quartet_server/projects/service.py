"""ProjectService: projects, tasks, agents and memory over gRPC."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from grpc import aio
from quartet.projects.v1 import service_pb2, service_pb2_grpc

from quartet_server.domain import Resources
from quartet_server.projects import standard
from quartet_server.projects.agent_calls import AgentCalls
from quartet_server.projects.batch import BatchCalls
from quartet_server.projects.calls import Calls
from quartet_server.projects.checkpoint_calls import CheckpointCalls
from quartet_server.projects.code_calls import CodeCalls
from quartet_server.projects.measure_calls import MeasureCalls
from quartet_server.projects.memory_calls import MemoryCalls
from quartet_server.projects.plan_calls import PlanCalls
from quartet_server.projects.schema import SCHEMA
from quartet_server.projects.session_calls import SessionCalls
from quartet_server.projects.task_calls import TaskCalls
from quartet_server.projects.views import ViewCalls
from quartet_server.records.contract import Database
from quartet_server.records.standard import servicer

CALLS: tuple[type[Calls], ...] = (
    PlanCalls,
    TaskCalls,
    AgentCalls,
    CheckpointCalls,
    SessionCalls,
    MeasureCalls,
    MemoryCalls,
    CodeCalls,
    BatchCalls,
    ViewCalls,
)
"""What is written by hand; Get, List and BatchGet are the engine's where they are not among it."""


async def start(resources: Resources) -> ProjectService:
    """Serve the node's database `projects`."""
    assert resources.records is not None, "a node with this service opens its database"
    return ProjectService(resources.records.database(SCHEMA.database))


class ProjectService:
    """Serves `quartet.projects.v1.ProjectService` from a database; it remembers nothing itself."""

    names = (service_pb2.DESCRIPTOR.services_by_name["ProjectService"].full_name,)

    def __init__(self, database: Database) -> None:
        """Serve from `database`."""
        methods: dict[str, Any] = dict(standard.methods(Calls(database)))
        for kind in CALLS:
            calls = kind(database)
            methods |= {name: getattr(calls, name) for name in dir(kind) if name[0].isupper()}
        base: Any = service_pb2_grpc.ProjectServiceServicer  # abstract, as the stubs see it
        self._servicer = servicer(base, database, SCHEMA, SimpleNamespace(**methods))

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        service_pb2_grpc.add_ProjectServiceServicer_to_server(self._servicer, server)

    async def stop(self) -> None:
        """Do nothing: no work goes on in the background."""
