"""The Raft port: takes connections in, a bounded number of strangers at a time."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable

import structlog

from raftmeta.transport.connection import Connection
from raftmeta.transport.frame import BadFrame
from raftmeta.transport.hello import Refused

MAX_STRANGERS = 64
"""Connections that have not introduced themselves yet; more are closed unread."""

_AT_A_TIME = 16

_log = structlog.get_logger("raftmeta.transport")


def split(address: str) -> tuple[str, int]:
    """HOST:PORT or [V6]:PORT taken apart. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Listener:
    """Accepts connections and makes each a `Connection`. TLS contexts are asked for per connection, to follow files."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], Connection],
        context: Callable[[], ssl.SSLContext | None],
        handshake_timeout: float,
    ) -> None:
        """Prepare; `make` builds the accepting end, `handshake_timeout` is in seconds."""
        self._loop = loop
        self._make = make
        self._context = context
        self._timeout = handshake_timeout
        self._socket: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._greeting: set[asyncio.Task[None]] = set()

    async def open(self, address: str) -> str:
        """Bind and accept; returns HOST:PORT with the port actually bound. Raises OSError, ValueError."""
        host, port = split(address)
        family, kind, proto, _, where = (
            await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind(where)
            sock.listen(128)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        self._listen()
        return f"{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"

    async def close(self) -> None:
        """Stop accepting, and drop those that have not introduced themselves."""
        if self._socket is not None:
            self._deaf()
            self._socket.close()
            self._socket = None
        tasks = list(self._greeting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _deaf(self) -> None:
        """Accept nothing for now."""
        assert self._socket is not None
        self._loop.remove_reader(self._socket)
        if self._retry is not None:
            self._retry.cancel()

    def _listen(self) -> None:
        assert self._socket is not None
        self._loop.add_reader(self._socket, self._accept, self._socket)

    def _accept(self, sock: socket.socket) -> None:
        """Take in those who knock. Not by `sock_accept`: one accepted while that is cancelled would be lost, open."""
        for _ in range(_AT_A_TIME):
            try:
                stream, origin = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors, most likely: give others time to release some
                _log.warning("cannot accept a connection", error=str(error))
                self._deaf()
                self._retry = self._loop.call_later(0.1, self._listen)
                return
            stream.setblocking(False)
            if len(self._greeting) >= MAX_STRANGERS:
                stream.close()
                _log.warning("too many connections at once, one closed unread", origin=str(origin))
                continue
            begun: list[bool] = []
            task = self._loop.create_task(self._greet(stream, str(origin), begun))
            self._greeting.add(task)
            task.add_done_callback(functools.partial(self._greeted, stream, begun))

    def _greeted(self, stream: socket.socket, begun: list[bool], task: asyncio.Task[None]) -> None:
        self._greeting.discard(task)
        if not begun:
            stream.close()  # cancelled before it began: nobody else knows of it

    async def _greet(self, stream: socket.socket, origin: str, begun: list[bool]) -> None:
        """See one connection through handshake and greeting; afterwards it looks after itself."""
        begun.append(True)
        connection = self._make()
        context = self._context()
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, stream, ssl=context, ssl_handshake_timeout=self._timeout if context else None
            )
            await connection.ready
        except (OSError, Refused, BadFrame) as error:
            if connection.received or context is not None:
                _log.warning("a connection was refused", origin=origin, reason=str(error) or type(error).__name__)
        finally:
            if not connection.peer_id:
                connection.abort()
