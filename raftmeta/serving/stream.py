"""One stream of a connection: where a call's request comes in and its answer goes out."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import grpc

from raftmeta.serving.messages import Inbox
from raftmeta.serving.requests import Head

if TYPE_CHECKING:
    from raftmeta.serving.call import Call
    from raftmeta.serving.deadlines import Expiring
    from raftmeta.serving.streams import Streams

Ending = tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]
"""Status code, text and trailing metadata."""

LATE: Ending = (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ())


class Stream:
    """State of one request and its answer.

    Attributes:
        id: Its number on the connection.
        connection: Which one.
        head: What was asked for.
        opened: When, on the loop's clock.
        deadline: Until when, on the loop's clock; None for ever.
        inbox: Messages of the request; made when the first does not come in one piece.
        received: Bytes of DATA so far.
        receive_window: Bytes that the peer may still send.
        remote_closed: The request is whole.
        window: Bytes that may still be sent; negative after the peer has made it smaller.
        began: The answer's headers are sent.
        ended: The answer's trailers are sent, or the stream was reset: nothing may be sent any more.
        pending: Pieces of the answer for which there was no window.
        pending_bytes: How many bytes they are.
        ending: Trailers that go out after `pending`.
        call: The call, once it is served.
    """

    __slots__ = (
        "_reader", "_slot", "_writer", "began", "call", "connection", "deadline", "ended", "ending", "head", "id", "inbox",
        "opened", "pending", "pending_bytes", "receive_window", "received", "remote_closed", "window",
    )  # fmt: skip

    def __init__(self, number: int, connection: Streams, head: Head, window: int, receive_window: int) -> None:
        """Open; `window` bytes may be sent and `receive_window` received."""
        self.id = number
        self.connection = connection
        self.head = head
        self.opened = connection.loop.time()
        self.deadline: float | None = None
        self.inbox: Inbox | None = None
        self.received = 0
        self.receive_window = receive_window
        self.remote_closed = False
        self.window = window
        self.began = False
        self.ended = False
        self.pending: deque[memoryview] = deque()
        self.pending_bytes = 0
        self.ending: Ending | None = None
        self.call: Call | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._slot: set[Expiring] | None = None
        if head.timeout is not None:
            self.deadline = self.opened + head.timeout
            self._slot = connection.wheel.add(self.deadline, self)

    async def read(self) -> tuple[bool, bytes] | None:
        """Return the next message and whether it is compressed; None at the end of the request."""
        while True:
            message = self.inbox.take() if self.inbox is not None else None
            if message is not None:
                self.connection.replenish(self)
                return message
            if self.remote_closed or self.ended:
                return None
            self._reader = self.connection.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def arrived(self) -> None:
        """Wake the call that waits in `read`."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def wait_to_write(self) -> None:
        """Wait until `writable` is called."""
        self._writer = self.connection.loop.create_future()
        try:
            await self._writer
        finally:
            self._writer = None

    def writable(self) -> None:
        """Wake the call that waits in `wait_to_write`."""
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def expire(self) -> None:
        """See `Expiring`: answer DEADLINE_EXCEEDED and end the call."""
        self.connection.end_now(self, LATE)

    def close(self) -> None:
        """Let go of everything; the connection has forgotten the stream."""
        self.ended = True
        if self._slot is not None:
            self._slot.discard(self)
            self._slot = None
        if self.inbox is not None:
            self.inbox.close()
            self.inbox = None
        self.pending.clear()
        self.pending_bytes = 0
        self.arrived()
        self.writable()
