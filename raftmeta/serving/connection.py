"""One HTTP/2 connection of a server: its transport, its beginning and its end. RFC 9113 sections 3, 4 and 6.8."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from raftmeta.serving import frames
from raftmeta.serving.faults import ConnectionFault, ErrorCode, StreamFault
from raftmeta.serving.greeting import Greeting
from raftmeta.serving.intake import LEAVING, Intake
from raftmeta.serving.peer import Peer

if TYPE_CHECKING:
    from raftmeta.serving.server import Server

_FRAMES_A_TURN = 256  # before others get their turn
_COPIED = 4096  # bytes that are cheaper to copy than to look at where they are
_SIGN_OF_LIFE = b"are you?"
_LINGER = 1.0  # seconds that a peer gets to take the last bytes


class Connection(Intake, asyncio.BufferedProtocol):
    """A peer's connection."""

    def __init__(self, server: Server) -> None:
        """Belong to `server`."""
        super().__init__(server)
        self._transport: asyncio.Transport | None = None
        self._greeting: Greeting | None = Greeting()
        self._over = False  # nothing more is read
        self._buffer = b""  # what was left over: less than a frame, or more than a turn's frames
        self._parsing_later = False
        self._opened = self._heard = self.loop.time()
        self._asked: float | None = None
        self._ended: float | None = None

    # the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = Peer(transport)
        self.sender.attach(self._transport)
        tls = transport.get_extra_info("ssl_object")
        if not self._server.connected(self) or (tls is not None and tls.selected_alpn_protocol() != "h2"):
            self._over = True
            transport.close()
            return
        limits = self.limits
        hello = frames.settings(
            {
                frames.MAX_CONCURRENT_STREAMS: limits.streams,
                frames.INITIAL_WINDOW_SIZE: limits.stream_window,
                frames.MAX_FRAME_SIZE: frames.LARGEST,
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

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: the server's one buffer, after what was left over."""
        if self._parsing_later:
            return self._server.arriving
        left = len(self._buffer)
        if left:
            self._server.arriving[:left] = self._buffer
        return self._server.arriving[left:]

    def buffer_updated(self, nbytes: int) -> None:
        """Take frames apart, some of them now and the rest in the next turn of the loop."""
        if self._over:
            return
        self._heard = self.loop.time()
        if self._parsing_later:
            self._buffer += self._server.arriving[:nbytes]
            return
        size = len(self._buffer) + nbytes
        arrived = self._server.arriving[:size]
        self._parse(arrived if size > _COPIED else bytes(arrived))

    def _parse_later(self) -> None:
        """Go on in a turn of its own."""
        self._parse(self._buffer)

    def _parse(self, arrived: bytes | memoryview) -> None:
        """Handle what has arrived, and keep what is left over."""
        self._parsing_later = False
        if self._over:
            return
        self._buffer = b""
        try:
            if self._greeting is not None:
                arrived = self._greet(bytes(arrived))
            if self._greeting is None:
                self._buffer = self._frames(arrived)
        except ConnectionFault as fault:
            self.fail(fault.code, str(fault))
        if self._parsing_later and not self._over:
            self.loop.call_soon(self._parse_later)
        self._hold_reading()
        if self._server.begun:
            self._server.begun = False
            self._server.settle()

    def _greet(self, arrived: bytes) -> bytes:
        """Look at the first bytes; return what follows the preface, or keep them while it is not whole. Raises ConnectionFault."""
        assert self._greeting is not None
        rest = self._greeting.check(arrived)
        if rest is None:
            self._buffer = arrived
            return b""
        self._greeting = None
        return rest

    def _hold_reading(self) -> None:
        """Read while nothing is left over and the peer reads too."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._parsing_later or self.sender.paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _frames(self, buffer: bytes | memoryview) -> bytes:
        """Handle whole frames; return what is left. Raises ConnectionFault."""
        at, end, left = 0, len(buffer), _FRAMES_A_TURN
        while end - at >= frames.HEADER:
            length = buffer[at] << 16 | buffer[at + 1] << 8 | buffer[at + 2]
            if length > frames.LARGEST:
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
        return bytes(buffer[at:])

    # the end

    def leave(self) -> None:
        """Tell the peer to go elsewhere: no new streams once it has heard, and the end when the open ones are over."""
        if self._leaving or self._over:
            return
        self._leaving = True
        self.sender.control(frames.goaway(frames.MAX_WINDOW, ErrorCode.NO_ERROR))
        if self._greeting is None and self._settled:
            self.sender.control(frames.frame(frames.PING, 0, 0, LEAVING))
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
