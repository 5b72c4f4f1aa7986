"""raftmeta members whose disks are `DiskLayer`s, clients that write to them, and what must be there afterwards."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import grpc
from faults.disk.layer import DiskLayer
from faults.disk.programs import disk_layer
from harness.raftmeta import RaftmetaCluster

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

UNLIMITED = [("grpc.max_receive_message_length", -1)]
"""grpcio takes no answer of more than 4 MiB by itself; a load that went on for long leaves more."""

PATIENCE = 60.0
"""Seconds after which something that must come is said not to come; long, for the machine may be busy."""


class Members(RaftmetaCluster):
    """Members with a disk layer each.

    Attributes:
        disks: The layers, in the order of the members.
    """

    def __init__(self, directory: Path, size: int, *extra: str) -> None:
        """See `RaftmetaCluster`; the data directory is made by the member itself, on its disk."""
        super().__init__(directory, size, *extra)
        self.disks: list[DiskLayer] = [disk_layer(directory / f"{name}-disk") for name in self.names]

    def data_dir(self, member: int) -> Path:
        """See `RaftmetaCluster.data_dir`."""
        return self.disks[member].directory / "data"

    def environment(self, member: int) -> dict[str, str]:
        """See `RaftmetaCluster.environment`."""
        return {**super().environment(member), **self.disks[member].environment()}

    def launch_all(self) -> None:
        """Start every member without waiting for it."""
        for member in range(len(self.names)):
            self.launch(member)

    def strike(self) -> None:
        """Kill every member, all before the first is waited for."""
        for process in self.processes:
            assert process is not None
            process.kill()
        for member in range(len(self.names)):
            self._reap(member)

    def power_cut(self, seed: int | None) -> None:
        """Cut the power of all members at once, and leave them down."""
        self.strike()
        for number, disk in enumerate(self.disks):
            disk.lose_power(None if seed is None else seed + number)

    def said(self, member: int) -> str:
        """Return what a member has written to stderr so far."""
        return self.log(member).read_text(errors="replace")

    def metric(self, member: int, name: str) -> float:
        """Return a number of a member's metrics."""
        with urllib.request.urlopen(f"http://{self.http[member]}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def leader(self) -> int:
        """Wait until the members agree on a leader; return its number."""
        leaders: set[int] = set()
        numbers: dict[int, int] = {}

        def agreed() -> bool:
            leaders.clear()
            for number, endpoint in enumerate(self.endpoints):
                with grpc.insecure_channel(endpoint) as channel:
                    try:
                        status = rpc.MaintenanceStub(channel).Status(pb.StatusRequest(), timeout=5)
                    except grpc.RpcError:
                        return False
                numbers[status.header.member_id] = number
                leaders.add(status.leader)
            return len(leaders) == 1 and leaders <= set(numbers)

        until(agreed, "a leader")
        return numbers[leaders.pop()]

    def __exit__(self, *raised: object) -> None:
        """Kill every member; nothing of the layers stays."""
        super().__exit__(None, None, None)
        for disk in self.disks:
            disk.close()


@contextmanager
def unstarted(members: Members) -> Iterator[None]:
    """End members like `with members`, but begin without starting them."""
    try:
        yield
    finally:
        members.__exit__(None, None, None)


@contextmanager
def member_kv(endpoint: str) -> Iterator[rpc.KVStub]:
    """Connect to a member."""
    with grpc.insecure_channel(endpoint, options=UNLIMITED) as channel:
        yield rpc.KVStub(channel)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds. Raises AssertionError when it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


class Load:
    """Clients that put, each its own keys one after the other; a context manager.

    Attributes:
        acknowledged: Value by key of every put that was answered with success.
        refused: How often a put was not.
    """

    def __init__(self, endpoints: list[str], clients: int = 6, size: int = 300) -> None:
        """`size` is a value's length in bytes; keys continue where an earlier `with` of the same load ended."""
        self._endpoints = endpoints
        self._clients = clients
        self._size = size
        self._written = 0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.acknowledged: dict[bytes, bytes] = {}
        self.refused = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._stopping.clear()
        self._threads = [threading.Thread(target=self._put, args=(number,)) for number in range(self._clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """End; calls on their way are waited for."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def grows(self, by: int) -> None:
        """Wait until that many more puts have been acknowledged."""
        goal = len(self.acknowledged) + by
        until(lambda: len(self.acknowledged) >= goal, f"{by} more puts")

    def _put(self, client: int) -> None:
        endpoint = self._endpoints[client % len(self._endpoints)]
        with member_kv(endpoint) as kv:
            while not self._stopping.is_set():
                with self._lock:
                    self._written += 1
                    key = b"load/%08d" % self._written
                value = key + os.urandom(self._size - len(key))
                try:
                    kv.Put(pb.PutRequest(key=key, value=value), timeout=2)
                except grpc.RpcError:
                    self.refused += 1
                    self._stopping.wait(0.02)
                else:
                    self.acknowledged[key] = value


def everything(endpoint: str, *, serializable: bool = False) -> dict[bytes, bytes]:
    """Return every pair a member has, once it answers.

    Raises AssertionError when it does not, and grpc.RpcError for an error that asking again does not change.
    """
    found: dict[bytes, bytes] = {}
    request = pb.RangeRequest(key=b"\0", range_end=b"\0", serializable=serializable)
    with member_kv(endpoint) as kv:

        def read() -> bool:
            try:
                answer = kv.Range(request, timeout=5, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise  # no other error passes with time
                return False
            found.update({pair.key: pair.value for pair in answer.kvs})
            return True

        until(read, f"an answer of {endpoint}")
    return found


def missing(acknowledged: dict[bytes, bytes], found: dict[bytes, bytes]) -> list[bytes]:
    """Return the keys whose acknowledged value is not there."""
    return [key for key, value in acknowledged.items() if found.get(key) != value]


def hashes(endpoints: list[str]) -> set[tuple[int, int, int]]:
    """Return what the members say of everything they hold: hash, compacted revision, revision."""
    told = set()
    for endpoint in endpoints:
        with grpc.insecure_channel(endpoint) as channel:
            rpc.KVStub(channel).Range(pb.RangeRequest(key=b"x"), timeout=PATIENCE, wait_for_ready=True)
            answer = rpc.MaintenanceStub(channel).HashKV(pb.HashKVRequest(), timeout=PATIENCE)
            told.add((answer.hash, answer.compact_revision, answer.header.revision))
    return told
