"""The bytes of files, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from quartet._aio_transport import AsyncTransport
from quartet._contents import (
    BATCH,
    MODES,
    RESUMPTIONS,
    Reading,
    Sending,
    Source,
    failed,
    fitting,
    packed,
    patience,
    slices,
)
from quartet._errors import CallError, Unavailable
from quartet._retry import Backoff
from quartet.files.v1 import files_pb2 as pb

AsyncSource: TypeAlias = Source | AsyncIterable[bytes]


class AsyncContents:
    """What `AsyncFiles` does with the bytes of files."""

    def __init__(self, transport: AsyncTransport, new_id: Callable[[], str]) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    async def read(
        self, path: str, *, offset: int = 0, length: int = 0, revision: int = 0, if_match: str = ""
    ) -> bytes:
        """Return the bytes of a file from `offset`, at most `length` of them (0: all), at a past revision if given."""
        stream = self.read_stream(path, offset=offset, length=length, revision=revision, if_match=if_match)
        return b"".join([piece async for piece in stream])

    async def read_stream(
        self, path: str, *, offset: int = 0, length: int = 0, revision: int = 0, if_match: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file in pieces.

        When a node fails, another goes on where it stopped, with the same content: that of the first answer's revision.
        """
        request = pb.ReadStreamRequest(path=path, offset=offset, length=length, revision=revision, if_match=if_match)
        reading, backoff, tries = Reading(request), Backoff(), 0
        while True:
            try:
                async for answer in self._transport.stream(lambda at: at.files.ReadStream, request):
                    tries, backoff = 0, Backoff()
                    if piece := reading.take(answer):
                        yield piece
                return
            except Unavailable as error:
                tries += 1
                if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS or not reading.resume():
                    raise
                await self._transport.rest(backoff.after(error))

    async def write(
        self,
        path: str,
        data: bytes,
        *,
        attributes: pb.Attributes | None = None,
        mode: str = "upsert",
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> pb.Entry:
        """Give a file these bytes, all at once; `mode` is upsert, create or overwrite."""
        return await self.write_stream(
            path,
            data,
            attributes=attributes,
            mode=mode,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id,
            timeout=timeout,
        )

    async def write_stream(
        self,
        path: str,
        source: AsyncSource,
        *,
        attributes: pb.Attributes | None = None,
        mode: str = "upsert",
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> pb.Entry:
        """Give a file the bytes of `source`: bytes, a local path, an open file, or chunks; all at once at their end.

        Bytes, paths and files that can seek are sent again when a node fails; other sources only while none of them has
        been taken. Without `timeout` (seconds) it is the client's and a second for each MiB; 600 where the size is not known.
        """
        header = pb.WriteHeader(
            path=path,
            attributes=attributes,
            mode=MODES[mode],
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        sending = AsyncSending(header, source)
        if timeout is None:
            timeout = patience(self._transport.timeout, sending.size)
        with sending.told():
            return await self._transport.call(lambda at: at.write(sending.stream), header, safe=True, timeout=timeout)

    async def append(
        self,
        path: str,
        data: bytes,
        *,
        create: bool = False,
        attributes: pb.Attributes | None = None,
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.AppendResponse:
        """Add bytes, at most about 4 MiB, at the end of a file, with `create` of one that need not exist."""
        request = pb.AppendRequest(
            path=path,
            data=data,
            create=create,
            attributes=attributes,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return await self._transport.call(lambda at: at.files.Append, request, safe=True)

    async def truncate(
        self,
        path: str,
        size: int,
        *,
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.Entry:
        """Cut a file off at, or fill it with zeros up to, `size` bytes."""
        request = pb.TruncateRequest(
            path=path,
            size=size,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return await self._transport.call(lambda at: at.files.Truncate, request, safe=True)

    async def copy(
        self,
        source: str,
        destination: str,
        *,
        recursive: bool = False,
        mode: str = "upsert",
        if_match: str = "",
        if_none_match: str = "",
        destination_if_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.Entry:
        """Copy a file inside the server, without moving its bytes; with `recursive` a directory with all below it."""
        request = pb.CopyRequest(
            source=source,
            destination=destination,
            recursive=recursive,
            mode=MODES[mode],
            if_match=if_match,
            if_none_match=if_none_match,
            destination_if_match=destination_if_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return await self._transport.call(lambda at: at.files.Copy, request, safe=True)

    async def write_many(
        self,
        files: Sequence[pb.WriteItem] | Mapping[str, bytes],
        *,
        fence: pb.Fence | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> list[pb.WriteResult]:
        """Write any number of small files, as many per call as fit; each has its own result."""
        base = request_id or self._new_id()
        results: list[pb.WriteResult] = []
        for number, items in enumerate(packed(files)):
            request = pb.BatchWriteRequest(files=items, fence=fence, request_id=f"{base}.{number}")
            answer = await self._transport.call(lambda at: at.files.BatchWrite, request, safe=True, timeout=timeout)
            results.extend(answer.results)
        return results

    async def read_many(self, paths: Sequence[str], *, serializable: bool = False) -> list[pb.ReadResult]:
        """Read any number of files, as many per call as fit, those of one call at one revision; each has its own result."""
        results: list[pb.ReadResult] = []
        while len(results) < len(paths):
            asked = paths[len(results) : len(results) + BATCH]
            request = pb.BatchReadRequest(paths=asked, serializable=serializable)
            found = fitting(await self._transport.call(lambda at: at.files.BatchRead, request, safe=True))
            if not found:  # the first one alone is too large for an answer
                found = [await self._read_alone(asked[0])]
            results.extend(found)
        return results

    async def _read_alone(self, path: str) -> pb.ReadResult:
        try:
            entry = await self._transport.call(lambda at: at.files.Stat, pb.StatRequest(path=path), safe=True)
            return pb.ReadResult(entry=entry, data=await self.read(path, revision=entry.revision))
        except CallError as error:
            return failed(error)


class AsyncSending(Sending):
    """The messages of a WriteStream, of a source that may be asynchronous."""

    def __init__(self, header: pb.WriteHeader, source: AsyncSource) -> None:
        """Send the header, then the bytes of the source."""
        self._later = source if isinstance(source, AsyncIterable) else None
        super().__init__(header, () if isinstance(source, AsyncIterable) else source)
        self._again = self._again and self._later is None

    def stream(self) -> AsyncIterator[pb.WriteStreamRequest]:
        """Return the messages. Raises Unavailable when bytes were taken that cannot be read again."""
        return self._all(self.begin())

    async def _all(self, messages: Iterable[pb.WriteStreamRequest]) -> AsyncIterator[pb.WriteStreamRequest]:
        for message in messages:
            yield message
        if self._later is None:
            return
        try:
            async for piece in self._later:
                self._taken = True
                for part in slices([piece]):
                    yield pb.WriteStreamRequest(data=part)
        except Exception as error:
            self._error = error
            raise
