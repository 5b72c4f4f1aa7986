"""A real etcd, as the specification to compare with."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from harness.peers import binary
from harness.ports import free_ports


class EtcdCluster:
    """`size` real etcd members on loopback, data below `directory`; a context manager.

    Attributes:
        endpoints: HOST:PORT of every member's client port.
        processes: The members' processes, in the same order.
    """

    def __init__(self, directory: Path, size: int = 1, *extra: str) -> None:
        """Prepare; nothing is started before `__enter__`. `extra` are flags for every member."""
        self._binary = binary("etcd")
        self._directory = directory
        ports = free_ports(2 * size)
        self.endpoints = [f"127.0.0.1:{port}" for port in ports[:size]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[size:]]
        cluster = ",".join(f"m{i}={peer}" for i, peer in enumerate(peers))
        self._commands = [
            [
                self._binary, "--name", f"m{i}", "--data-dir", str(directory / f"m{i}"), "--log-level", "error",
                "--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}",
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
                *extra,
            ]
            for i, (client, peer) in enumerate(zip(self.endpoints, peers, strict=True))
        ]  # fmt: skip
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> EtcdCluster:
        """Start every member and wait, at most 20 s, until each takes connections."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for i, command in enumerate(self._commands):
            with (self._directory / f"m{i}.log").open("wb") as log:
                self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        for endpoint in self.endpoints:
            host, port = endpoint.split(":")
            for _ in range(200):
                try:
                    socket.create_connection((host, int(port)), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                self.__exit__(None, None, None)
                raise TimeoutError(f"etcd on {endpoint} did not start: see {self._directory}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill every member."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
