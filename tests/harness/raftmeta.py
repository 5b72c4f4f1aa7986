"""raftmeta members as real processes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from harness.forked import Child, start
from harness.ports import steady_ports


class RaftmetaCluster:
    """`size` members of `python -m raftmeta` on loopback, data below `directory`; a context manager.

    Attributes:
        endpoints: HOST:PORT of every member's gRPC port; kept over restarts.
        peers: HOST:PORT of every member's Raft port.
        http: HOST:PORT of every member's HTTP port.
        names: The members' names.
        processes: The members' processes, in the same order; None for one that was killed.
    """

    def __init__(self, directory: Path, size: int = 1, *extra: str) -> None:
        """Prepare; nothing is started before `__enter__`. `extra` are flags for every member."""
        self._directory = directory
        ports = steady_ports(3 * size)
        self.endpoints = [f"127.0.0.1:{port}" for port in ports[:size]]
        self.peers = [f"127.0.0.1:{port}" for port in ports[size : 2 * size]]
        self.http = [f"127.0.0.1:{port}" for port in ports[2 * size :]]
        self.names = [f"m{i}" for i in range(size)]
        self.processes: list[Child | subprocess.Popen[str] | None] = [None] * size
        self._extra = extra
        self._cluster = ",".join(f"{name}={peer}" for name, peer in zip(self.names, self.peers, strict=True))

    def data_dir(self, member: int) -> Path:
        """Where member number `member` keeps its data."""
        return self._directory / self.names[member]

    def command(self, member: int) -> list[str]:
        """Return the command line that starts member number `member`."""
        command = [sys.executable, "-m", "raftmeta", "--name", self.names[member], "--insecure", "-o", "json"]
        command += ["--data-dir", str(self.data_dir(member)), "--listen-client", self.endpoints[member]]
        command += ["--listen-http", self.http[member], "--listen-peer", self.peers[member]]
        if len(self.names) > 1:
            command += ["--initial-cluster", self._cluster]
        return [*command, *self._extra]

    def log(self, member: int) -> Path:
        """The file with what member number `member` wrote to stderr."""
        return self._directory / f"{self.names[member]}.log"

    def environment(self, member: int) -> dict[str, str]:
        """Return the environment that member number `member` starts in."""
        return {**os.environ, "PYTHONUNBUFFERED": "1"}

    def start(self, member: int, timeout: float = 60.0) -> None:
        """Start one member and wait until it takes calls; raises TimeoutError with what it wrote otherwise."""
        self.launch(member)
        self.wait(member, timeout)

    def launch(self, member: int) -> None:
        """Start one member without waiting for it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with self.log(member).open("ab") as log:
            self.processes[member] = start(
                self.command(member), env=self.environment(member), out=None, err=log.fileno()
            )

    def wait(self, member: int, timeout: float = 60.0) -> None:
        """Wait for the line by which a member says that it takes calls."""
        process = self.processes[member]
        assert process is not None
        assert process.stdout is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if select.select([process.stdout], [], [], 0.2)[0]:
                line = process.stdout.readline()
                if line:
                    assert json.loads(line)["client"] == self.endpoints[member]
                    return
            if process.poll() is not None:
                break
        log = self.log(member).read_text(errors="replace")
        raise TimeoutError(f"{self.names[member]} did not start (exit status {process.poll()}):\n{log[-4000:]}")

    def kill(self, member: int) -> None:
        """End one member with SIGKILL."""
        process = self.processes[member]
        assert process is not None
        process.kill()
        self._reap(member)

    def terminate(self, member: int, timeout: float = 60.0) -> int:
        """End one member with SIGTERM; returns its exit status."""
        process = self.processes[member]
        assert process is not None
        process.terminate()
        status = process.wait(timeout)
        self._reap(member)
        return status

    def ended(self, member: int, timeout: float = 60.0) -> int:
        """Wait until a member has ended by itself; returns its exit status. Raises subprocess.TimeoutExpired."""
        process = self.processes[member]
        assert process is not None
        status = process.wait(timeout)
        self._reap(member)
        return status

    def _reap(self, member: int) -> None:
        process = self.processes[member]
        assert process is not None
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self.processes[member] = None

    def __enter__(self) -> RaftmetaCluster:
        """Start every member and wait until each takes calls."""
        try:
            for member in range(len(self.names)):
                self.launch(member)
            for member in range(len(self.names)):
                self.wait(member)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill every member."""
        for member, process in enumerate(self.processes):
            if process is not None:
                self.kill(member)
