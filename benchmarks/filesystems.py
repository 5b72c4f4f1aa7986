"""What files.py measures: our nodes, etcd, Redis, this machine's file system, and servers that do nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from on_etcd import OnEtcd
from on_ext4 import OnFileSystem
from on_quartet import OnQuartet
from on_redis import OnRedis
from resp import Redis as RedisClient
from systems import PEERS, READY_SECONDS, Etcd, NoOp, System, free_ports
from trees import Tree


class Quartet(System):
    """Nodes of ours with all their services, without TLS, as etcd runs here."""

    name = "quartet"

    def commands(self) -> list[list[str]]:
        """One node alone, or founders of a cluster."""
        ports = free_ports(2 * self._size)
        self.endpoints = [f"127.0.0.1:{port}" for port in ports[: self._size]]
        peers = [f"127.0.0.1:{port}" for port in ports[self._size :]]
        founders = ",".join(f"n{i}={peer}" for i, peer in enumerate(peers))
        return [
            [
                sys.executable, "-m", "quartet_server", "serve", "--name", f"n{i}", "--data-dir", str(self._directory / f"n{i}"),
                "--listen", client, "--listen-http", "", "--insecure",
                *(["--listen-raft", peer, "--raft-initial-cluster", founders] if self._size > 1 else []),
            ]
            for i, (client, peer) in enumerate(zip(self.endpoints, peers, strict=True))
        ]  # fmt: skip


class Redis(System):
    """Debian's Redis, which syncs its log before each answer."""

    name = "redis"
    replicated = complete = False

    def commands(self) -> list[list[str]]:
        """One server. Raises SystemExit when there is none."""
        binary = shutil.which("redis-server", path=f"{PEERS}{os.pathsep}{os.environ.get('PATH', '')}")
        if binary is None:
            raise SystemExit("redis-server is not installed: run `make peers`")
        [port] = free_ports(1)
        self.endpoints = [f"127.0.0.1:{port}"]
        libraries = ":".join(map(str, (PEERS.parent / "lib").glob("*-linux-gnu*")))
        return [
            [
                "env", f"LD_LIBRARY_PATH={libraries}", binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self._directory),
                "--appendonly", "yes", "--appendfsync", "always", "--save", "",
            ]
        ]  # fmt: skip

    async def ready(self) -> None:
        """See System."""
        until = time.monotonic() + READY_SECONDS
        while True:
            client = RedisClient(self.endpoints[0])
            try:
                await client.call("PING")
                return
            except (OSError, AssertionError) as error:
                if time.monotonic() > until or self._processes[0].poll() is not None:
                    log = self._directory / f"{self.name}-0.log"
                    raise TimeoutError(f"{self.name} is not ready:\n{log.read_text()[-2000:]}") from error
                await asyncio.sleep(0.05)
            finally:
                await client.close()


class OwnNoOp(NoOp):
    """The same over our own server: what everything above the wire costs."""

    name = "no-op, own"

    def commands(self) -> list[list[str]]:
        """See noop.py."""
        return [[*line, "--own"] for line in super().commands()]


class FileSystem(System):
    """A folder: nothing runs but this process."""

    name = "ext4"
    replicated = complete = False

    @property
    def root(self) -> Path:
        """The folder."""
        return self._directory

    def commands(self) -> list[list[str]]:
        """Nothing is started."""
        return []

    async def ready(self) -> None:
        """It is there."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A system at a size.

    Attributes:
        name: As the tables have it.
        nodes: How many servers.
        system: What starts them.
        tree: What speaks to them.
        only: Phases that make sense; empty for all.
    """

    name: str
    nodes: int
    system: Callable[[Path, int], System]
    tree: Callable[[System], Tree]
    only: tuple[str, ...] = ()


def _on_file_system(system: System) -> Tree:
    assert isinstance(system, FileSystem)
    return OnFileSystem(system.root)


KINDS = (
    Kind("quartet", 1, Quartet, OnQuartet),
    Kind("etcd", 1, Etcd, OnEtcd),
    Kind("redis", 1, Redis, OnRedis),
    Kind("ext4", 1, FileSystem, _on_file_system),
    Kind("no-op", 1, NoOp, OnQuartet, ("stat",)),
    Kind("no-op, own", 1, OwnNoOp, OnQuartet, ("stat",)),
    Kind("quartet", 3, Quartet, OnQuartet),
    Kind("etcd", 3, Etcd, OnEtcd),
)
