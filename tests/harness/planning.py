"""ProjectService as a test calls it: in a zone of its own, with requests spelled as fields."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from quartet.projects.v1 import agents_pb2, history_pb2, plans_pb2, service_pb2, service_pb2_grpc

_METHODS = service_pb2.DESCRIPTOR.services_by_name["ProjectService"].methods_by_name


class Planning:
    """A client of one zone: `await planning.ClaimTask(agent_id="a")` sends a ClaimTaskRequest."""

    def __init__(self, channel: aio.Channel, zone: str = "") -> None:
        """Call over `channel`, in a zone that nobody else uses."""
        self.zone = zone or f"z{uuid.uuid4().hex}"
        self._channel = channel
        self._stub: Any = service_pb2_grpc.ProjectServiceStub(channel)

    def elsewhere(self) -> Planning:
        """Return a client of another zone."""
        return Planning(self._channel)

    def over(self, channel: aio.Channel) -> Planning:
        """Return a client of the same zone over another channel."""
        return Planning(channel, self.zone)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stub, name)
        request: Any = GetMessageClass(_METHODS[name].input_type)
        metadata = (("quartet-zone", self.zone),)
        return lambda given=None, **said: method(given or request(**said), metadata=metadata, timeout=30)

    async def project(self, id_: str = "p", **said: Any) -> plans_pb2.Project:
        """Create a project."""
        return await self.CreateProject(  # type: ignore[no-any-return]
            project=plans_pb2.Project(
                **{"id": id_, "name": id_, "mode": plans_pb2.PROJECT_MODE_GENESIS, "root_path": "/x", **said}
            )
        )

    async def feature(self, id_: str = "f", project: str = "p", **said: Any) -> plans_pb2.Feature:
        """Create a feature."""
        return await self.CreateFeature(  # type: ignore[no-any-return]
            feature=plans_pb2.Feature(**{"id": id_, "name": id_, "project_id": project, **said})
        )

    async def part(self, id_: str = "s", feature: str = "f", **said: Any) -> plans_pb2.SubFeature:
        """Create a sub-feature."""
        return await self.CreateSubFeature(  # type: ignore[no-any-return]
            sub_feature=plans_pb2.SubFeature(**{"id": id_, "name": id_, "feature_id": feature, **said})
        )

    async def task(self, id_: str = "t", project: str = "p", **said: Any) -> plans_pb2.Task:
        """Create a task."""
        return await self.CreateTask(task=task(id_, project, **said))  # type: ignore[no-any-return]

    async def agent(self, id_: str = "a", **said: Any) -> agents_pb2.Agent:
        """Spawn an agent."""
        return await self.SpawnAgent(  # type: ignore[no-any-return]
            agent=agents_pb2.Agent(**{"id": id_, "type": agents_pb2.AGENT_TYPE_CODER, **said})
        )

    async def metric(self, value: float, project: str = "p", **said: Any) -> history_pb2.Metric:
        """Record a metric."""
        return await self.RecordMetric(  # type: ignore[no-any-return]
            metric=history_pb2.Metric(**{"project_id": project, "type": "token_usage", "value": value, **said})
        )

    async def set_status(self, id_: str, status: str) -> plans_pb2.Task:
        """Set the status of a task by its spelling."""
        number = plans_pb2.TaskStatus.Value(f"TASK_STATUS_{status.upper()}")
        return (await self.SetTaskStatus(id=id_, status=number)).task  # type: ignore[no-any-return]


def task(id_: str = "t", project: str = "p", **said: Any) -> plans_pb2.Task:
    """Return a new task."""
    return plans_pb2.Task(**{"id": id_, "name": id_, "project_id": project, **said})


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    """Return how a call ended."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def bare(message: Message) -> Message:
    """Return a record without what says when, and how often, it was written."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in ("etag", "updated_at"):
        if name in message.DESCRIPTOR.fields_by_name:
            copy.ClearField(name)
    return copy
