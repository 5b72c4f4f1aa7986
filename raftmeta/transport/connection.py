"""One connection between two members, from its first byte to its last."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from raftmeta.tls import node_names
from raftmeta.transport.contract import MAX_FRAME, PeerCounters
from raftmeta.transport.frame import BadFrame, FrameReader
from raftmeta.transport.hello import MAX_HELLO, Refused, parse
from raftmeta.v1.hello_pb2 import Hello

_HIGH_WATER = 1024 * 1024
_LOW_WATER = 256 * 1024

Accept = Callable[["Connection", Hello, "frozenset[str] | None"], PeerCounters]
"""Judges a greeting given the node names of the verified certificate (None without TLS); raises Refused."""


class Connection(asyncio.Protocol):
    """Either end of a connection: greeting first, then payloads.

    Attributes:
        ready: Done once the other end was accepted; failed with Refused or ConnectionError otherwise.
        closed: Done when the connection is gone.
        peer_id: The other member; 0 until accepted.
        name: What it calls itself; empty until accepted.
        origin: Its address as the operating system tells it.
        received: Bytes received before it was accepted or closed, to tell a port probe from an attack.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        greeting: Callable[[], bytes],
        dialled: bool,
        hello_timeout: float,
        accept: Accept,
        on_payload: Callable[[int, bytes, bool], None],
        queue_bytes: int,
    ) -> None:
        """Prepare one end.

        Args:
            loop: The loop it runs on.
            greeting: Makes the framed Hello; the dialling end sends it first, the other once it accepted.
            dialled: Whether this is the dialling end.
            hello_timeout: Seconds for the other end's greeting to arrive.
            accept: See `Accept`.
            on_payload: Gets (peer id, payload, whether another has come with it).
            queue_bytes: Bound on frames waiting for the operating system.
        """
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.peer_id = 0
        self.name = ""
        self.origin = ""
        self.received = 0
        self._loop = loop
        self._greeting = greeting
        self._dialled = dialled
        self._hello_timeout = hello_timeout
        self._accept = accept
        self._on_payload = on_payload
        self._queue_limit = queue_bytes
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._paused = False
        self._reader = FrameReader(MAX_HELLO)
        self._counters = PeerCounters()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is open, and under TLS the certificate is verified: introduce ourselves, start the clock."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER, low=_LOW_WATER)
        self.origin = str(transport.get_extra_info("peername"))
        tune(transport.get_extra_info("socket"))
        self._timer = self._loop.call_later(self._hello_timeout, self.refuse, Refused("no greeting in time"))
        if self._dialled:
            self._transport.write(self._greeting())

    def data_received(self, data: bytes) -> None:
        """Take the bytes apart; anything that is not what is expected closes this connection and nothing else."""
        self.received += len(data)
        self._reader.push(data)
        try:
            while self._transport is not None and (payload := self._reader.next()) is not None:
                if self.peer_id:
                    self._counters.frames_received += 1
                    self._counters.bytes_received += len(payload) + 8
                    self._on_payload(self.peer_id, payload, self._reader.whole)
                else:
                    self._greeted(payload)
        except (BadFrame, Refused) as error:
            self.refuse(error)

    def _greeted(self, payload: bytes) -> None:
        assert self._transport is not None
        hello = parse(payload)
        tls = cast("ssl.SSLObject | None", self._transport.get_extra_info("ssl_object"))
        self._counters = self._accept(self, hello, None if tls is None else node_names(tls.getpeercert()))
        self.peer_id = hello.sender_id
        self.name = hello.name
        self._reader.limit = MAX_FRAME
        if self._timer is not None:
            self._timer.cancel()
        if not self._dialled:
            self._transport.write(self._greeting())
        self.ready.set_result(None)

    def refuse(self, error: Exception) -> None:
        """Close at once; `ready` fails with `error` unless the other end had been accepted."""
        if not self.ready.done():
            self.ready.set_exception(error)
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone, whoever closed it."""
        self._transport = None
        self._queue.clear()
        self._queued = 0
        if self._timer is not None:
            self._timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("closed before it answered the greeting"))
        self.ready.exception()  # looked at, so that a connection nobody waits for is no complaint
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """The operating system takes no more for now: frames queue here, up to the bound."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write what waited, until told to pause again."""
        self._paused = False
        while self._queue and not self._paused and self._transport is not None:
            frame = self._queue.popleft()
            self._queued -= len(frame)
            self._transport.write(frame)

    def send(self, frame: bytes) -> bool:
        """Write or queue a frame without blocking; False when it was dropped."""
        if self._transport is None or self._transport.is_closing():
            self._counters.dropped_disconnected += 1
            return False
        if self._paused:
            if self._queued + len(frame) > self._queue_limit:
                self._counters.dropped_full += 1
                return False
            self._queue.append(frame)
            self._queued += len(frame)
        else:
            self._transport.write(frame)
        self._counters.frames_sent += 1
        self._counters.bytes_sent += len(frame)
        return True


def tune(sock: socket.socket | None) -> None:
    """No delay for small frames; a peer that fell silent is noticed after some seconds (tcp(7))."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 6_000)
