"""The synchronous client."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from quartet._agents import Agents
from quartet._cluster import Cluster
from quartet._events import Events
from quartet._files import Files
from quartet._maintenance import Maintenance
from quartet._memory import MEMORY, MemoryNode
from quartet._mounts import Mounts
from quartet._objects import Objects
from quartet._ops import Ops
from quartet._options import TLS, Options, endpoints_of
from quartet._parsed import Parsed
from quartet._projects import Projects
from quartet._settings import Settings
from quartet._snapshots import Snapshots
from quartet._transport import Transport
from quartet._versions import Versions
from quartet._workspaces import Workspaces


class Client:
    """A connection to a Quartet cluster.

    **Usage**

        with Client("127.0.0.1:7400") as client:
            client.files.mkdir("/docs")
            for entry in client.files.list("/"):
                print(entry.path)

    `Client(":memory:")` starts a node inside this process, which ends with the client and keeps nothing.

    Attributes:
        files: Directories, files and their attributes.
        objects: Blobs by their digest.
        settings: Settings and feature flags.
        snapshots: Directories as they were.
        cluster: Nodes, leadership and zones.
        maintenance: Collection, checks, and what takes how much room.
        events: The ledger of what came in, went out or was seen.
        versions: What files were before.
        workspaces: Directories that have a name.
        mounts: Stores of blobs at directories.
        ops: Databases of records, as operators see them.
        parsed: What parsers made of files, for a while.
        agents: Sessions, turns, queues and artifacts of agents.
        projects: Projects, tasks, agents and what was learnt.
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
        """Prepare; connections are made when they are needed.

        Args:
            endpoints: HOST:PORT of nodes, a sequence or text with commas; without them QUARTET_CLIENT_ENDPOINTS, or
                127.0.0.1:7400. A client stays with one node and goes to the next when it fails.
            zone: The zone to act in; empty lets the server choose.
            principal: Whom to act for, which a caller without a certificate, and the holder of one for every zone, may say;
                empty for whom the certificate names.
            tls: How to speak TLS; without it QUARTET_CLIENT_CA and its kin, or plaintext.
            timeout: Seconds for a call, repetitions included.
            connect_timeout: Seconds to look for a node that takes connections.
            channel_options: Further gRPC channel options.

        Raises:
            ConfigurationError: No endpoint, or a certificate file that cannot be read.
        """
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
            self._transport = Transport(options)
        except BaseException:
            if self._memory is not None:
                self._memory.close()
            raise
        self.files = Files(self._transport)
        self.objects = Objects(self._transport)
        self.settings = Settings(self._transport)
        self.snapshots = Snapshots(self._transport)
        self.cluster = Cluster(self._transport)
        self.maintenance = Maintenance(self._transport)
        self.events = Events(self._transport)
        self.versions = Versions(self._transport)
        self.workspaces = Workspaces(self._transport)
        self.mounts = Mounts(self._transport)
        self.ops = Ops(self._transport)
        self.parsed = Parsed(self._transport)
        self.agents = Agents(self._transport)
        self.projects = Projects(self._transport)

    def close(self) -> None:
        """Close the connections, and end the node of a `:memory:` client."""
        self._transport.close()
        if self._memory is not None:
            self._memory.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
