"""What leaves a connection: one write for all answers of a turn of the loop, within the peer's windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import grpc

from raftmeta.serving import frames
from raftmeta.serving.answers import AnswerEncoder, extra
from raftmeta.serving.faults import ConnectionFault, ErrorCode
from raftmeta.serving.floods import Patience
from raftmeta.serving.messages import Parts
from raftmeta.serving.metadata import Pair
from raftmeta.serving.stream import Ending, Stream

TURN = 256 * 1024
"""Bytes that leave in one turn of the loop; whoever has more waits for the next."""

_END = frames.END_STREAM
_COPIED = 64 * 1024  # bytes that are cheaper to copy than to look at where they are
_NO_CALL = "This port speaks gRPC; the request was none."


class Sender:
    """Sends answers and control frames over one transport.

    DATA goes out while the stream's and the connection's window allow; what does not waits in the stream. Streams with
    something to send take turns, a frame each.

    Attributes:
        window: Bytes of DATA that the peer takes now, over all streams.
        initial_window: The same for a stream that begins.
        frame_size: Bytes of the largest payload of DATA that it is sent.
        unsent: Bytes that wait for a window.
        paused: The transport's buffer is full: the peer does not read.
        encoder: Makes header blocks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: Patience, ended: Callable[[Stream], None]) -> None:
        """Prepare; `ended` is called when the last frame of an answer is on its way, `patience` told of every DATA."""
        self._patience = patience
        self.window = self.initial_window = frames.DEFAULT_WINDOW
        self.frame_size = frames.FRAME_SIZE
        self.unsent = 0
        self.paused = False
        self.encoder = AnswerEncoder()
        self._loop = loop
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._scheduled = False
        self._ready: dict[Stream, None] = {}
        self._congested: list[Stream] = []

    def attach(self, transport: asyncio.Transport) -> None:
        """Send over `transport` from now on."""
        self._transport = transport

    def control(self, frame: bytes) -> None:
        """Send a frame that needs no window."""
        self._out.append(frame)
        self._out_bytes += len(frame)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def answer(self, stream: Stream, message: bytes, ending: Ending, *, alone: bool) -> None:
        """Send a unary answer: headers unless they are sent, message, trailers. Raises ValueError for bad metadata.

        `alone` says that no other answer is likely to come in this turn of the loop, so that none is waited for.
        """
        size = len(message) + 5
        if stream.began or size > frames.FRAME_SIZE or size > self.window or size > stream.window or self._ready:
            self.send(stream, message)
            self.end(stream, ending)
            return
        code, details, metadata = ending
        more = extra(metadata)  # first: it may raise, and the encoder counts on what it makes being sent
        start = self.encoder.initial()
        tail = self.encoder.trailers(code.value[0], details) + more
        self.window -= size
        number = stream.id.to_bytes(4, "big")
        prefix = (size - 5).to_bytes(4, "big")
        head = b"%b\1\4%b%b" % (len(start).to_bytes(3, "big"), number, start)
        body = b"%b\0\0%b\0%b%b" % (size.to_bytes(3, "big"), number, prefix, message)
        self._scheduled = self._scheduled or alone
        self.control(b"%b%b%b\1\5%b%b" % (head, body, len(tail).to_bytes(3, "big"), number, tail))
        if alone:
            self.flush()
        stream.began = stream.ended = True
        self._ended(stream)

    def begin(self, stream: Stream, metadata: Iterable[Pair] = ()) -> None:
        """Send the headers of an answer, once. Raises ValueError for metadata that cannot be sent."""
        if not stream.began:
            more = extra(metadata)
            block = self.encoder.initial() + more
            stream.began = True
            self.control(frames.header_frames(stream.id, block, 0))

    def send(self, stream: Stream, message: bytes | Parts) -> None:
        """Send one message, or as much as may go, and keep the rest."""
        self.begin(stream)
        if type(message) is tuple:
            prefix = b"\0" + sum(map(len, message)).to_bytes(4, "big")
            self._queue(stream, prefix, *message)
            return
        assert type(message) is bytes
        size = len(message) + 5
        prefix = b"\0" + len(message).to_bytes(4, "big")
        if size <= frames.FRAME_SIZE and size <= self.window and size <= stream.window and not stream.pending_bytes:
            self.window -= size
            stream.window -= size
            self._patience.sent()
            self.control(frames.frame(frames.DATA, 0, stream.id, prefix + message))
            return
        self._queue(stream, prefix, message)

    async def flushed(self, stream: Stream) -> None:
        """Wait until a stream may send more: its own messages have gone, and the peer reads."""
        if stream.pending_bytes:
            await stream.wait_to_write()
        elif self._out_bytes > TURN or self.paused:
            self._congested.append(stream)
            await stream.wait_to_write()

    def end(self, stream: Stream, ending: Ending) -> None:
        """Send trailers, after what waits. Raises ValueError for metadata that cannot be sent."""
        code, details, metadata = ending
        more = extra(metadata)  # may raise, now and not when it is sent
        if stream.pending_bytes:
            stream.ending = ending
            return
        start = b"" if stream.began else self.encoder.initial()
        block = start + self.encoder.trailers(code.value[0], details) + more
        stream.began = stream.ended = True
        self.control(frames.header_frames(stream.id, block, _END))
        self._ended(stream)

    def end_http(self, stream: Stream, status: int) -> None:
        """Answer what is no gRPC call."""
        stream.began = True
        self.control(frames.header_frames(stream.id, self.encoder.http(status), 0))
        self._queue(stream, _NO_CALL.encode())
        if not stream.ended:
            self.end(stream, (grpc.StatusCode.UNKNOWN, _NO_CALL, ()))

    def _queue(self, stream: Stream, *pieces: bytes | memoryview) -> None:
        stream.pending += [memoryview(piece) for piece in pieces if piece]
        size = sum(map(len, pieces))
        stream.pending_bytes += size
        self.unsent += size
        self._ready[stream] = None
        self._pump()

    def forget(self, stream: Stream) -> None:
        """Drop what waits of a stream."""
        self.unsent -= stream.pending_bytes
        self._ready.pop(stream, None)

    def widen(self, increment: int, stream: Stream | None = None) -> None:
        """Follow a WINDOW_UPDATE. Raises ConnectionFault when the connection's window grows too large.

        Returns nothing for a stream whose window is too large: `window` tells.
        """
        if stream is None:
            self.window += increment
            if self.window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        else:
            stream.window += increment
            if stream.pending_bytes and stream.window > 0:
                self._ready[stream] = None
        self._pump()

    def resize(self, initial: int, streams: Iterable[Stream]) -> None:
        """Follow INITIAL_WINDOW_SIZE, which moves the windows of open streams too. Raises ConnectionFault."""
        change, self.initial_window = initial - self.initial_window, initial
        for stream in streams:
            stream.window += change
            if stream.window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            if stream.pending_bytes and stream.window > 0:
                self._ready[stream] = None
        self._pump()

    def pause(self) -> None:
        """Keep DATA back: the transport's buffer is full."""
        self.paused = True

    def resume(self) -> None:
        """Go on: the transport's buffer has emptied."""
        self.paused = False
        self._pump()
        self._wake()

    def flush(self) -> None:
        """Hand over to the transport what has gathered, and let the next turn begin."""
        self._scheduled = False
        if self._out and self._transport is not None and not self._transport.is_closing():
            out = b"".join(self._out)
            self._transport.write(out if len(out) <= _COPIED else memoryview(out))  # it slices off what it has sent
        self._out.clear()
        self._out_bytes = 0
        if self._ready:
            self._pump()
        if self._congested and not self.paused:
            self._wake()

    def _wake(self) -> None:
        woken, self._congested = self._congested, []
        for stream in woken:
            stream.writable()

    def _pump(self) -> None:
        """Send what may go of what waits, a frame from each stream in turn."""
        ready = self._ready
        while ready and self.window > 0 and self._out_bytes < TURN and not self.paused:
            stream = next(iter(ready))
            del ready[stream]
            size = min(stream.window, self.window, self.frame_size, stream.pending_bytes)
            if size <= 0:
                continue  # widen() puts it back
            self.window -= size
            self.unsent -= size
            stream.window -= size
            stream.pending_bytes -= size
            self._patience.sent()
            self.control(frames.data_header(size, stream.id))
            self._out += _take(stream, size)
            self._out_bytes += size
            if stream.pending_bytes:
                ready[stream] = None
            elif stream.ending is not None:
                self.end(stream, stream.ending)
            else:
                stream.writable()


def _take(stream: Stream, size: int) -> list[memoryview]:
    pieces: list[memoryview] = []
    pending = stream.pending
    while size:
        first = pending[0]
        if len(first) <= size:
            pieces.append(pending.popleft())
            size -= len(first)
        else:
            pieces.append(first[:size])
            pending[0] = first[size:]
            size = 0
    return pieces
