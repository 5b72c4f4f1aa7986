"""A load that remembers what was acknowledged: raw keys through the etcd API, and files through Quartet's client."""

from __future__ import annotations

import itertools
import threading
import time
from types import TracebackType

import grpc
from quartet import CallError, Client

from harness.fleet import Fleet
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

_PAUSE = 0.005
"""Seconds between a writer's writes: so that the nodes, and the tests beside this one, have the processors for what is tested."""


class Workload:
    """Threads that write numbered keys and files until the block ends.

    Attributes:
        keys: Key -> revision of every put that was acknowledged.
        files: Path -> inode number of every file whose creation was acknowledged.
        failures: What the Quartet client raised: its own repetitions did not help.
    """

    def __init__(self, fleet: Fleet, endpoints: list[str] | None = None) -> None:
        """Write through `endpoints`, by default those the fleet has now; nothing is started before `__enter__`."""
        self.keys: dict[bytes, int] = {}
        self.files: dict[str, int] = {}
        self.failures: list[CallError] = []
        self._fleet = fleet
        self._endpoints = endpoints or fleet.endpoints
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._put), threading.Thread(target=self._create)]

    def __enter__(self) -> Workload:
        """Start writing."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop writing."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int, timeout: float = 90.0) -> None:
        """Wait until `count` further keys and as many further files were acknowledged."""
        keys, files = len(self.keys) + count, len(self.files) + count
        deadline = time.monotonic() + timeout
        while len(self.keys) < keys or len(self.files) < files:
            assert time.monotonic() < deadline, (len(self.keys), len(self.files), self.failures)
            time.sleep(0.02)

    def _put(self) -> None:
        """Put keys, each once: whatever fails is left unknown."""
        credentials = self._fleet.credentials()
        channels = [
            grpc.secure_channel(one, credentials) if credentials else grpc.insecure_channel(one)
            for one in self._endpoints
        ]
        stubs = [rpc.KVStub(channel) for channel in channels]
        at = 0
        for number in itertools.count():
            if self._stopping.is_set():
                break
            key = b"load/%06d" % number
            try:
                answer = stubs[at].Put(pb.PutRequest(key=key, value=key), timeout=3)
            except grpc.RpcError:
                at = (at + 1) % len(stubs)
                self._stopping.wait(0.02)
            else:
                self.keys[key] = answer.header.revision
                self._stopping.wait(_PAUSE)
        for channel in channels:
            channel.close()

    def _create(self) -> None:
        """Create files; the client repeats what failed, by request id."""
        with self._fleet.client(*self._endpoints, timeout=60.0) as client:  # a busy machine's elections take their time
            for number in itertools.count():
                if self._stopping.is_set():
                    return
                path = f"/load-{number:06d}"
                try:
                    self.files[path] = client.files.create(path).ino
                    self._stopping.wait(_PAUSE)
                except CallError as error:
                    self.failures.append(error)
                    self._stopping.wait(0.02)

    def assert_kept(self, client: Client, endpoint: str) -> None:
        """Every acknowledged write is there, as it was acknowledged, seen by the node at `endpoint`."""
        keys, files = dict(self.keys), dict(self.files)
        credentials = self._fleet.credentials()
        whole = [("grpc.max_receive_message_length", -1)]  # grpcio takes 4 MiB by itself
        with (
            grpc.secure_channel(endpoint, credentials, options=whole)
            if credentials
            else grpc.insecure_channel(endpoint, options=whole)
        ) as channel:
            found = rpc.KVStub(channel).Range(
                pb.RangeRequest(key=b"load/", range_end=b"load0"), timeout=30, wait_for_ready=True
            )
        revisions = {kv.key: kv.mod_revision for kv in found.kvs}
        lost = {key: revision for key, revision in keys.items() if revisions.get(key) != revision}
        assert not lost
        inodes = {entry.path: entry.ino for entry in client.files.list("/")}
        gone = {path: ino for path, ino in files.items() if inodes.get(path) != ino}
        assert not gone

    def assert_kept_everywhere(self) -> None:
        """The same on each node of the fleet that runs."""
        self.assert_kept_in(self._fleet)

    def assert_kept_in(self, fleet: Fleet) -> None:
        """The same on each node that runs of a fleet that was made from this one's backup."""
        for node in fleet.nodes:
            if node.process is not None and node.process.poll() is None:
                with fleet.client(node.endpoint) as client:
                    self.assert_kept(client, node.endpoint)
