"""One HTTP/2 connection of a server: frames in, streams opened, fed and closed. RFC 9113 sections 3 to 6."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import grpc

from raftmeta.serving import frames
from raftmeta.serving.faults import ConnectionFault, ErrorCode, Refusal, StreamFault
from raftmeta.serving.fields import FieldDecoder
from raftmeta.serving.floods import Patience
from raftmeta.serving.greeting import Greeting
from raftmeta.serving.messages import Inbox, check_length
from raftmeta.serving.peer import Peer
from raftmeta.serving.requests import Head, check_trailers, read_head
from raftmeta.serving.sending import Sender
from raftmeta.serving.stream import Ending, Stream

if TYPE_CHECKING:
    from raftmeta.serving.server import Server

_FRAMES_A_TURN = 256  # before others get their turn
_REMEMBERED_HEADS = 64
_REMEMBERED_RESETS = 1024
_BLOCK_BYTES = 4  # times the header list's limit: more than any encoding of a list within it
_BLOCK_FRAMES = 64
_SIGN_OF_LIFE = b"are you?"
_LEAVING = b"leaving."
_FIRST_WORD = 0.05  # seconds
_LINGER = 1.0  # seconds that a peer gets to take the last bytes


class Connection(asyncio.Protocol):
    """A peer's connection. Everything happens on the loop.

    Attributes:
        loop: The loop.
        limits: The server's.
        wheel: The server's deadlines.
        peer: Who is at the other end.
        sender: What leaves.
        streams: Streams whose answer or request is not over, by number.
    """

    peer: Peer

    def __init__(self, server: Server) -> None:
        """Belong to `server`."""
        self.loop = server.loop
        self.limits = server.limits
        self.wheel = server.wheel
        self.sender = Sender(self.loop, self._answered)
        self.streams: dict[int, Stream] = {}
        self._server = server
        self._patience = Patience(self.limits, self.loop.time)
        self._transport: asyncio.Transport | None = None
        self._greeting: Greeting | None = Greeting()
        self._settled = False
        self._over = False  # nothing more is read
        self._buffer = b""
        self._parsing_later = False
        self._decoder = FieldDecoder()
        self._heads: dict[bytes, Head] = {}
        self._heads_changes = 0
        self._block: list[bytes] = []  # a header block that goes on
        self._block_stream = self._block_flags = self._block_bytes = 0
        self._last = 0
        self._taken_until = frames.MAX_WINDOW  # streams above it come too late
        self._leaving = False
        self._reset: dict[int, None] = {}
        self._unacknowledged = 0  # bytes received since the last WINDOW_UPDATE
        self._opened = self._heard = self.loop.time()
        self._asked: float | None = None
        self._ended: float | None = None

    # the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = Peer(transport)
        self.sender.attach(self._transport)
        if not self._server.connected(self):
            self._over = True
            transport.close()
            return
        limits = self.limits
        hello = frames.settings(
            {
                frames.MAX_CONCURRENT_STREAMS: limits.streams,
                frames.INITIAL_WINDOW_SIZE: limits.stream_window,
                frames.MAX_HEADER_LIST_SIZE: limits.header_bytes,
            }
        )
        self.sender.control(hello + frames.window_update(0, limits.connection_window - frames.DEFAULT_WINDOW))

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel what is being served."""
        self._over = True
        self._buffer = b""
        for stream in list(self.streams.values()):
            self._drop(stream, cancel=True)
        self._server.disconnected(self)

    def pause_writing(self) -> None:
        """Take no more requests from a peer that does not take its answers."""
        self.sender.pause()
        self._hold_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.sender.resume()
        self._hold_reading()

    def data_received(self, data: bytes) -> None:
        """Take frames apart, some of them now and the rest in the next turn of the loop."""
        if self._over:
            return
        self._heard = self.loop.time()
        self._buffer = self._buffer + data if self._buffer else data
        if not self._parsing_later:
            self._parse()

    def _parse(self) -> None:
        self._parsing_later = False
        if self._over:
            return
        try:
            if self._greeting is None or self._greet():
                self._buffer = self._frames(self._buffer)
        except ConnectionFault as fault:
            self.fail(fault.code, str(fault))
        if self._parsing_later and not self._over:
            self.loop.call_soon(self._parse)
        self._hold_reading()

    def _greet(self) -> bool:
        assert self._greeting is not None
        rest = self._greeting.check(self._buffer)
        if rest is None:
            return False
        self._greeting, self._buffer = None, rest
        return True

    def _hold_reading(self) -> None:
        """Read while nothing is left over and the peer reads too."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._parsing_later or self.sender.paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    # frames

    def _frames(self, buffer: bytes) -> bytes:
        """Handle whole frames; return what is left. Raises ConnectionFault."""
        at, end, left = 0, len(buffer), _FRAMES_A_TURN
        while end - at >= frames.HEADER:
            length = buffer[at] << 16 | buffer[at + 1] << 8 | buffer[at + 2]
            if length > frames.FRAME_SIZE:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame larger than MAX_FRAME_SIZE")
            stop = at + frames.HEADER + length
            if stop > end:
                break
            if not left:
                self._parsing_later = True
                break
            left -= 1
            kind, flags = buffer[at + 3], buffer[at + 4]
            number = int.from_bytes(buffer[at + 5 : at + 9], "big") & frames.MAX_WINDOW
            payload = buffer[at + frames.HEADER : stop]
            at = stop
            try:
                self._frame(kind, flags, number, payload)
            except StreamFault as fault:
                self._patience.reset()
                self.reset(number, fault.code)
            if self._over:
                return b""
        return buffer[at:]

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block_flags and kind != frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block that is interrupted")
        if not self._settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._settled = True
        if kind == frames.HEADERS:
            self._headers(flags, number, payload)
        elif kind == frames.DATA:
            self._data(flags, number, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, number, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == frames.RST_STREAM:
            self._rst_stream(number, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        else:
            self._patience.idle()
            if kind == frames.PRIORITY:
                self._priority(number, payload)
            elif kind <= frames.GOAWAY:
                if number:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame of the connection on a stream")
                if kind == frames.SETTINGS:
                    self._settings(flags, payload)
                elif kind == frames.PING:
                    self._ping(flags, payload)
                elif len(payload) < 8:
                    raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY that is too short")

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that no client opens")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if flags & frames.PRIORITIZED:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority they announce")
            self._check_dependency(number, payload)
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._fields(number, payload, ended=bool(flags & frames.END_STREAM))
            return
        self._block = [payload]
        self._block_stream, self._block_flags, self._block_bytes = number, flags | frames.PADDED, len(payload)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if not self._block_flags or number != self._block_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block.append(payload)
        self._block_bytes += len(payload)
        if len(self._block) > _BLOCK_FRAMES or self._block_bytes > _BLOCK_BYTES * self.limits.header_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & frames.END_HEADERS:
            block, ended = b"".join(self._block), bool(self._block_flags & frames.END_STREAM)
            self._block, self._block_flags = [], 0
            self._fields(number, block, ended=ended)

    def _fields(self, number: int, block: bytes, *, ended: bool) -> None:
        """Open a stream, or end one that is open."""
        if number <= self._last:
            self._trailers(number, block, ended=ended)
            return
        self._last = number
        head = self._heads.get(block)
        if head is None:
            fields = self._decoder.decode(block)
            head = read_head(fields, self._server.find, self.limits.header_bytes)
            self._remember(block, head)
        if number > self._taken_until or len(self.streams) >= self.limits.streams:
            raise StreamFault(ErrorCode.REFUSED_STREAM, "no more streams now")
        stream = Stream(number, self, head, self.sender.initial_window, self.limits.stream_window)
        self.streams[number] = stream
        if ended:
            self._request_ended(stream)
        elif head.refusal is not None:
            self._refuse(stream, head.refusal)
        elif head.method is not None and head.method.requests_stream:
            self._server.serve(stream, None)

    def _trailers(self, number: int, block: bytes, *, ended: bool) -> None:
        fields = self._decoder.decode(block)
        stream = self.streams.get(number)
        if stream is None:
            if number in self._reset:
                return
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that is closed")
        if stream.remote_closed:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS after the end of a request")
        if not ended:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers that do not end the request")
        check_trailers(fields)
        self._request_ended(stream)

    def _remember(self, block: bytes, head: Head) -> None:
        """Keep the head of a block while the same bytes mean the same."""
        if self._decoder.changes != self._heads_changes:
            self._heads_changes = self._decoder.changes
            self._heads.clear()
            return
        if len(self._heads) >= _REMEMBERED_HEADS:
            self._heads.clear()
        self._heads[block] = head

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._unacknowledged += size
        if self._unacknowledged > self.limits.connection_window >> 2:
            self.sender.control(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        stream = self.streams.get(number)
        if stream is None or stream.remote_closed:
            self._stray(number, stream)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
            size = len(payload)
        ended = flags & frames.END_STREAM
        if not size and not ended:
            self._patience.idle()
        stream.received += size
        if stream.ending is not None:
            stream.remote_closed = bool(ended)
            self._release(stream)
            return
        head = stream.head
        if head.length is not None and stream.received > head.length:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "more DATA than content-length says")
        method = head.method
        if method is None:  # a request that is not for us is read to its end and thrown away
            self.replenish(stream)
            if ended:
                self._request_ended(stream)
            return
        try:
            if (
                ended
                and not method.requests_stream
                and stream.inbox is None
                and size >= 5
                and int.from_bytes(payload[1:5], "big") == size - 5
                and payload[0] < 2
                and head.length is None
            ):
                check_length(size - 5, self.limits.message_bytes)
                stream.remote_closed = True
                self._server.serve(stream, payload[5:], compressed=payload[0] == 1)
                return
            if stream.inbox is None:
                stream.inbox = Inbox(self.limits.message_bytes, self._server.budget)
            stream.inbox.feed(payload)
        except Refusal as refusal:
            if ended:
                stream.remote_closed = True
            self._refuse(stream, refusal)
            return
        self.replenish(stream)
        if ended:
            self._request_ended(stream)
        elif method.requests_stream:
            stream.arrived()

    def _stray(self, number: int, stream: Stream | None) -> None:
        """DATA where none may be."""
        if stream is not None:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA after the end of a request")
        if number > self._last or not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that is not open")
        if number not in self._reset:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA on a stream that is closed")
        self._patience.idle()

    def _request_ended(self, stream: Stream) -> None:
        stream.remote_closed = True
        head = stream.head
        if head.length is not None and stream.received != head.length:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "less DATA than content-length says")
        if stream.ending is not None:
            self._release(stream)
            return
        if head.http_status:
            self.sender.end_http(stream, head.http_status)
        elif head.refusal is not None:
            self._refuse(stream, head.refusal)
        elif head.method is not None and head.method.requests_stream:
            if stream.call is None:
                self._server.serve(stream, None)
            stream.arrived()
        else:
            try:
                compressed, message = _only_message(stream)
            except Refusal as refusal:
                self._refuse(stream, refusal)
                return
            self._server.serve(stream, message, compressed=compressed)

    def _rst_stream(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a length that is not 4")
        if number > self._last or not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on a stream that is not open")
        self._patience.reset()
        stream = self.streams.get(number)
        if stream is not None:
            self._drop(stream, cancel=True)

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS that acknowledge and set")
            return
        found = dict(frames.read_settings(payload))  # of a setting that comes twice, the last counts
        if frames.HEADER_TABLE_SIZE in found:
            self.sender.encoder.resize(found[frames.HEADER_TABLE_SIZE])
        if frames.INITIAL_WINDOW_SIZE in found:
            self.sender.resize(found[frames.INITIAL_WINDOW_SIZE], self.streams.values())
        self.sender.control(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING of a length that is not 8")
        if not flags & frames.ACK:
            self.sender.control(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _LEAVING and self._leaving:
            self._take_no_more()

    def _window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a length that is not 4")
        self._patience.idle()
        if number > self._last or (number and not number & 1):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is not open")
        increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW
        stream = self.streams.get(number)
        if not increment:
            fault = ConnectionFault if not number else StreamFault
            raise fault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        if not number:
            self.sender.widen(increment)
        elif stream is not None:
            if stream.window + increment > frames.MAX_WINDOW:
                raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            self.sender.widen(increment, stream)

    def _priority(self, number: int, payload: bytes) -> None:
        if not number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY of the connection")
        if len(payload) != 5:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a length that is not 5")
        self._check_dependency(number, payload)

    def _check_dependency(self, number: int, payload: bytes) -> None:
        if int.from_bytes(payload[:4], "big") & frames.MAX_WINDOW == number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")

    # streams

    def replenish(self, stream: Stream) -> None:
        """Let the peer send more, once half of the stream's window is free."""
        if stream.remote_closed or stream.ended:
            return
        window = self.limits.stream_window
        waiting = stream.inbox.ready if stream.inbox is not None else 0
        increment = window - waiting - stream.receive_window
        if increment >= window >> 1:
            stream.receive_window += increment
            self.sender.control(frames.window_update(stream.id, increment))

    def end_now(self, stream: Stream, ending: Ending) -> None:
        """End a stream with a status, whatever else was to be sent, and cancel its call."""
        if stream.ended:
            return
        call = stream.call
        if stream.pending_bytes:
            self.reset(stream.id, ErrorCode.CANCEL)
        else:
            self.end(stream, ending)
        if call is not None:
            call.cancel()

    def end(self, stream: Stream, ending: Ending) -> None:
        """End a stream with a status, after what is still to be sent. Raises ValueError for bad metadata.

        A client that is about to send its first message gets a moment for it: those of grpc.aio report an internal error
        in the place of a status that comes before.
        """
        if stream.received or stream.remote_closed or stream.began:
            self.sender.end(stream, ending)
        elif stream.ending is None:
            stream.ending = ending
            self.loop.call_later(_FIRST_WORD, self._release, stream)

    def _release(self, stream: Stream) -> None:
        """Send a status that was held back."""
        if stream.ending is not None and not stream.pending_bytes and not stream.ended:
            self.sender.end(stream, stream.ending)

    def reset(self, number: int, code: ErrorCode) -> None:
        """Break a stream off."""
        self._note_reset(number)
        self.sender.control(frames.rst_stream(number, code))
        stream = self.streams.get(number)
        if stream is not None:
            self._drop(stream, cancel=True)

    def _refuse(self, stream: Stream, refusal: Refusal) -> None:
        self.end_now(stream, (refusal.code, refusal.details, refusal.metadata))

    def _answered(self, stream: Stream) -> None:
        """Close a stream whose answer is sent; what the peer still wants to send is not wanted."""
        self._patience.answered()
        if not stream.remote_closed:
            self._note_reset(stream.id)
            self.sender.control(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))
        self._drop(stream, cancel=False)

    def _note_reset(self, number: int) -> None:
        self._reset[number] = None
        if len(self._reset) > _REMEMBERED_RESETS:
            del self._reset[next(iter(self._reset))]

    def _drop(self, stream: Stream, *, cancel: bool) -> None:
        if self.streams.pop(stream.id, None) is None:
            return
        call, stream.call = stream.call, None
        if stream.pending_bytes:
            self.sender.forget(stream)
        stream.close()
        if cancel and call is not None:
            call.cancel()
        if self._leaving and not self.streams:
            self._take_no_more()

    # the end

    def leave(self) -> None:
        """Tell the peer to go elsewhere: no new streams once it has heard, and the end when the open ones are over."""
        if self._leaving or self._over:
            return
        self._leaving = True
        self.sender.control(frames.goaway(frames.MAX_WINDOW, ErrorCode.NO_ERROR))
        if self._greeting is None and self._settled:
            self.sender.control(frames.frame(frames.PING, 0, 0, _LEAVING))
        else:
            self._take_no_more()

    def _take_no_more(self) -> None:
        if self._taken_until == frames.MAX_WINDOW:
            self._taken_until = self._last
            self.sender.control(frames.goaway(self._last, ErrorCode.NO_ERROR))
        if not self.streams:
            self._close()

    def fail(self, code: ErrorCode, message: str) -> None:
        """End the connection for a fault of the peer's, whatever is being served."""
        if self._over:
            return
        if self._greeting is None or not self._greeting.answer:
            self.sender.control(frames.goaway(self._last, code, message))
        else:
            self.sender.control(self._greeting.answer)
        self._close()
        for stream in list(self.streams.values()):
            self._drop(stream, cancel=True)

    def close(self) -> None:
        """Break off what is being served and end the connection."""
        for stream in list(self.streams.values()):
            self.reset(stream.id, ErrorCode.CANCEL)
        if not self._over:
            self._close()

    def _close(self) -> None:
        self._over = True
        self._buffer = b""
        self._ended = self.loop.time()
        self.sender.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    def inspect(self, now: float) -> None:
        """End what takes too long; called every now and then."""
        limits = self.limits
        if self._ended is not None:
            if now - self._ended > _LINGER:
                self.abort()
            return
        if not self._settled and now - self._opened > limits.handshake_seconds:
            self.fail(ErrorCode.SETTINGS_TIMEOUT, "no SETTINGS")
            return
        for stream in list(self.streams.values()):
            if not stream.remote_closed and stream.call is None and now - stream.opened > limits.request_seconds:
                self.reset(stream.id, ErrorCode.CANCEL)
        if now - self._heard <= limits.silence_seconds:
            self._asked = None
        elif self._asked is None:
            if self.streams:
                self._asked = now
                self.sender.control(frames.frame(frames.PING, 0, 0, _SIGN_OF_LIFE))
        elif now - self._asked > limits.answer_seconds:
            self.abort()


def _only_message(stream: Stream) -> tuple[bool, bytes]:
    """Return the message of a request that must be one. Raises Refusal."""
    inbox = stream.inbox
    found = inbox.take() if inbox is not None else None
    if inbox is None or found is None or inbox.broken or inbox.take() is not None:
        raise Refusal(grpc.StatusCode.INTERNAL, "grpc: a unary request that is not exactly one message")
    return found
