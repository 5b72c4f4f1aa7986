"""Zstandard on the wire: unpacked within the size that a digest declares, packed as it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

import zstandard

from quartet_server.errors import FieldInvalid

LEVEL = 3
WINDOW = 8 << 20
"""Bytes of history a frame may need, which is what every decoder must offer (RFC 8878 3.1.1.1.2)."""

_SLICE = 1024  # bytes unpacked at once: a block of 4 bytes can hold 128 KiB, so that they are 32 MiB at most
_TOGETHER = 1 << 20  # plain bytes that are handed on together
_ALONE = 64 << 10  # bytes that are worth a thread
_FIELD = "data"


class Unpacker:
    """Turns the zstd frames of one blob into its bytes, whatever pieces they come in."""

    def __init__(self, size: int) -> None:
        """Unpack a blob of `size` bytes."""
        self._left = size
        self._stream = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj(read_across_frames=True)

    async def pieces(self, data: bytes) -> AsyncIterator[bytes]:
        """Yield the plain bytes of `data`, at most about 32 MiB at a time.

        Raises FieldInvalid for what is not zstd, or unpacks to more than the blob has.
        """
        at = 0
        while at < len(data):
            if len(data) - at > _ALONE:
                piece, at = await asyncio.to_thread(self._some, data, at)
            else:
                piece, at = self._some(data, at)
            if piece:
                yield piece

    def unpacked(self, data: bytes) -> bytes:
        """Return the plain bytes of `data` at once, for blobs that fit into a message. Raises FieldInvalid."""
        pieces, at = [], 0
        while at < len(data):
            piece, at = self._some(data, at)
            pieces.append(piece)
        return b"".join(pieces)

    def _some(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Unpack from `at` on until about a megabyte has come out; return it and where to go on."""
        pieces: list[bytes] = []
        size = 0
        try:
            while at < len(data) and size < _TOGETHER:
                piece = self._stream.decompress(data[at : at + _SLICE])
                at += _SLICE
                size += len(piece)
                if size > self._left:
                    raise FieldInvalid.of(_FIELD, "unpacks to more bytes than the digest says")
                pieces.append(piece)
        except zstandard.ZstdError as error:
            raise FieldInvalid.of(_FIELD, f"is no zstd frame: {error}") from None
        self._left -= size
        return b"".join(pieces), at


class _Packing(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


async def packed(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a blob as one zstd frame, in pieces of any size; closes `pieces` however it ends."""
    stream: _Packing = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    async with aclosing(pieces) as plain:
        async for piece in plain:
            out = await asyncio.to_thread(stream.compress, piece) if len(piece) > _ALONE else stream.compress(piece)
            if out:
                yield out
    yield stream.flush()
