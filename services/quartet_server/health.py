"""grpc.health.v1 for every service of the port, and the list of names that reflection shows."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

HEALTH = str(health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
REFLECTION = str(reflection.SERVICE_NAME)

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """What grpc.health.v1 says about each service: all of them serve while the node is ready, none otherwise."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the full names of the services whose health depends on the node's readiness."""
        self._names = ("", *names)
        self._servicer = HealthServicer()
        self._serving: bool | None = None

    def add_to(self, server: aio.Server) -> None:
        """Register the health service and reflection over everything, themselves included."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        names = sorted({*self._names[1:], HEALTH, REFLECTION})
        reflection.enable_server_reflection(names, server)

    async def set(self, serving: bool) -> None:
        """Tell the watchers, when it changed."""
        if serving == self._serving:
            return
        self._serving = serving
        for name in self._names:
            await self._servicer.set(name, _SERVING if serving else _NOT_SERVING)

    async def shut_down(self) -> None:
        """Say NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()
