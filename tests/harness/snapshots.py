"""Snapshots over a port: made, put back and compared in one line; and whole trees as dictionaries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grpc import aio
from quartet.files.v1 import files_pb2, files_pb2_grpc
from quartet.objects.v1 import objects_pb2_grpc
from quartet.snapshots.v1 import snapshots_pb2 as pb
from quartet.snapshots.v1 import snapshots_pb2_grpc
from quartet.wire.reapi import bytestream_pb2_grpc, cas_pb2_grpc
from quartet_server.domain import Domain

from harness.contents import read
from harness.served import served

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub
    from quartet.snapshots.v1.snapshots_pb2_grpc import SnapshotServiceAsyncStub

DIRECTORY, FILE = files_pb2.ENTRY_TYPE_DIRECTORY, files_pb2.ENTRY_TYPE_FILE


class Caller:
    """A stub whose calls all carry the same metadata."""

    def __init__(self, stub: Any, metadata: Sequence[tuple[str, str]]) -> None:
        self._stub, self._metadata = stub, tuple(metadata)

    def __getattr__(self, method: str) -> Any:
        return lambda request: getattr(self._stub, method)(request, metadata=self._metadata)


@dataclass
class Port:
    """A port with files and snapshots.

    Attributes:
        channel: To it.
        metadata: What every call carries.
    """

    channel: aio.Channel
    metadata: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        self.files: FileServiceAsyncStub = self._stub(files_pb2_grpc.FileServiceStub)
        self.snapshots: SnapshotServiceAsyncStub = self._stub(snapshots_pb2_grpc.SnapshotServiceStub)
        self.objects = objects_pb2_grpc.ObjectServiceStub(self.channel)
        self.cas = cas_pb2_grpc.ContentAddressableStorageStub(self.channel)
        self.bytes = bytestream_pb2_grpc.ByteStreamStub(self.channel)

    def of(self, **metadata: str) -> Port:
        """The same port for calls with metadata, `quartet_zone` for `quartet-zone`."""
        return Port(self.channel, tuple((key.replace("_", "-"), value) for key, value in metadata.items()))

    def _stub(self, kind: Callable[[Any], Any]) -> Any:
        stub = kind(self.channel)
        return Caller(stub, self.metadata) if self.metadata else stub

    async def create(self, path: str = "/", **request: Any) -> pb.Snapshot:
        """Photograph a directory."""
        stream = self.snapshots.CreateSnapshot(pb.CreateSnapshotRequest(path=path, **request))
        answers = [answer async for answer in stream]
        assert [answer.HasField("snapshot") for answer in answers] == [False] * (len(answers) - 1) + [True]
        return answers[-1].snapshot

    async def restore(self, snapshot: str, path: str = "", **request: Any) -> pb.RestoreSnapshotResponse:
        """Put a path back."""
        request_ = pb.RestoreSnapshotRequest(snapshot=snapshot, path=path, **request)
        return [answer async for answer in self.snapshots.RestoreSnapshot(request_)][-1]

    async def branch(self, snapshot: str, path: str, **request: Any) -> pb.RestoreSnapshotResponse:
        """Branch from a snapshot."""
        request_ = pb.BranchSnapshotRequest(snapshot=snapshot, path=path, **request)
        return [answer async for answer in self.snapshots.BranchSnapshot(request_)][-1]

    async def diff(self, snapshot: str, other: str = "", **request: Any) -> list[pb.Change]:
        """Compare."""
        request_ = pb.DiffSnapshotsRequest(snapshot=snapshot, other=other, **request)
        return [change async for answer in self.snapshots.DiffSnapshots(request_) for change in answer.changes]

    async def read(self, snapshot: str, path: str, **request: Any) -> bytes:
        """Read a file of a snapshot."""
        request_ = pb.ReadEntryRequest(snapshot=snapshot, path=path, **request)
        return b"".join([answer.data async for answer in self.snapshots.ReadEntry(request_)])

    async def log(self, **request: Any) -> list[str]:
        """Ids of snapshots."""
        answer = await self.snapshots.ListSnapshots(pb.ListSnapshotsRequest(**request))
        return [one.id for one in answer.snapshots]

    async def fill(self, *paths: str) -> None:
        """Create entries; a path that ends in / is a directory, one with -> a link, others files of their own path's bytes."""
        entries = [_entry(path) for path in paths if path.endswith("/") or "->" in path]
        for at in range(0, len(entries), 1000):
            answer = await self.files.BatchCreate(files_pb2.BatchCreateRequest(entries=entries[at : at + 1000]))
            assert answer.created == len(entries[at : at + 1000]), answer
        items = [
            files_pb2.WriteItem(path=path, data=path.encode())
            for path in paths
            if not path.endswith("/") and "->" not in path
        ]
        for at in range(0, len(items), 1000):
            written = await self.files.BatchWrite(files_pb2.BatchWriteRequest(files=items[at : at + 1000]))
            assert written.written == len(items[at : at + 1000]), written

    async def everything(self, path: str) -> dict[str, tuple[Any, ...]]:
        """All there is at a path and below it, by path below it: type, attributes, extended attributes and bytes."""
        base = "" if path == "/" else path
        top = await self.files.Stat(files_pb2.StatRequest(path=path))
        entries, token = [top], ""
        while True:
            request = files_pb2.ListRequest(path=path, recursive=True, detail=True, page_size=1000, page_token=token)
            page = await self.files.List(request)
            entries += page.entries
            token = page.next_page_token
            if not token:
                break
        found = {}
        for entry in entries:
            xattrs = (await self.files.ListXattrs(files_pb2.ListXattrsRequest(path=entry.path))).xattrs
            stored = entry.type == FILE and entry.stored
            attributes = files_pb2.Attributes()
            attributes.CopyFrom(entry.attributes)
            if not attributes.size:
                attributes.digest = b""  # an empty file may have been created, or written without bytes
            found[entry.path.removeprefix(base)] = (
                entry.type,
                attributes.SerializeToString(deterministic=True),
                tuple((one.name, one.value) for one in xattrs),
                await read(self.files, entry.path) if stored else None,
            )
        return found


def _entry(path: str) -> files_pb2.CreateEntry:
    name, arrow, target = path.partition("->")
    if arrow:
        attributes = files_pb2.Attributes(symlink_target=target)
        return files_pb2.CreateEntry(path=name, type=files_pb2.ENTRY_TYPE_SYMLINK, attributes=attributes)
    return files_pb2.CreateEntry(path=path, type=DIRECTORY, attributes=files_pb2.Attributes(mode=0o755))


@asynccontextmanager
async def port(*domains: Domain) -> AsyncIterator[Port]:
    """Serve `domains`."""
    async with served(domains) as address, aio.insecure_channel(address) as channel:
        yield Port(channel)
