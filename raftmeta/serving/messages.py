"""Length-prefixed messages: taken out of DATA, bounded, decompressed."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from raftmeta.serving.faults import Refusal

Parts: TypeAlias = tuple[bytes | memoryview, ...]
"""A message in bytes, in parts that need not be copied together before they leave."""

PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""
ENCODINGS = ("identity", "deflate", "gzip")

_WBITS = {"deflate": 15, "gzip": 31}
_PIECE = 256 * 1024  # bytes decompressed before others get their turn
_OVERHEAD = 64  # bytes that a waiting message costs besides its own


@dataclass(slots=True)
class Budget:
    """Bytes of requests that wait, over a whole server."""

    limit: int
    held: int = 0


class Inbox:
    """One request's messages on their way from DATA frames to the call.

    Attributes:
        ready: Cost in bytes of the whole messages that wait to be taken.
    """

    __slots__ = ("_budget", "_held", "_limit", "_need", "_partial", "_whole", "ready")

    def __init__(self, limit: int, budget: Budget) -> None:
        """Take messages up to `limit` bytes, and count what waits towards `budget`."""
        self._limit = limit
        self._budget = budget
        self._held = 0
        self._partial = bytearray()
        self._need = PREFIX
        self._whole: deque[tuple[bool, bytes]] = deque()
        self.ready = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Add the payload of a DATA frame. Raises Refusal for a message, or all that waits, being too large."""
        partial = self._partial
        partial += data
        self._hold(len(data))
        at = 0
        while len(partial) - at >= self._need:
            length = int.from_bytes(partial[at + 1 : at + PREFIX], "big")
            check_length(length, self._limit)
            if partial[at] > 1:
                raise Refusal(grpc.StatusCode.INTERNAL, f"grpc: message with unexpected flag {partial[at]}")
            end = at + PREFIX + length
            if len(partial) < end:
                self._need = PREFIX + length
                break
            with memoryview(partial) as view:
                self._whole.append((bool(partial[at]), bytes(view[at + PREFIX : end])))
            self._hold(_OVERHEAD)
            self.ready += PREFIX + length + _OVERHEAD
            at, self._need = end, PREFIX
        del partial[:at]

    def take(self) -> tuple[bool, bytes] | None:
        """Return the next message and whether it is compressed; None while there is no whole one."""
        if not self._whole:
            return None
        compressed, message = self._whole.popleft()
        cost = PREFIX + len(message) + _OVERHEAD
        self.ready -= cost
        self._held -= cost
        self._budget.held -= cost
        return compressed, message

    @property
    def broken(self) -> bool:
        """Whether the request, if it ended now, would end inside a message."""
        return bool(self._partial)

    def close(self) -> None:
        """Forget everything."""
        self._budget.held -= self._held
        self._held = self.ready = 0
        self._whole.clear()
        self._partial.clear()

    def _hold(self, size: int) -> None:
        self._held += size
        self._budget.held += size
        if self._budget.held > self._budget.limit:
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many bytes of requests wait on this server")


def check_length(length: int, limit: int) -> None:
    """Raise Refusal for a message that is longer than `limit` bytes."""
    if length > limit:
        raise Refusal(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({length} vs. {limit})"
        )


async def inflate(data: bytes, encoding: str, limit: int) -> bytes:
    """Return a message decompressed, giving others their turn meanwhile. Raises Refusal."""
    if encoding not in _WBITS:
        raise Refusal(grpc.StatusCode.INTERNAL, "grpc: compressed flag set with identity or empty encoding")
    stream = zlib.decompressobj(_WBITS[encoding])
    pieces: list[bytes] = []
    total = 0
    try:
        while not stream.eof:
            piece = stream.decompress(data, _PIECE)
            data = stream.unconsumed_tail
            total += len(piece)
            if total > limit:
                check_length(total, limit)
            if not piece and not data and not stream.eof:
                raise zlib.error("it ends early")  # noqa: TRY301 - as the library itself would say
            pieces.append(piece)
            await asyncio.sleep(0)
    except zlib.error as error:
        raise Refusal(grpc.StatusCode.INTERNAL, f"grpc: failed to decompress the received message: {error}") from None
    return b"".join(pieces)
