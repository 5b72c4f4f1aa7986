"""A cluster whose members break one promise, and a client that records what it sees of it."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import grpc
import pytest
from faults.cluster import Cluster
from faults.disk.library import DiskLayerUnavailable
from faults.history import History
from faults.observer import Observer, reach
from faults.workload.calling import Caller
from google.protobuf.message import Message

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs

PATIENT = 30_000
"""Milliseconds of silence that a patient member bears: it leads on when it is alone, and never asks for an election."""


class Flawed(Cluster):
    """Three members, all with `bug` (see `raftmeta.consensus.seeded`) or, if that is empty, without.

    Attributes:
        patient: Members that bear silence for long once they are started again.
    """

    def __init__(self, directory: Path, bug: str) -> None:
        """Prepare. Skips the test where no disk layer can be had."""
        self._bug = bug
        self.patient: set[int] = set()
        try:
            super().__init__(directory, 3, 1)
        except DiskLayerUnavailable as why:
            if os.environ.get("QUARTET_REQUIRE_BACKENDS") == "1":
                pytest.fail(str(why))
            pytest.skip(str(why))

    def command(self, member: int) -> list[str]:
        """See `Cluster.command`."""
        patience = ["--election-ms", str(PATIENT)] if member in self.patient else []
        return [*super().command(member), *patience]

    def environment(self, member: int) -> dict[str, str]:
        """See `Cluster.environment`."""
        return {**super().environment(member), "RAFTMETA_TEST_BUG": self._bug}


class Witness:
    """One client, its history, and somebody who watches; an async context manager around an open cluster."""

    def __init__(self, cluster: Flawed) -> None:
        """Speak to `cluster`."""
        self.cluster = cluster
        self.history = History()
        self.observer = Observer(cluster)
        self._caller = Caller("c", cluster, self.history, random.Random(1))

    async def __aenter__(self) -> Witness:
        """Open the cluster and wait until all members answer."""
        await self.cluster.open()
        await self.observer.ready()
        return self

    async def __aexit__(self, *error: object) -> None:
        """End everything."""
        await self._caller.close()
        await self.observer.close()
        await self.cluster.close()

    async def make_patient(self, member: int) -> None:
        """Start a member again that then leads on when it is alone."""
        self.cluster.patient.add(member)
        self.cluster.strike(member)
        await self.cluster.up(member)
        await self.observer.ready()

    async def disks_rest(self) -> None:
        """Wait until no member has synced anything for two seconds."""

        async def ask() -> bool | None:
            before = [disk.counts() for disk in self.cluster.disks.values()]
            await asyncio.sleep(2.0)
            return before == [disk.counts() for disk in self.cluster.disks.values()] or None

        await reach("the disks rest", ask)

    async def try_put(self, member: int, key: bytes, value: bytes) -> bool:
        """Put once; whether it was answered."""
        return await self._caller.call(pb.PutRequest(key=key, value=value), member=member) is not None

    async def put(self, member: int, key: bytes, value: bytes) -> int:
        """Put until a put is answered, each attempt a value of its own; returns its revision."""
        tried = 0

        async def ask() -> int | None:
            nonlocal tried
            tried += 1
            answer = await self._caller.call(pb.PutRequest(key=key, value=b"%s-%d" % (value, tried)), member=member)
            return answer.header.revision if isinstance(answer, pb.PutResponse) else None

        return await reach("a put is answered", ask)

    async def get(self, member: int, key: bytes) -> Message | None:
        """Read once, linearizably."""
        return await self._caller.call(pb.RangeRequest(key=key), member=member)

    async def lead(self, member: int) -> None:
        """Hand leadership to a member."""
        wanted = await self.observer.member_id(member)

        async def ask() -> bool | None:
            leader, _ = await self.observer.leader()
            if leader == member:
                return True
            try:
                channel = self.observer.channel(leader)
                await stubs.MaintenanceStub(channel).MoveLeader(pb.MoveLeaderRequest(targetID=wanted), timeout=10)
            except grpc.RpcError:
                return None
            return None

        await reach("the member leads", ask)

    async def hear(self, member: int, last: int) -> None:
        """Watch everything from the first revision to `last`."""
        request = pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=1)
        stream = stubs.WatchStub(self.observer.channel(member)).Watch(timeout=60)
        watching = self.history.watch("w", self.cluster.names[member], request)
        async with asyncio.timeout(60):
            await stream.write(pb.WatchRequest(create_request=request))
            reached = 0
            while reached < last:
                response = await stream.read()
                assert isinstance(response, pb.WatchResponse)
                self.history.heard(watching, response)
                reached = max([reached, *(event.kv.mod_revision for event in response.events)])
        stream.cancel()
        self.history.unwatched(watching)
