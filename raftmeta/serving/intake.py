"""Frames of a peer, one at a time: checked, and turned into what they mean for its streams. RFC 9113 sections 5 and 6."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from raftmeta.serving import frames
from raftmeta.serving.faults import ConnectionFault, ErrorCode, Refusal, StreamFault
from raftmeta.serving.fields import FieldDecoder
from raftmeta.serving.messages import Inbox, check_length
from raftmeta.serving.requests import Head, check_trailers, read_head
from raftmeta.serving.stream import Stream
from raftmeta.serving.streams import Streams

if TYPE_CHECKING:
    from raftmeta.serving.server import Server

_REMEMBERED_HEADS = 64
_BLOCK_BYTES = 4  # times the header list's limit: more than any encoding of a list within it
_BLOCK_FRAMES = 64
_ENDLESS = "a header block without end"
LEAVING = b"leaving."
"""What is in the PING whose answer says that the peer has seen the first GOAWAY."""


class Intake(Streams):
    """Takes a connection's frames in. Raises ConnectionFault and StreamFault for what the peer does wrong."""

    def __init__(self, server: Server) -> None:
        """Belong to `server`."""
        super().__init__(server)
        self._settled = False
        self._decoder = FieldDecoder()
        self._heads: dict[bytes, Head] = {}
        self._heads_changes = 0
        self._block: list[bytes] = []  # a header block that goes on
        self._block_stream = self._block_flags = self._block_bytes = 0
        self._last = 0
        self._taken_until = frames.MAX_WINDOW  # streams above it come too late
        self._unacknowledged = 0  # bytes received since the last WINDOW_UPDATE

    def _frame(self, kind: int, flags: int, number: int, payload: bytes | memoryview) -> None:
        if kind == frames.DATA and not self._block_flags and self._settled:
            self._data(flags, number, payload)
            return
        payload = bytes(payload)
        if self._block_flags and kind != frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block that is interrupted")
        if not self._settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._settled = True
        if kind == frames.HEADERS:
            self._headers(flags, number, payload)
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
            payload = bytes(frames.unpadded(payload))
        if flags & frames.PRIORITIZED:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority they announce")
            self._check_dependency(number, payload)
            payload = payload[5:]
        if len(payload) > _BLOCK_BYTES * self.limits.header_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, _ENDLESS)
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
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, _ENDLESS)
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

    def _data(self, flags: int, number: int, payload: bytes | memoryview) -> None:
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
                self._server.serve(stream, bytes(payload[5:]), compressed=payload[0] == 1)
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
        self.sender.control(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if frames.MAX_FRAME_SIZE in found:
            self.sender.frame_size = min(found[frames.MAX_FRAME_SIZE], frames.LARGEST)
        if frames.INITIAL_WINDOW_SIZE in found:  # after the acknowledgement, since it may let DATA go
            self.sender.resize(found[frames.INITIAL_WINDOW_SIZE], self.streams.values())

    def _ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING of a length that is not 8")
        if not flags & frames.ACK:
            self.sender.control(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == LEAVING and self._leaving:
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


def _only_message(stream: Stream) -> tuple[bool, bytes]:
    """Return the message of a request that must be one. Raises Refusal."""
    inbox = stream.inbox
    found = inbox.take() if inbox is not None else None
    if inbox is None or found is None or inbox.broken or inbox.take() is not None:
        raise Refusal(grpc.StatusCode.INTERNAL, "grpc: a unary request that is not exactly one message")
    return found
