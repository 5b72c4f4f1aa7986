"""An upload that lasts longer than the collector's grace loses nothing; one that was stopped for too long is refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import grpc
import pytest
from harness.blobs import Clock, owned
from harness.contents import MIB, noise, read
from harness.failures import fails
from harness.served import served
from quartet.files.v1 import files_pb2 as pb
from quartet.files.v1 import files_pb2_grpc
from quartet_server.files.contents.holding import HeldByFiles
from quartet_server.files.service import FileService
from quartet_server.meta.times import timestamps
from quartet_server.objects.gc.collector import Collector
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.metastore import Metastore

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("store", ["embedded"], indirect=True),
]
GRACE = 100.0


class Slow:
    """A sender that lets a grace pass, and rounds of collection, between its pieces."""

    def __init__(self, store: Metastore) -> None:
        self.clock = Clock()
        self.blobs = MemoryBlobs(self.clock, 1.0)
        self.collector = Collector(
            self.blobs,
            [HeldByFiles(store, self.blobs)],
            GRACE,
            clock=self.clock,
            draw=random.Random(1).randbytes,
            demand=owned,
        )
        self.service = FileService(store, timestamps(self.clock), self.blobs)
        self.renewals = 0
        self.stopped = False
        self.sleeper: tuple[float, asyncio.Future[None]] | None = None
        self.service._contents.pause = self.pause
        self.service._contents.renew = GRACE / 3

    async def pause(self, seconds: float) -> None:
        """Sleep on the test's clock, and as long as the process is stopped."""
        wake = asyncio.get_running_loop().create_future()
        self.sleeper = (self.clock.now + seconds, wake)
        await wake
        self.renewals += 1

    async def wake(self) -> None:
        """Let who has slept enough go on, as far as it comes without waiting."""
        sleeps = self.sleeper is not None and not self.sleeper[1].done() and not self.stopped
        if sleeps and self.sleeper is not None and self.sleeper[0] <= self.clock.now:
            self.sleeper[1].set_result(None)
            self.sleeper = None
            for _ in range(20):
                await asyncio.sleep(0)

    async def passes(self) -> None:
        """Let time pass in steps, and collect, so that what is not renewed goes."""
        for _ in range(12):
            self.clock.now += GRACE / 4
            await self.wake()
            async for _ in self.collector.run("default", dry=False):
                pass

    async def messages(self, data: bytes) -> AsyncIterator[pb.WriteStreamRequest]:
        yield pb.WriteStreamRequest(header=pb.WriteHeader(path="/slow"))
        for start in range(0, len(data), MIB):
            if start == 10 * MIB:
                async with asyncio.timeout(60):
                    while not await self.blobs.scan("default"):
                        await asyncio.sleep(0.01)
                await self.passes()
            yield pb.WriteStreamRequest(data=data[start : start + MIB])


async def test_chunks_of_an_upload_outlive_the_grace_until_the_file_refers_to_them(store: Metastore) -> None:
    slow, data = Slow(store), noise(12 * MIB)
    async with served([slow.service]) as address, grpc.aio.insecure_channel(address) as channel:
        files: files_pb2_grpc.FileServiceAsyncStub = files_pb2_grpc.FileServiceStub(channel)
        await files.WriteStream(slow.messages(data))
        assert slow.renewals > 3
        await slow.passes()
        assert await read(files, "/slow") == data
        await files.Delete(pb.DeleteRequest(path="/slow"))
        await slow.passes()
        assert await slow.blobs.zones() == []


async def test_an_upload_whose_chunks_were_collected_is_refused_and_changes_nothing(store: Metastore) -> None:
    slow = Slow(store)
    async with served([slow.service]) as address, grpc.aio.insecure_channel(address) as channel:
        files: files_pb2_grpc.FileServiceAsyncStub = files_pb2_grpc.FileServiceStub(channel)

        async def stopped() -> None:
            slow.stopped = True  # as if the process had been, but for the collector
            await Slow.passes(slow)
            slow.stopped = False
            await slow.wake()

        slow.passes = stopped  # type: ignore[method-assign]
        with fails(grpc.StatusCode.ABORTED, "UPLOAD_EXPIRED"):
            await files.WriteStream(slow.messages(noise(12 * MIB)))
        listed = await files.List(pb.ListRequest(path="/"))
        assert not listed.entries
