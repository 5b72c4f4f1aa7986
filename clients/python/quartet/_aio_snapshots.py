"""Snapshots, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from quartet._aio_transport import AsyncTransport
from quartet._errors import Unavailable
from quartet._files import new_request_id
from quartet._retry import Backoff
from quartet._snapshots import TRIES, Watcher, advance
from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb


class AsyncSnapshots:
    """Directories as they were. A snapshot is named by its id, by a ref, or by its root digest in hexadecimal.

    All methods raise `quartet.CallError`. Calls that take long have no deadline; `told` is called about once a second with
    how far they are. When a node fails they are repeated with the same request id, which makes them happen once.
    """

    def __init__(self, transport: AsyncTransport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    async def create(
        self,
        path: str,
        message: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        ref: str = "",
        expected_parent: str = "",
        request_id: str = "",
        told: Watcher | None = None,
    ) -> pb.Snapshot:
        """Photograph a directory; `ref` names the snapshot, `expected_parent` is the id that must be the newest, or `none`."""
        request = pb.CreateSnapshotRequest(
            path=path,
            message=message,
            labels=labels,
            ref=ref,
            expected_parent=expected_parent,
            request_id=request_id or self._new_id(),
        )
        tries, backoff = 0, Backoff()
        while True:
            try:
                async for answer in self._transport.stream(lambda at: at.snapshots.CreateSnapshot, request):
                    if answer.HasField("snapshot"):
                        return answer.snapshot
                    if told is not None:
                        told(answer.progress)
                raise AssertionError("the stream ended without a snapshot")
            except Unavailable as error:
                tries += 1
                if tries > TRIES:
                    raise
                await self._transport.rest(backoff.after(error))

    async def get(self, snapshot: str) -> pb.Snapshot:
        """Tell about one snapshot."""
        request = pb.GetSnapshotRequest(snapshot=snapshot)
        return await self._transport.call(lambda at: at.snapshots.GetSnapshot, request, safe=True)

    async def list(
        self, path: str = "", *, ref: str = "", labels: Mapping[str, str] | None = None, page_size: int = 200
    ) -> AsyncIterator[pb.Snapshot]:
        """Yield snapshots, the newest first: all, those of a path, or those that lead to a ref."""
        request = pb.ListSnapshotsRequest(path=path, ref=ref, labels=labels, page_size=page_size)
        while True:
            page = await self._transport.call(lambda at: at.snapshots.ListSnapshots, request, safe=True)
            for one in page.snapshots:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete(self, snapshot: str, *, request_id: str = "") -> pb.DeleteSnapshotResponse:
        """Give a snapshot up. Raises FailedPrecondition while a ref names it."""
        request = pb.DeleteSnapshotRequest(snapshot=snapshot, request_id=request_id or self._new_id())
        return await self._transport.call(lambda at: at.snapshots.DeleteSnapshot, request, safe=True)

    async def diff(self, snapshot: str, other: str = "", *, path: str = "") -> AsyncIterator[pb.Change]:
        """Yield what differs between two snapshots, or between one and the present tree, in the order of the paths."""
        request = pb.DiffSnapshotsRequest(snapshot=snapshot, other=other, path=path)
        async for answer in self._transport.stream(lambda at: at.snapshots.DiffSnapshots, request):
            for one in answer.changes:
                yield one

    async def restore(
        self,
        snapshot: str,
        path: str = "",
        *,
        source: str = "",
        if_match: str = "",
        if_none_match: str = "",
        fence: files_pb2.Fence | None = None,
        request_id: str = "",
        told: Watcher | None = None,
    ) -> pb.RestoreSnapshotResponse:
        """Make a path what it was, or what is at `source` in the snapshot; what was there goes to the trash."""
        request = pb.RestoreSnapshotRequest(
            snapshot=snapshot,
            source=source,
            path=path,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return await self._put(lambda: self._transport.stream(lambda at: at.snapshots.RestoreSnapshot, request), told)

    async def branch(
        self,
        snapshot: str,
        path: str,
        *,
        source: str = "",
        fence: files_pb2.Fence | None = None,
        request_id: str = "",
        told: Watcher | None = None,
    ) -> pb.RestoreSnapshotResponse:
        """Make a new entry of a snapshot, or of what is at `source` in it; bytes are shared until they are written."""
        request = pb.BranchSnapshotRequest(
            snapshot=snapshot, source=source, path=path, fence=fence, request_id=request_id or self._new_id()
        )
        return await self._put(lambda: self._transport.stream(lambda at: at.snapshots.BranchSnapshot, request), told)

    async def stat(self, snapshot: str, path: str = "/") -> pb.StatEntryResponse:
        """Read one entry of a snapshot, with its extended attributes."""
        request = pb.StatEntryRequest(snapshot=snapshot, path=path)
        return await self._transport.call(lambda at: at.snapshots.StatEntry, request, safe=True)

    async def entries(self, snapshot: str, path: str = "/", *, page_size: int = 1000) -> AsyncIterator[pb.TreeEntry]:
        """Yield the entries of a directory of a snapshot."""
        request = pb.ListEntriesRequest(snapshot=snapshot, path=path, page_size=page_size)
        while True:
            page = await self._transport.call(lambda at: at.snapshots.ListEntries, request, safe=True)
            for one in page.entries:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def read(self, snapshot: str, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return the bytes of a file of a snapshot from `offset`, at most `length` of them (0: all)."""
        pieces = self.read_stream(snapshot, path, offset=offset, length=length)
        return b"".join([piece async for piece in pieces])

    async def read_stream(self, snapshot: str, path: str, *, offset: int = 0, length: int = 0) -> AsyncIterator[bytes]:
        """Yield the bytes of a file of a snapshot in pieces; another node goes on where one failed."""
        request = pb.ReadEntryRequest(snapshot=snapshot, path=path, offset=offset, length=length)
        tries, backoff = 0, Backoff()
        while True:
            try:
                async for answer in self._transport.stream(lambda at: at.snapshots.ReadEntry, request):
                    if answer.data:
                        tries, backoff = 0, Backoff()
                        advance(request, len(answer.data))
                        yield answer.data
                return
            except Unavailable as error:
                tries += 1
                if tries > TRIES:
                    raise
                if length and not request.length:  # all had come
                    return
                await self._transport.rest(backoff.after(error))

    async def set_ref(self, ref: str, snapshot: str, *, expected: str = "", request_id: str = "") -> pb.Ref:
        """Give a snapshot a name; `expected` is the id that has it now, or `none`."""
        request = pb.SetRefRequest(
            ref=ref, snapshot=snapshot, expected=expected, request_id=request_id or self._new_id()
        )
        return await self._transport.call(lambda at: at.snapshots.SetRef, request, safe=True)

    async def refs(self, *, page_size: int = 1000) -> AsyncIterator[pb.Ref]:
        """Yield the names of snapshots, in their order."""
        request = pb.ListRefsRequest(page_size=page_size)
        while True:
            page = await self._transport.call(lambda at: at.snapshots.ListRefs, request, safe=True)
            for one in page.refs:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete_ref(self, ref: str, *, request_id: str = "") -> pb.DeleteRefResponse:
        """Take a name away; the snapshot stays."""
        request = pb.DeleteRefRequest(ref=ref, request_id=request_id or self._new_id())
        return await self._transport.call(lambda at: at.snapshots.DeleteRef, request, safe=True)

    async def _put(
        self, begin: Callable[[], AsyncIterator[pb.RestoreSnapshotResponse]], told: Watcher | None
    ) -> pb.RestoreSnapshotResponse:
        """Follow a restoration to its end, again when a node fails."""
        tries, backoff = 0, Backoff()
        while True:
            try:
                async for answer in begin():
                    if answer.HasField("entry"):
                        return answer
                    if told is not None:
                        told(answer.progress)
                raise AssertionError("the stream ended without an entry")
            except Unavailable as error:
                tries += 1
                if tries > TRIES:
                    raise
                await self._transport.rest(backoff.after(error))
