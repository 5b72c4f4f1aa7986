"""What is measured: raftmeta's processes, real etcd's, and a gRPC server that does nothing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
import psutil

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd.rpc_pb2_grpc import KVStub, MaintenanceStub

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".peers" / "usr" / "bin"
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a member keeps its log and its store; both exist once it has started."""

    log: Path
    store: Path


def free_ports(count: int) -> list[int]:
    """Return `count` distinct loopback ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def etcd_binary() -> str:
    """Return the path of etcd. Raises SystemExit when there is none."""
    found = shutil.which("etcd", path=f"{PEERS}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise SystemExit("etcd is not installed: run `make peers`")
    return found


class System(ABC):
    """Server processes on loopback, data below `directory`; an asynchronous context manager.

    Attributes:
        endpoints: HOST:PORT of every member's client port.
        replicated: Members elect a leader; without it there is one server and nothing to fail over.
        complete: It answers Watch and Maintenance as etcd does.
    """

    name = ""
    replicated = True
    complete = True

    def __init__(self, directory: Path, size: int = 3, log_entries: int | None = None) -> None:
        """Prepare; nothing starts before `__aenter__`.

        Args:
            directory: Where data and logs go; it exists.
            size: Members.
            log_entries: Log entries after which the log is trimmed; None: the system's own default.
        """
        self._directory = directory
        self._size = size
        self._log_entries = log_entries
        self._processes: list[subprocess.Popen[bytes]] = []
        self.endpoints: list[str] = []
        self._commands: list[list[str]] = self.commands()

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """Choose ports, set `endpoints` and return one command line per member."""

    def processes(self, index: int) -> list[psutil.Process]:
        """Return a member's process and its children; nothing when it is dead."""
        try:
            root = psutil.Process(self._processes[index].pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        with (self._directory / f"{self.name}-{index}.log").open("ab") as log:
            return subprocess.Popen(self._commands[index], stdout=log, stderr=log, cwd=HERE.parent)

    async def __aenter__(self) -> Self:
        """Start all members and wait until each of them answers a linearizable read."""
        self._processes = [self._start(i) for i in range(len(self._commands))]
        try:
            await self.ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Kill all members and forget their data."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    async def ready(self) -> None:
        """Wait until every member answers a linearizable read. Raises TimeoutError with where to read why not."""
        until = time.monotonic() + READY_SECONDS
        for i, endpoint in enumerate(self.endpoints):
            while True:
                if self._processes[i].poll() is not None or time.monotonic() > until:
                    log = self._directory / f"{self.name}-{i}.log"
                    raise TimeoutError(f"{self.name} on {endpoint} is not ready:\n{log.read_text()[-2000:]}")
                try:  # a channel that was refused once waits a second before it tries again, a new one does not
                    async with grpc.aio.insecure_channel(endpoint) as channel:
                        await KVStub(channel).Range(pb.RangeRequest(key=b"ready"), timeout=2)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)

    async def caught_up(self, index: int, revision: int, limit: float) -> None:
        """Wait until a member has applied `revision`. Raises TimeoutError after `limit` seconds."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            try:
                async with grpc.aio.insecure_channel(self.endpoints[index]) as channel:
                    request = pb.RangeRequest(key=b"revision", serializable=True)
                    answer = await KVStub(channel).Range(request, timeout=2)
                if answer.header.revision >= revision:
                    return
            except grpc.aio.AioRpcError:
                pass
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{self.name}: member {index} is not at revision {revision} after {limit:.0f} s")

    async def leader(self) -> int:
        """Return the index of the member that leads. Raises TimeoutError when none does within a minute."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            for i, endpoint in enumerate(self.endpoints):
                try:
                    async with grpc.aio.insecure_channel(endpoint) as channel:
                        status = await MaintenanceStub(channel).Status(pb.StatusRequest(), timeout=2)
                except grpc.aio.AioRpcError:
                    continue
                if status.leader == status.header.member_id:
                    return i
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{self.name} has no leader")

    def kill(self, index: int) -> None:
        """Send SIGKILL to one member."""
        self._processes[index].send_signal(signal.SIGKILL)
        self._processes[index].wait()

    async def restart(self, index: int) -> None:
        """Start a killed member again and wait until all of them are ready."""
        self.start(index)
        await self.ready()

    def start(self, index: int) -> None:
        """Start a killed member again, without waiting for it."""
        self._processes[index] = self._start(index)

    async def revive(self) -> None:
        """Start every member that is down and wait until all are ready. Raises TimeoutError."""
        for index, process in enumerate(self._processes):
            if process.poll() is not None:
                self.start(index)
        await self.ready()

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, that the members and their children have used so far."""
        total = 0.0
        for index in range(len(self._processes)):
            for one in self.processes(index):
                try:
                    times = one.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                total += times.user + times.system
        return total


class Store(System):
    """A system whose members keep what they are told."""

    @abstractmethod
    def folders(self, index: int) -> Folders:
        """Where a member keeps its log and its store."""

    @abstractmethod
    def installed(self, index: int) -> int:
        """Return a number for a member that is down, which is higher once it is up and has installed a snapshot."""


class Etcd(Store):
    """Members of Debian's etcd, with its defaults."""

    name = "etcd"

    def commands(self) -> list[list[str]]:
        """Plain HTTP between members and to clients."""
        binary, ports = etcd_binary(), free_ports(2 * self._size)
        self.endpoints = [f"127.0.0.1:{port}" for port in ports[: self._size]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[self._size :]]
        extra = ["--snapshot-count", str(self._log_entries)] if self._log_entries else []
        cluster = ",".join(f"m{i}={peer}" for i, peer in enumerate(peers))
        return [
            [
                binary, "--name", f"m{i}", "--data-dir", str(self._directory / f"m{i}"), "--log-level", "error",
                "--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}",
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, *extra,
            ]
            for i, (client, peer) in enumerate(zip(self.endpoints, peers, strict=True))
        ]  # fmt: skip

    def folders(self, index: int) -> Folders:
        """The log's segments, and the database beside its snapshots."""
        data = self._directory / f"m{index}" / "member"
        return Folders(data / "wal", data / "snap")

    def installed(self, index: int) -> int:
        """Snapshots received since the process started; 0 while there is none."""
        try:
            with urllib.request.urlopen(f"http://{self.endpoints[index]}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        found = re.findall(r"^etcd_network_snapshot_receive_success\{.*\} ([\d.e+]+)$", text, re.MULTILINE)
        return round(sum(map(float, found)))


class Raftmeta(Store):
    """`python -m raftmeta` processes, with their defaults."""

    name = "raftmeta"

    def commands(self) -> list[list[str]]:
        """Without TLS, as etcd runs here."""
        ports = free_ports(2 * self._size)
        self.endpoints = [f"127.0.0.1:{port}" for port in ports[: self._size]]
        peers = [f"127.0.0.1:{port}" for port in ports[self._size :]]
        extra = ["--snapshot-entries", str(self._log_entries)] if self._log_entries else []
        cluster = ",".join(f"n{i}={peer}" for i, peer in enumerate(peers))
        return [
            [
                sys.executable, "-m", "raftmeta", "--name", f"n{i}", "--data-dir", str(self._directory / f"n{i}"),
                "--listen-client", client, "--listen-peer", peer, "--initial-cluster", cluster, "--insecure", *extra,
            ]
            for i, (client, peer) in enumerate(zip(self.endpoints, peers, strict=True))
        ]  # fmt: skip

    def folders(self, index: int) -> Folders:
        """See ARCHITECTURE.md: raft/wal and store."""
        data = self._directory / f"n{index}"
        return Folders(data / "raft" / "wal", data / "store")

    def installed(self, index: int) -> int:
        """The store's number: an installed snapshot is a store of its own."""
        return int((self.folders(index).store / "CURRENT").read_text().strip().rpartition("-")[2] or 0)


class NoOp(System):
    """One Python gRPC server whose methods answer at once: what the gRPC layer alone costs."""

    name = "no-op"
    replicated = False
    complete = False

    def commands(self) -> list[list[str]]:
        """See noop.py."""
        port = free_ports(1)[0]
        self.endpoints = [f"127.0.0.1:{port}"]
        return [[sys.executable, str(HERE / "noop.py"), self.endpoints[0]]]


SYSTEMS: Sequence[type[System]] = (Etcd, Raftmeta, NoOp)
