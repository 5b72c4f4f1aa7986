"""How bytes flow through a call: idle callers end, uploads in flight are counted, pieces have the size that suits the wire."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TypeVar

from quartet_server.errors import DeadlinePassed, TooManyRequests

Request = TypeVar("Request")

IDLE_SECONDS = 60.0
"""For which an upload may send nothing."""
IN_FLIGHT = 256
"""Uploads at once on a node, those included that broke off and may go on."""
PIECE = 1 << 20
"""Most bytes of a blob in one message that is sent."""
RETRY_SECONDS = 1.0
_BYTES = 2  # how a message says that a field holds bytes


async def next_request(requests: AsyncIterator[Request], idle: float = IDLE_SECONDS) -> Request | None:
    """Return the next request of a stream, None at its end. Raises DeadlinePassed when none comes for `idle` seconds."""
    try:
        async with asyncio.timeout(idle):
            return await anext(requests, None)
    except TimeoutError:
        raise DeadlinePassed(
            f"nothing came for {idle:g} s", hint="send the next piece sooner", seconds=f"{idle:g}"
        ) from None


class Places:
    """Counts uploads in flight, so that they cannot take all of a node's memory, files and sockets."""

    def __init__(self, most: int = IN_FLIGHT) -> None:
        """Allow `most` at once."""
        self._free = most

    @property
    def left(self) -> bool:
        """Whether there is a place."""
        return self._free > 0

    def take(self) -> None:
        """Take a place. Raises TooManyRequests."""
        if not self._free:
            raise TooManyRequests("too many uploads are in flight on this node", retry_after=RETRY_SECONDS)
        self._free -= 1

    def give_back(self) -> None:
        """Give a place back."""
        self._free += 1

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place inside `with`. Raises TooManyRequests."""
        self.take()
        try:
            yield
        finally:
            self.give_back()


def framed(field: int, piece: bytes) -> tuple[bytes, bytes]:
    """Return the message that has nothing but the bytes `piece` in its field number `field`, in parts: they are not copied."""
    head = bytearray()
    for number in (field << 3 | _BYTES, len(piece)):
        while number >= 0x80:
            head.append(number & 0x7F | 0x80)
            number >>= 7
        head.append(number)
    return bytes(head), piece


async def resized(pieces: AsyncGenerator[bytes, None], most: int = PIECE) -> AsyncGenerator[bytes, None]:
    """Yield the same bytes in pieces of at most `most`; closes `pieces` however it ends."""
    async with aclosing(pieces) as source:
        async for piece in source:
            if len(piece) <= most:
                yield piece
            else:
                for at in range(0, len(piece), most):
                    yield piece[at : at + most]
