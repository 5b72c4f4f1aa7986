"""Histories of files: written, recorded and read in one line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from quartet.files.v1 import files_pb2
from quartet.versions.v1 import versions_pb2 as pb
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.versions import keys
from quartet_server.versions.observer import began
from quartet_server.versions.service import VersionService

from harness.contents import write
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub
    from quartet.versions.v1.versions_pb2_grpc import VersionServiceAsyncStub

PATIENCE = 30.0


class Clock:
    """The machine's time, and what a test adds to it."""

    def __init__(self) -> None:
        """Begin with the machine's."""
        self.ahead = 0.0
        self.step = 0.0

    def __call__(self) -> float:
        """Return the seconds since 1970; each look may move them on."""
        self.ahead += self.step
        return time.time() + self.ahead


class Desk:
    """Two services at work.

    Attributes:
        store: Their Metastore.
        blobs: Their store of blobs.
        clock: The time of versions.
        service: The VersionService.
        files: A stub of FileService.
        versions: A stub of VersionService.
    """

    files: FileServiceAsyncStub
    versions: VersionServiceAsyncStub

    def __init__(self, store: Metastore, blobs: MemoryBlobs, idle: float) -> None:
        """Serve `store`; `idle` in seconds as in `VersionService`."""
        self.store = store
        self.blobs = blobs
        self.clock = Clock()
        self.idle = idle
        self.service = self.another()
        self._drawn = 0

    def another(self, store: Metastore | None = None, **options: Any) -> VersionService:
        """Return a VersionService as another node has one; nothing runs."""
        chosen = {"idle": self.idle, "ttl": 2, "linger": 0.0, "advance": 0.2, **options}
        return VersionService(store or self.store, self.clock, self.blobs, **chosen)

    def new(self) -> int:
        """Return a number that was not returned before."""
        self._drawn += 1
        return self._drawn

    async def begin(self) -> None:
        """From here on everything is a version, though nobody records."""
        await began(self.store)

    async def record(self) -> None:
        """Begin to record."""
        self.service.begin()
        await until(lambda: self.service.observer.told("default") > 0)

    async def recorded(self, zone: str = "default") -> None:
        """Wait until everything written so far is recorded."""
        now = (await self.store.range(rpc_pb2.RangeRequest(key=keys.BEGAN))).header.revision
        await self.files.CreateFile(files_pb2.CreateFileRequest(path="/.mark", overwrite=True), metadata=zoned(zone))
        await until(lambda: self.service.observer.told(zone) > now)

    async def write(self, path: str, *contents: bytes, **header: Any) -> files_pb2.Entry:
        """Write a file as often as there are contents; return the last entry."""
        for content in contents:
            entry = await write(self.files, path, content, **header)
        return entry

    async def versions_of(self, file: str | int, **request: Any) -> list[pb.Version]:
        """Return all versions of a file, the newest first."""
        found: list[pb.Version] = []
        asked = pb.ListVersionsRequest(file=subject(file), **request)
        while True:
            page = await self.versions.ListVersions(asked)
            found += page.versions
            if not page.next_page_token:
                return found
            asked.page_token = page.next_page_token

    async def read(self, file: str | int, generation: int, **request: Any) -> bytes:
        """Return the bytes of a version."""
        asked = pb.ReadVersionRequest(file=subject(file), generation=generation, **request)
        return b"".join([answer.data async for answer in self.versions.ReadVersion(asked)])

    async def history(self, file: str | int) -> list[bytes]:
        """Return the bytes of all versions of a file, the oldest first."""
        return [await self.read(file, one.generation) for one in reversed(await self.versions_of(file))]

    async def keys(self, prefix: bytes) -> list[bytes]:
        """Return the keys that begin with a prefix."""
        found = await self.store.range(
            rpc_pb2.RangeRequest(key=prefix, range_end=prefix[:-1] + bytes([prefix[-1] + 1]), keys_only=True)
        )
        return [bytes(kv.key) for kv in found.kvs]


def subject(file: str | int) -> pb.Subject:
    """Return how a request names a file."""
    return pb.Subject(ino=file) if isinstance(file, int) else pb.Subject(path=file)


def zoned(zone: str) -> Sequence[tuple[str, str]]:
    """Return the metadata of a call in a zone."""
    return (("quartet-zone", zone),)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)
