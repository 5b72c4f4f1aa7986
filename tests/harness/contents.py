"""The bytes of files, over a stub: written and read in one line."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from quartet.files.v1 import files_pb2 as pb

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that nothing compresses, and that are the same in every run."""
    return random.Random(seed).randbytes(size)


async def messages(header: pb.WriteHeader, pieces: Sequence[bytes]) -> AsyncIterator[pb.WriteStreamRequest]:
    """Yield what a WriteStream sends."""
    yield pb.WriteStreamRequest(header=header)
    for piece in pieces:
        yield pb.WriteStreamRequest(data=piece)


async def write(files: FileServiceAsyncStub, path: str, data: bytes, *, piece: int = MIB, **header: Any) -> pb.Entry:
    """Write a file in pieces of `piece` bytes; further arguments go into the header."""
    pieces = [data[i : i + piece] for i in range(0, len(data), piece)]
    return await files.WriteStream(messages(pb.WriteHeader(path=path, **header), pieces))


async def read(files: FileServiceAsyncStub, path: str, **request: Any) -> bytes:
    """Read a file, or the stretch that further arguments of the request name."""
    return (await look(files, path, **request))[1]


async def look(files: FileServiceAsyncStub, path: str, **request: Any) -> tuple[pb.Entry, bytes]:
    """Read a file with its entry."""
    answers = [answer async for answer in files.ReadStream(pb.ReadStreamRequest(path=path, **request))]
    assert [answer.HasField("entry") for answer in answers] == [True] + [False] * (len(answers) - 1)
    return answers[0].entry, b"".join(answer.data for answer in answers)
