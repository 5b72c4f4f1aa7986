"""Clusters under fuzz: what was written before, and the checks that nothing of it suffered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
import psutil
import quartet
from google.protobuf.message import Message
from grpc import aio
from harness.quartet import cluster
from harness.raftmeta import RaftmetaCluster

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

KEPT = b"\xff" * 400
"""What keys that must not change begin with; only ranges without an end reach here."""
ZONE = "kept"
GROWTH = 400 * 1024 * 1024
"""Bytes by which a member may grow while it is fuzzed: a few requests of 4 MiB in many copies, and no more."""
_KEYS = 50
_PATIENCE = 60.0
_ANOTHER_TIME = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


Asked = TypeVar("Asked", bound=Message)
Told = TypeVar("Told", bound=Message)


@dataclass
class Target:
    """A running cluster.

    Attributes:
        endpoints: HOST:PORT of every gRPC port.
        pids: The members' processes.
        quartet: Whether Quartet's services are there too.
        logs: What each member wrote to stderr.
        sizes: Resident bytes of each process when the fuzz began.
    """

    endpoints: Sequence[str]
    pids: Sequence[int]
    quartet: bool
    logs: Sequence[Path] = ()
    sizes: list[int] = field(default_factory=list)

    def prepare(self) -> None:
        """Write what must stay; measure."""
        asyncio.run(self._write())
        if self.quartet:
            with quartet.Client(self.endpoints, timeout=30) as client:
                client.cluster.create_zone(ZONE)
            with quartet.Client(self.endpoints, zone=ZONE, timeout=30) as client:
                client.files.mkdir("/kept")
                client.settings.set("kept", "yes")
        self.sizes = self._resident()

    async def _write(self) -> None:
        async with aio.insecure_channel(self.endpoints[0]) as channel:
            stub = rpc.KVStub(channel)
            for number in range(_KEYS):
                request = pb.PutRequest(key=KEPT + b"%d" % number, value=b"%d" % number)
                await stub.Put(request, timeout=_PATIENCE)

    def _resident(self) -> list[int]:
        return [psutil.Process(pid).memory_info().rss for pid in self.pids]

    def check(self) -> None:
        """Fail unless every member lives, serves, has what was written, has not grown, and agrees with the others."""
        for pid in self.pids:
            os.kill(pid, 0)
        asyncio.run(self.check_serving())
        if self.quartet:
            for endpoint in self.endpoints:
                with quartet.Client(endpoint, zone=ZONE, timeout=_PATIENCE) as client:
                    assert client.files.stat("/kept").path == "/kept"
                    assert client.settings.get("kept").value == "yes"
        grown = [now - before for now, before in zip(self._resident(), self.sizes, strict=True)]
        assert max(grown) < GROWTH, grown

    def check_served(self, what: str) -> None:
        """Fail unless a call on a connection of its own is answered now; `what` goes on meanwhile."""
        for pid in self.pids:
            os.kill(pid, 0)
        with grpc.insecure_channel(self.endpoints[0]) as channel:
            try:
                rpc.KVStub(channel).Range(pb.RangeRequest(key=b"sane"), timeout=_PATIENCE)
            except grpc.RpcError as error:
                raise AssertionError(f"nobody was served during {what}: {error}") from error

    async def check_serving(self) -> None:
        """Every member clears alarms, reads what was written, writes; and all have the same history."""
        for number, endpoint in enumerate(self.endpoints):
            async with aio.insecure_channel(endpoint) as channel:
                await self._clear_alarms(channel)
                stub = rpc.KVStub(channel)
                request = pb.RangeRequest(key=KEPT, range_end=b"\0", limit=_KEYS + 1)
                found = await _answered(stub.Range, request)
                assert {kv.key: kv.value for kv in found.kvs} == {KEPT + b"%d" % n: b"%d" % n for n in range(_KEYS)}
                put = await _answered(stub.Put, pb.PutRequest(key=b"sane", value=b"%d" % number))
        await self._check_agreement(put.header.revision)

    async def _check_agreement(self, revision: int) -> None:
        hashes = set()
        for endpoint in self.endpoints:
            async with aio.insecure_channel(endpoint) as channel:
                await _answered(rpc.KVStub(channel).Range, pb.RangeRequest(key=b"sane"))  # it has applied that far
                answer = await _answered(rpc.MaintenanceStub(channel).HashKV, pb.HashKVRequest(revision=revision))
                hashes.add((answer.hash, answer.compact_revision))
        assert len(hashes) == 1

    async def _clear_alarms(self, channel: aio.Channel) -> None:
        """Take back what a well-formed request may well have raised."""
        stub = rpc.MaintenanceStub(channel)
        raised = await _answered(stub.Alarm, pb.AlarmRequest(action=pb.AlarmRequest.GET))
        for alarm in raised.alarms:
            request = pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm)
            await _answered(stub.Alarm, request)


async def _answered(call: aio.UnaryUnaryMultiCallable[Asked, Told], request: Asked) -> Told:
    """Ask until it is answered: an election may be on."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            try:
                return await call(request, timeout=_PATIENCE / 2)
            except aio.AioRpcError as error:
                if error.code() not in _ANOTHER_TIME:
                    raise
            await asyncio.sleep(0.05)


def reaches_kept(message: Message) -> bool:
    """Tell whether a request, or one inside it, is entitled to change what must stay.

    A voter that is not there is such a change: a single member that is given one waits for it, as it should.
    """
    if isinstance_of(message, pb.MemberAddRequest):
        return not getattr(message, "isLearner", False) and any(
            "://" in url for url in getattr(message, "peerURLs", ())
        )
    if isinstance_of(message, pb.PutRequest, pb.DeleteRangeRequest):
        key, end = getattr(message, "key", b""), getattr(message, "range_end", b"")
        if key >= KEPT or end == b"\0" or end > KEPT:
            return True
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        if any(reaches_kept(one) for one in (value if descriptor.is_repeated else [value])):
            return True
    return False


def isinstance_of(message: Message, *kinds: type[Message]) -> bool:
    """Tell whether a message is of one of these types, from whichever pool of descriptors."""
    return message.DESCRIPTOR.full_name in {kind.DESCRIPTOR.full_name for kind in kinds}


@contextmanager
def quartet_nodes(directory: Path, size: int) -> Iterator[Target]:
    """Run nodes of Quartet, with all services on each port."""
    with cluster(directory, size) as running:
        target = Target(running.endpoints, running.pids, quartet=True)
        target.prepare()
        yield target


@contextmanager
def raftmeta_members(directory: Path, size: int, *flags: str) -> Iterator[Target]:
    """Run members of raftmeta alone, with the etcd services."""
    with RaftmetaCluster(directory, size, *flags) as running:
        yield measured(running)


def measured(running: RaftmetaCluster) -> Target:
    """Return running members of raftmeta with what must stay written, and their sizes taken."""
    pids = [process.pid for process in running.processes if process is not None]
    logs = [running.log(member) for member in range(len(pids))]
    target = Target(running.endpoints, pids, quartet=False, logs=logs)
    target.prepare()
    return target
