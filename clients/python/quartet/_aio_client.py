"""The asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from quartet._aio_agents import AsyncAgents
from quartet._aio_cluster import AsyncCluster
from quartet._aio_events import AsyncEvents
from quartet._aio_files import AsyncFiles
from quartet._aio_maintenance import AsyncMaintenance
from quartet._aio_mounts import AsyncMounts
from quartet._aio_objects import AsyncObjects
from quartet._aio_ops import AsyncOps
from quartet._aio_parsed import AsyncParsed
from quartet._aio_projects import AsyncProjects
from quartet._aio_settings import AsyncSettings
from quartet._aio_snapshots import AsyncSnapshots
from quartet._aio_transport import AsyncTransport
from quartet._aio_versions import AsyncVersions
from quartet._aio_workspaces import AsyncWorkspaces
from quartet._memory import MEMORY, MemoryNode
from quartet._options import TLS, Options, endpoints_of


class AsyncClient:
    """A connection to a Quartet cluster, for one event loop.

    **Usage**

        async with AsyncClient("127.0.0.1:7400") as client:
            await client.files.mkdir("/docs")
            async for entry in client.files.list("/"):
                print(entry.path)

    Arguments, attributes and errors are those of `quartet.Client`.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        *,
        zone: str = "",
        principal: str = "",
        tls: TLS | None = None,
        timeout: float = 10.0,
        connect_timeout: float = 3.0,
        channel_options: Sequence[tuple[str, int | str]] = (),
    ) -> None:
        """Prepare; see `quartet.Client`. A `:memory:` node is started here and blocks for a moment."""
        self._memory = MemoryNode() if endpoints == MEMORY else None
        try:
            options = Options(
                endpoints=(self._memory.address,) if self._memory else endpoints_of(endpoints),
                zone=zone,
                principal=principal,
                tls=None if self._memory else tls or TLS.from_environment(),
                timeout=timeout,
                connect_timeout=connect_timeout,
                channel=tuple(channel_options),
            )
        except BaseException:
            if self._memory is not None:
                self._memory.close()
            raise
        self._transport = AsyncTransport(options)
        self.files = AsyncFiles(self._transport)
        self.objects = AsyncObjects(self._transport)
        self.settings = AsyncSettings(self._transport)
        self.snapshots = AsyncSnapshots(self._transport)
        self.cluster = AsyncCluster(self._transport)
        self.maintenance = AsyncMaintenance(self._transport)
        self.events = AsyncEvents(self._transport)
        self.versions = AsyncVersions(self._transport)
        self.workspaces = AsyncWorkspaces(self._transport)
        self.mounts = AsyncMounts(self._transport)
        self.ops = AsyncOps(self._transport)
        self.parsed = AsyncParsed(self._transport)
        self.agents = AsyncAgents(self._transport)
        self.projects = AsyncProjects(self._transport)

    async def close(self) -> None:
        """Close the connections, and end the node of a `:memory:` client."""
        await self._transport.close()
        if self._memory is not None:
            await asyncio.to_thread(self._memory.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
