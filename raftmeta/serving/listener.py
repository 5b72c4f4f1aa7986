"""Takes connections in: sockets, TLS handshakes, and how many of both at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine

import structlog

from raftmeta.tls import FollowedContext

_BACKLOG = 1024
_PAUSE = 0.1  # seconds, when there are no descriptors left
_log = structlog.get_logger("raftmeta.serving")


def split(address: str) -> tuple[str, int]:
    """HOST:PORT or [V6]:PORT taken apart. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def bind(address: str) -> list[socket.socket]:
    """Return listening sockets for every address that HOST:PORT stands for, all with one port. Raises OSError, ValueError.

    `[::]` takes IPv4 too. Nobody else can listen on the port from then on.
    """
    host, port = split(address)
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, kind, proto, _, where in dict.fromkeys(found):
            try:
                sock = socket.socket(family, kind, proto)
            except OSError:
                continue  # IPv6 is not there
            opened.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
            try:
                sock.bind((where[0], port, *where[2:]))
            except OSError:
                if not (family == socket.AF_INET6 and len(found) > 1):
                    raise
                opened.pop().close()  # a name that also means an IPv6 address which this machine does not have
                continue
            sock.listen(_BACKLOG)
            port = sock.getsockname()[1]
    except OSError:
        for sock in opened:
            sock.close()
        raise
    if not opened:
        raise OSError(f"{address} means no address of this machine")
    return opened


class Listener:
    """Accepts connections on bound sockets and hands each to a protocol of its own."""

    def __init__(
        self,
        sockets: list[socket.socket],
        make: Callable[[], asyncio.BaseProtocol],
        context: FollowedContext | None,
        *,
        handshakes: int,
        handshake_seconds: float,
    ) -> None:
        """Prepare: `context` gives TLS for each handshake, of which `handshakes` go on at once."""
        self._sockets = sockets
        self._make = make
        self._context = context
        self._slots = asyncio.Semaphore(handshakes)
        self._timeout = handshake_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._sockets[0].getsockname()[1])

    def start(self) -> None:
        """Accept from now on; connections made since the binding have waited."""
        for sock in self._sockets:
            self._run(self._accept(sock))

    async def close(self) -> None:
        """Stop listening; break handshakes off."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in self._sockets:
            sock.close()

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                stream, _ = await loop.sock_accept(sock)
            except OSError as error:
                _log.warning("cannot accept a connection", error=str(error))
                await asyncio.sleep(_PAUSE)
                continue
            try:
                await self._slots.acquire()
            except BaseException:
                stream.close()
                raise
            self._run(self._connect(stream))

    async def _connect(self, stream: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        context = self._context.current() if self._context is not None else None
        try:
            await loop.connect_accepted_socket(
                self._make, stream, ssl=context, ssl_handshake_timeout=self._timeout if context else None
            )
        except (OSError, ssl.SSLError) as error:
            stream.close()
            if context is not None:
                _log.info("a TLS handshake failed", error=str(error) or type(error).__name__)
        except BaseException:
            stream.close()
            raise
        finally:
            self._slots.release()
