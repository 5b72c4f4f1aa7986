"""Every way to have a Metastore, started on demand and kept for the session."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from harness.etcd import EtcdCluster
from harness.ports import free_ports
from harness.raftmeta import RaftmetaCluster
from raftmeta.config import NodeConfig
from raftmeta.drivers.remote import RemoteMetastore
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from raftmeta.node import Node

NAMES = ("etcd", "etcd-prefix", "embedded", "three-0", "three-1", "three-2", "raftmeta", "raftmeta-prefix")


async def start_nodes(directory: Path, size: int) -> list[Node]:
    """Start `size` members in this process, below `directory`; they have a leader when this returns."""
    import asyncio

    from raftmeta.node import Node

    ports = free_ports(size)
    peers = {f"n{i}": f"127.0.0.1:{port}" for i, port in enumerate(ports)} if size > 1 else {}
    configs = [
        NodeConfig(
            data_dir=directory / f"n{i}",
            name=f"n{i}",
            listen_peer=peers.get(f"n{i}", ""),
            advertise_client=f"127.0.0.1:{10000 + i}",
            initial_cluster=peers,
        )
        for i in range(size)
    ]
    nodes = list(await asyncio.gather(*(Node.start(config) for config in configs)))
    await asyncio.gather(*(node.ready(20.0) for node in nodes))
    return nodes


class Stores:
    """Starts what `get` asks for; everything ends with the context."""

    def __init__(self, directory: Path) -> None:
        """Keep data below `directory`."""
        self._directory = directory
        self._stack = AsyncExitStack()
        self._stores: dict[str, Metastore] = {}

    async def __aenter__(self) -> Stores:
        """Start nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything, the last started first."""
        await self._stack.aclose()

    async def get(self, name: str) -> Metastore:
        """Return the store called `name`, one of NAMES."""
        if name not in self._stores:
            await self._start(name.split("-")[0])
        return self._stores[name]

    async def _start(self, family: str) -> None:
        directory = self._directory / family
        if family == "etcd":
            endpoints = self._stack.enter_context(EtcdCluster(directory)).endpoints
        elif family == "raftmeta":
            endpoints = self._stack.enter_context(RaftmetaCluster(directory, 1)).endpoints
        else:
            nodes = await start_nodes(directory, 1 if family == "embedded" else 3)
            for i, node in enumerate(nodes):
                self._stack.push_async_callback(node.stop)
                self._stores["embedded" if family == "embedded" else f"three-{i}"] = node.metastore(0)
            return
        for name, prefix in ((family, b""), (f"{family}-prefix", b"space\xff")):
            store = RemoteMetastore(endpoints, prefix=prefix)
            self._stack.push_async_callback(store.close)
            self._stores[name] = store
