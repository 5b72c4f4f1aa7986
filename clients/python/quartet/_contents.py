"""The bytes of files, for synchronous callers."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import grpc

from quartet._errors import CallError, Unavailable
from quartet._retry import Backoff
from quartet._transport import Transport
from quartet.files.v1 import files_pb2 as pb

BATCH = 1000
"""The most files in one call."""
PIECE = 512 << 10
"""Bytes of a message of a stream."""
MESSAGE = (4 << 20) - (64 << 10)
"""Bytes of files in one call: a message has 4 MiB, and the rest of it needs some."""
RESUMPTIONS = 6
"""How often a read is resumed that brings nothing."""
PATIENCE = 600.0
"""Seconds for a call that moves a file of unknown size."""
MODES = {
    "upsert": pb.WRITE_MODE_UPSERT,
    "create": pb.WRITE_MODE_CREATE,
    "overwrite": pb.WRITE_MODE_OVERWRITE,
}
Source: TypeAlias = bytes | Path | BinaryIO | Iterable[bytes]


class Contents:
    """What `Files` does with the bytes of files."""

    def __init__(self, transport: Transport, new_id: Callable[[], str]) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    def read(self, path: str, *, offset: int = 0, length: int = 0, revision: int = 0, if_match: str = "") -> bytes:
        """Return the bytes of a file from `offset`, at most `length` of them (0: all), at a past revision if given."""
        stream = self.read_stream(path, offset=offset, length=length, revision=revision, if_match=if_match)
        return b"".join(stream)

    def read_stream(
        self, path: str, *, offset: int = 0, length: int = 0, revision: int = 0, if_match: str = ""
    ) -> Generator[bytes, None, pb.Entry]:
        """Yield the bytes of a file in pieces; the generator returns the file's entry.

        When a node fails, another goes on where it stopped, with the same content: that of the first answer's revision.
        """
        request = pb.ReadStreamRequest(path=path, offset=offset, length=length, revision=revision, if_match=if_match)
        reading, backoff, tries = Reading(request), Backoff(), 0
        while True:
            try:
                for answer in self._transport.stream(lambda at: at.files.ReadStream, request):
                    tries, backoff = 0, Backoff()
                    if piece := reading.take(answer):
                        yield piece
                return reading.end()
            except Unavailable as error:
                tries += 1
                if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS or not reading.resume():
                    raise
                self._transport.rest(backoff.after(error))

    def write(
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
        return self.write_stream(
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

    def write_stream(
        self,
        path: str,
        source: Source,
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
        sending = Sending(header, source)
        if timeout is None:
            timeout = patience(self._transport.timeout, sending.size)
        with sending.told():
            return self._transport.call(lambda at: at.write(sending.begin), header, safe=True, timeout=timeout)

    def append(
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
        return self._transport.call(lambda at: at.files.Append, request, safe=True)

    def truncate(
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
        return self._transport.call(lambda at: at.files.Truncate, request, safe=True)

    def copy(
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
        return self._transport.call(lambda at: at.files.Copy, request, safe=True)

    def write_many(
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
            answer = self._transport.call(lambda at: at.files.BatchWrite, request, safe=True, timeout=timeout)
            results.extend(answer.results)
        return results

    def read_many(self, paths: Sequence[str], *, serializable: bool = False) -> list[pb.ReadResult]:
        """Read any number of files, as many per call as fit, those of one call at one revision; each has its own result."""
        results: list[pb.ReadResult] = []
        while len(results) < len(paths):
            asked = paths[len(results) : len(results) + BATCH]
            request = pb.BatchReadRequest(paths=asked, serializable=serializable)
            found = fitting(self._transport.call(lambda at: at.files.BatchRead, request, safe=True))
            if not found:  # the first one alone is too large for an answer
                found = [self._read_alone(asked[0])]
            results.extend(found)
        return results

    def _read_alone(self, path: str) -> pb.ReadResult:
        stream, data = self.read_stream(path), bytearray()
        try:
            while True:
                data += next(stream)
        except StopIteration as end:
            return pb.ReadResult(entry=end.value, data=bytes(data))
        except CallError as error:
            return failed(error)


class Sending:
    """The messages of a WriteStream, from the beginning as often as it is begun."""

    def __init__(self, header: pb.WriteHeader, source: Source) -> None:
        """Send the header, then the bytes of the source."""
        self._pieces, self._again, size = source_of(source)
        self._taken = False
        self._error: Exception | None = None
        self.header = header
        self.size = size
        if size is not None:
            header.size = size

    def begin(self) -> Iterator[pb.WriteStreamRequest]:
        """Return the messages. Raises Unavailable when bytes were taken that cannot be read again."""
        if self._taken and not self._again:
            raise Unavailable(
                grpc.StatusCode.UNAVAILABLE,
                "the call failed while it took bytes that cannot be read again",
                reason="SOURCE_SPENT",
            )
        return self._messages()

    def _messages(self) -> Iterator[pb.WriteStreamRequest]:
        yield pb.WriteStreamRequest(header=self.header)
        try:
            for piece in self._pieces():
                self._taken = True
                yield pb.WriteStreamRequest(data=piece)
        except Exception as error:
            self._error = error  # gRPC would only say that something went wrong while it asked for the next message
            raise

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raise what went wrong with the source instead of what gRPC makes of it."""
        try:
            yield
        except BaseException:  # asyncio's stack says that the call was cancelled
            if self._error is not None:
                raise self._error from None
            raise


class Reading:
    """A file on its way in, from as many nodes as it takes."""

    def __init__(self, request: pb.ReadStreamRequest) -> None:
        """Read what the request names; the request is changed to go on after a failure."""
        self._request = request
        self._bounded = request.length > 0
        self._entry: pb.Entry | None = None
        self._left = request.length

    def take(self, answer: pb.ReadStreamResponse) -> bytes:
        """Return the bytes of an answer."""
        if self._entry is None:
            self._entry = answer.entry
        self._request.offset += len(answer.data)
        self._left -= len(answer.data)
        return answer.data

    def resume(self) -> bool:
        """Make the request go on where the answers stopped; False when none had come."""
        if self._entry is None:
            return True
        self._request.revision = self._entry.revision
        if self._bounded:
            if not self._left:
                return False
            self._request.length = self._left
        return True

    def end(self) -> pb.Entry:
        """Return the file's entry."""
        assert self._entry is not None
        return self._entry


def source_of(source: Source) -> tuple[Callable[[], Iterator[bytes]], bool, int | None]:
    """Return what yields the pieces of a source, whether it can more than once, and how many bytes they are if known."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return lambda: slices([data]), True, len(data)
    if isinstance(source, Path):
        return lambda: _pieces_of_path(source), True, None
    if isinstance(source, io.IOBase):
        file = cast("BinaryIO", source)
        start = file.tell() if file.seekable() else None
        return lambda: _pieces_of_file(file, start), start is not None, None
    return lambda: slices(source), isinstance(source, Sequence), None


def slices(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces in parts that fit into a message."""
    for piece in pieces:
        for i in range(0, len(piece), PIECE):
            yield piece[i : i + PIECE]


def _pieces_of_path(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _pieces_of_file(file, None)


def _pieces_of_file(file: BinaryIO, start: int | None) -> Iterator[bytes]:
    if start is not None:
        file.seek(start, os.SEEK_SET)
    while piece := file.read(PIECE):
        yield piece


def patience(timeout: float, size: int | None) -> float:
    """Return the seconds for a stream of `size` bytes, for a client whose calls have `timeout`."""
    return PATIENCE if size is None else timeout + size / (1 << 20)


def packed(files: Sequence[pb.WriteItem] | Mapping[str, bytes]) -> Iterator[list[pb.WriteItem]]:
    """Yield the files in groups that fit into one call, in order."""
    items = (
        [pb.WriteItem(path=path, data=data) for path, data in files.items()] if isinstance(files, Mapping) else files
    )
    group: list[pb.WriteItem] = []
    room = MESSAGE
    for item in items:
        size = item.ByteSize() + 8
        if group and (len(group) == BATCH or size > room):
            yield group
            group, room = [], MESSAGE
        group.append(item)
        room -= size
    if group:
        yield group


def fitting(answer: pb.BatchReadResponse) -> list[pb.ReadResult]:
    """Return the results up to the first that had no room in the answer."""
    found: list[pb.ReadResult] = []
    for result in answer.results:
        if result.failure.reason == "LIMIT_REACHED":
            break
        found.append(result)
    return found


def failed(error: CallError) -> pb.ReadResult:
    """Return the result of a file that could not be read."""
    code: int = error.code.value[0]
    return pb.ReadResult(failure=pb.Failure(code=code, reason=error.reason, message=error.message))
