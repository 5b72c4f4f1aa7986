"""Versions of files, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from quartet._aio_transport import AsyncTransport
from quartet._errors import Unavailable
from quartet._retry import Backoff
from quartet._versions import RESUMPTIONS, new_request_id, retention, subject
from quartet.files.v1 import files_pb2
from quartet.versions.v1 import versions_pb2 as pb


class AsyncVersions:
    """What files were before. All methods raise `quartet.CallError`.

    A file is named by its path, also one at which it was deleted or from which it went to the trash, or by its inode number.
    """

    def __init__(self, transport: AsyncTransport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    async def list(self, file: str | int, *, page_size: int = 1000) -> AsyncIterator[pb.Version]:
        """Yield the versions of a file, the newest first; the first is the present one, unless the file is gone."""
        request = pb.ListVersionsRequest(file=subject(file), page_size=page_size)
        while True:
            page = await self._transport.call(lambda at: at.versions.ListVersions, request, safe=True)
            for version in page.versions:
                yield version
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def page(self, file: str | int, *, page_size: int = 0, page_token: str = "") -> pb.ListVersionsResponse:
        """Return one page of a file's versions, with what is lost of its history on the last."""
        request = pb.ListVersionsRequest(file=subject(file), page_size=page_size, page_token=page_token)
        return await self._transport.call(lambda at: at.versions.ListVersions, request, safe=True)

    async def read(self, file: str | int, generation: int, *, offset: int = 0, length: int = 0) -> bytes:
        """Return the bytes of a version from `offset`, at most `length` of them (0: all)."""
        return b"".join([piece async for piece in self.read_stream(file, generation, offset=offset, length=length)])

    async def read_stream(
        self, file: str | int, generation: int, *, offset: int = 0, length: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a version in pieces; when a node fails, another goes on where it stopped."""
        request = pb.ReadVersionRequest(file=subject(file), generation=generation, offset=offset, length=length)
        backoff, tries = Backoff(), 0
        while True:
            try:
                async for answer in self._transport.stream(lambda at: at.versions.ReadVersion, request):
                    tries, backoff = 0, Backoff()
                    request.offset += len(answer.data)
                    if length:
                        request.length -= len(answer.data)
                    if answer.data:
                        yield answer.data
                    if length and not request.length:
                        return
                return
            except Unavailable as error:
                tries += 1
                if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS:
                    raise
                await self._transport.rest(backoff.after(error))

    async def diff(
        self, file: str | int, from_generation: int = 0, to_generation: int = 0, *, context: int = 3
    ) -> pb.DiffVersionsResponse:
        """Tell what changed from one version to another; without them, what the last write changed."""
        request = pb.DiffVersionsRequest(
            file=subject(file),
            from_generation=from_generation,
            to_generation=to_generation,
            context=context,
        )
        return await self._transport.call(lambda at: at.versions.DiffVersions, request, safe=True)

    async def rollback(
        self,
        path: str,
        generation: int,
        *,
        ino: int = 0,
        attributes: bool = False,
        if_match: str = "",
        if_none_match: str = "",
        fence: files_pb2.Fence | None = None,
        request_id: str = "",
    ) -> files_pb2.Entry:
        """Write the file at a path with the content of an old version, of the file `ino` if given; no byte is copied."""
        request = pb.RollbackRequest(
            path=path,
            generation=generation,
            ino=ino,
            attributes=attributes,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return await self._transport.call(lambda at: at.versions.Rollback, request, safe=True)

    async def deleted(self, path: str, *, page_size: int = 1000) -> AsyncIterator[pb.DeletedFile]:
        """Yield the files that were deleted from a directory and still have versions."""
        request = pb.ListDeletedRequest(path=path, page_size=page_size)
        while True:
            page = await self._transport.call(lambda at: at.versions.ListDeleted, request, safe=True)
            for gone in page.files:
                yield gone
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete(self, file: str | int, before_generation: int) -> int:
        """Give up the versions before a generation; return how many."""
        request = pb.DeleteVersionsRequest(file=subject(file), before_generation=before_generation)
        return (await self._transport.call(lambda at: at.versions.DeleteVersions, request, safe=True)).deleted

    async def set_retention(
        self,
        path: str,
        *,
        max_versions: int | None = None,
        min_versions: int | None = None,
        keep_seconds: int | None = None,
    ) -> pb.RetentionSetting:
        """Say how long versions are kept of a file, or of what is below a directory; None means the default."""
        request = pb.SetRetentionRequest(path=path, retention=retention(max_versions, min_versions, keep_seconds))
        return await self._transport.call(lambda at: at.versions.SetRetention, request, safe=True)

    async def get_retention(self, path: str) -> pb.RetentionSetting:
        """Tell how long versions are kept of what is at a path, and where that was set."""
        request = pb.GetRetentionRequest(path=path)
        return await self._transport.call(lambda at: at.versions.GetRetention, request, safe=True)

    async def remove_retention(self, path: str) -> bool:
        """Take a path's own setting away; tell whether there was one."""
        request = pb.RemoveRetentionRequest(path=path)
        return (await self._transport.call(lambda at: at.versions.RemoveRetention, request, safe=True)).existed

    async def collect(self, *, dry_run: bool = False) -> pb.CollectVersionsResponse:
        """Give up what is past its retention in the zone, or only count it; for operators."""
        request = pb.CollectVersionsRequest(dry_run=dry_run)
        return await self._transport.call(lambda at: at.versions.CollectVersions, request, safe=True)
