"""What objects.py measures: a node and BuildGrid over gRPC, our store on a disk and plain files in this process."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
from quartet.wire.reapi import bytestream_pb2, cas_pb2, digests_pb2
from quartet.wire.reapi.bytestream_pb2_grpc import ByteStreamStub
from quartet.wire.reapi.cas_pb2_grpc import ContentAddressableStorageStub
from quartet_server.objects.contract import Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from systems import HERE, READY_SECONDS, System, free_ports

BUILDGRID = HERE.parent / ".peers" / "buildgrid" / "bin" / "bgd"
CALL_SECONDS = 60
PIECE = 1 << 20
_ZONE = "default"


class Blobs(ABC):
    """A place for blobs; an asynchronous context manager, data below a folder.

    Attributes:
        name: As the tables have it.
        durable: What is acknowledged is on the disk.
    """

    name = ""
    durable = True

    async def __aenter__(self) -> Blobs:
        """Open it."""
        return self

    @abstractmethod
    async def __aexit__(self, *error: object) -> None:
        """Close it."""

    def cpu_seconds(self) -> float:
        """Return the CPU time used for it so far; this process's own where it has none of its own."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    @abstractmethod
    async def put(self, blobs: Sequence[Put]) -> None:
        """Keep small blobs in one call. Raises AssertionError if one is not kept."""

    @abstractmethod
    async def get(self, digests: Sequence[Digest]) -> int:
        """Read small blobs in one call; return how many bytes came."""

    @abstractmethod
    async def missing(self, digests: Sequence[Digest]) -> int:
        """Return how many of them are not there."""

    @abstractmethod
    async def write(self, digest: Digest, data: bytes) -> None:
        """Keep a large blob, handed over in pieces of 1 MiB."""

    @abstractmethod
    async def read(self, digest: Digest) -> int:
        """Read a large blob in pieces; return how many bytes came."""


class Disk(Blobs):
    """Our store on a disk, in this process."""

    name = "store"

    def __init__(self, folder: Path) -> None:
        """Keep blobs below `folder`."""
        self._folder = folder

    async def __aenter__(self) -> Blobs:
        """Open it."""
        self._store = await DiskBlobs.open(self._folder, DiskLimits(), time.time, os.urandom)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close it."""
        await self._store.close()

    async def put(self, blobs: Sequence[Put]) -> None:
        """See Blobs."""
        if len(blobs) == 1:
            await self._store.put(_ZONE, blobs[0].data, blobs[0].digest)
        else:
            assert not any(await self._store.put_many(_ZONE, blobs))

    async def get(self, digests: Sequence[Digest]) -> int:
        """See Blobs."""
        found = await self._store.get_many(_ZONE, digests, 1 << 30)
        return sum(len(data) for data in found.values() if isinstance(data, bytes))

    async def missing(self, digests: Sequence[Digest]) -> int:
        """See Blobs."""
        return len(await self._store.missing(_ZONE, digests))

    async def write(self, digest: Digest, data: bytes) -> None:
        """See Blobs."""
        async with self._store.writer(_ZONE, digest) as writer:
            for start in range(0, len(data), PIECE):
                await writer.write(data[start : start + PIECE])
            await writer.commit()

    async def read(self, digest: Digest) -> int:
        """See Blobs."""
        return sum([len(piece) async for piece in self._store.read(_ZONE, digest)])


class Files(Blobs):
    """Files named by their digests in this process: written beside their place, synced, moved, the folder synced."""

    name = "files + fsync"

    def __init__(self, folder: Path) -> None:
        """Keep files in `folder`."""
        self._folder = folder
        self._names = itertools.count()
        self._pool = ThreadPoolExecutor(8)

    async def __aenter__(self) -> Blobs:
        """Open it."""
        self._folder.mkdir(parents=True)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close it."""
        self._pool.shutdown()

    def _put(self, digest: Digest, data: bytes) -> None:
        digest.check(Digest.of(data))
        path = self._folder / digest.hex
        if path.exists():
            return
        draft = self._folder / f"draft-{next(self._names)}"
        with draft.open("wb") as file:
            for start in range(0, len(data), PIECE):
                file.write(data[start : start + PIECE])
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _read(self, digest: Digest) -> int:
        data = (self._folder / digest.hex).read_bytes()
        digest.check(Digest.of(data))
        return len(data)

    async def _each(self, work: object, items: Sequence[tuple[object, ...]]) -> list[object]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(self._pool, work, *item) for item in items))  # type: ignore[arg-type]

    async def put(self, blobs: Sequence[Put]) -> None:
        """See Blobs."""
        await self._each(self._put, [(blob.digest, blob.data) for blob in blobs])

    async def get(self, digests: Sequence[Digest]) -> int:
        """See Blobs."""
        return sum(int(str(size)) for size in await self._each(self._read, [(digest,) for digest in digests]))

    async def missing(self, digests: Sequence[Digest]) -> int:
        """See Blobs."""
        return sum(not (self._folder / digest.hex).exists() for digest in digests)

    async def write(self, digest: Digest, data: bytes) -> None:
        """See Blobs."""
        await self._each(self._put, [(digest, data)])

    async def read(self, digest: Digest) -> int:
        """See Blobs."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, digest)


class Served(Blobs, System):
    """A server of the Remote Execution API's storage, in a process of its own."""

    replicated = complete = False

    def __init__(self, folder: Path) -> None:
        """Keep everything below `folder`."""
        folder.mkdir(parents=True)
        System.__init__(self, folder, 1)

    async def __aenter__(self) -> Served:
        """Start it."""
        await System.__aenter__(self)
        return self

    async def __aexit__(self, *error: object) -> None:
        """End it."""
        await self._channel.close()
        await System.__aexit__(self, *error)

    def cpu_seconds(self) -> float:
        """See Blobs."""
        return System.cpu_seconds(self)

    async def ready(self) -> None:
        """Wait until it answers. Raises TimeoutError."""
        self._channel = grpc.aio.insecure_channel(self.endpoints[0], options=[("grpc.max_receive_message_length", -1)])
        self._cas = ContentAddressableStorageStub(self._channel)
        self._bytes = ByteStreamStub(self._channel)
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                await self._cas.FindMissingBlobs(cas_pb2.FindMissingBlobsRequest(), timeout=2, wait_for_ready=True)
                return
            except grpc.aio.AioRpcError as error:
                if time.monotonic() > until or self._processes[0].poll() is not None:
                    log = self._directory / f"{self.name}-0.log"
                    raise TimeoutError(f"{self.name} is not ready: {log.read_text()[-2000:]}") from error
                await asyncio.sleep(0.1)

    async def put(self, blobs: Sequence[Put]) -> None:
        """See Blobs."""
        request = cas_pb2.BatchUpdateBlobsRequest(
            requests=[cas_pb2.BatchUpdateBlobsRequest.Request(digest=_named(b.digest), data=b.data) for b in blobs]
        )
        response = await self._cas.BatchUpdateBlobs(request, timeout=CALL_SECONDS)
        assert len(response.responses) == len(blobs)
        assert all(each.status.code == 0 for each in response.responses)

    async def get(self, digests: Sequence[Digest]) -> int:
        """See Blobs."""
        request = cas_pb2.BatchReadBlobsRequest(digests=[_named(digest) for digest in digests])
        response = await self._cas.BatchReadBlobs(request, timeout=CALL_SECONDS)
        return sum(len(each.data) for each in response.responses)

    async def missing(self, digests: Sequence[Digest]) -> int:
        """See Blobs."""
        request = cas_pb2.FindMissingBlobsRequest(blob_digests=[_named(digest) for digest in digests])
        return len((await self._cas.FindMissingBlobs(request, timeout=CALL_SECONDS)).missing_blob_digests)

    async def write(self, digest: Digest, data: bytes) -> None:
        """See Blobs."""
        name = f"uploads/{uuid.uuid4()}/blobs/{digest}"

        async def pieces() -> AsyncIterator[bytestream_pb2.WriteRequest]:
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                yield bytestream_pb2.WriteRequest(
                    resource_name="" if start else name,
                    write_offset=start,
                    data=piece,
                    finish_write=start + PIECE >= len(data),
                )

        response = await self._bytes.Write(pieces(), timeout=CALL_SECONDS)
        assert response.committed_size == len(data)

    async def read(self, digest: Digest) -> int:
        """See Blobs."""
        request = bytestream_pb2.ReadRequest(resource_name=f"blobs/{digest}")
        return sum([len(answer.data) async for answer in self._bytes.Read(request, timeout=CALL_SECONDS)])


class Node(Served):
    """A node of ours."""

    name = "quartet"

    def commands(self) -> list[list[str]]:
        """See System."""
        [port] = free_ports(1)
        self.endpoints = [f"127.0.0.1:{port}"]
        data = self._directory / "data"
        return [
            [sys.executable, "-m", "quartet_server", "serve", "--data-dir", str(data), "--listen", self.endpoints[0],
             "--listen-http", ""],
        ]  # fmt: skip


class BuildGrid(Served):
    """BuildGrid with its storage on a disk, which does not sync."""

    name = "buildgrid"
    durable = False

    def commands(self) -> list[list[str]]:
        """See System. Raises SystemExit when there is none."""
        if not BUILDGRID.exists():
            raise SystemExit("BuildGrid is not installed: run `make peers`")
        [port] = free_ports(1)
        self.endpoints = [f"127.0.0.1:{port}"]
        config = self._directory / "buildgrid.yml"
        config.write_text(
            f"thread-pool-size: 30\nserver:\n  - !channel\n    address: 127.0.0.1:{port}\n    insecure-mode: true\n"
            f"instances:\n  - name: ''\n    storages:\n      - !disk-storage &store\n        path: {self._directory}/cas\n"
            "    services:\n      - !cas\n        storage: *store\n      - !bytestream\n        storage: *store\n"
        )
        return [[str(BUILDGRID), "server", "start", str(config)]]


KINDS: tuple[type[Disk] | type[Files] | type[Node] | type[BuildGrid], ...] = (Node, BuildGrid, Disk, Files)


def machine_busy() -> float:
    """Return the CPU seconds that everybody on the machine has used."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - getattr(times, "guest", 0) - getattr(times, "steal", 0))


def _named(digest: Digest) -> digests_pb2.Digest:
    return digests_pb2.Digest(hash=digest.hex, size_bytes=digest.size)
