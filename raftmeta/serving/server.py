"""A gRPC server over asyncio: takes the handlers of generated code and serves them over HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
from grpc import aio

from raftmeta.serving import frames
from raftmeta.serving.call import Call, Starts
from raftmeta.serving.connection import Connection
from raftmeta.serving.deadlines import DeadlineWheel
from raftmeta.serving.dispatch import begin, serve
from raftmeta.serving.limits import Limits
from raftmeta.serving.listener import Listener, bind
from raftmeta.serving.messages import Budget
from raftmeta.serving.methods import Begin, Method, Registry, Wrap
from raftmeta.serving.stream import Ending, Stream
from raftmeta.tls import FollowedContext, TlsFiles, grpc_server_context

TooMany = Callable[[str], Ending]
_UNSENT = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many answers wait for this client to take them", ())
_ARRIVING = frames.HEADER + frames.LARGEST + 256 * 1024  # what may be left over, and what is read at once
_CANCELLED = 1.0  # seconds for cancelled calls to end
_LOOK = 4  # times that slow peers are looked at in the shortest time they may take


def _too_many(_: str) -> Ending:
    """Say that too many calls are being served."""
    return grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", ()


class Server(aio.Server):
    """Serves handlers to gRPC clients. Used from one event loop, on which everything it serves runs too.

    A `grpc.aio.Server` to those who add services. Handlers are async functions and async generators; a response may be
    bytes, which are then sent as they are; a stream may be given several responses at once in a list, and one in
    `messages.Parts`.

    Attributes:
        loop: The loop.
        limits: What callers may ask.
        wheel: Deadlines of calls.
        budget: What waiting requests take.
        arriving: Where the bytes of every connection are read into; each takes what it needs out of it at once.
        connections: Those that are open.
        begun: Something began since `settle` was called.
        settle: See `begin_at_once`.
    """

    begun = False
    settle: Callable[[], None]

    def __init__(
        self, limits: Limits | None = None, *, wrap: Wrap | None = None, too_many: TooMany | None = None
    ) -> None:
        """Make a server without a port.

        Args:
            limits: What callers may ask.
            wrap: Is given the path and handler of each method, once, and returns the handler to use.
            too_many: Is given the path of a call above `limits.concurrent_calls` and returns the status it gets.
        """
        self._too_many = too_many or _too_many
        self.loop = asyncio.get_running_loop()
        self.limits = limits or Limits()
        self.wheel = DeadlineWheel(self.loop)
        self.budget = Budget(self.limits.buffered_bytes)
        self._registry = Registry(wrap)
        self._listeners: list[Listener] = []
        self.arriving = memoryview(bytearray(_ARRIVING))
        self.connections: set[Connection] = set()
        self._calls: set[Call] = set()
        self._starts = Starts()
        self._idle = asyncio.Event()  # no call is being served
        self._idle.set()
        self._alone = asyncio.Event()  # nobody is connected
        self._alone.set()
        self._looking: asyncio.TimerHandle | None = None
        self._stopped = asyncio.Event()
        self._stopping = False

    # handlers

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add handlers that are asked for each new path."""
        self._registry.add_generic(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Add the methods of a service."""
        self._registry.add(service_name, method_handlers)

    def find(self, path: str) -> Method:
        """Return the method of a path. Raises Refusal."""
        return self._registry.find(path)

    def begin_at_once(self, begins: Mapping[str, Begin], settle: Callable[[], None]) -> None:
        """Have unary calls of these paths begin, and perhaps end, without a task; before their handlers are added.

        `settle` is called when what came in one piece from a client has begun. Without effect on a server that wraps handlers.
        """
        for path, taker in begins.items():
            self._registry.begin(path, taker)
        self.settle = settle

    # ports

    def listen(self, address: str, tls: TlsFiles | None = None) -> int:
        """Bind HOST:PORT, any free port for 0, and return the port; connections wait there until `start`.

        With `tls` every caller must show a certificate, and each handshake uses what the files hold then. Raises
        OSError, ValueError, TlsError.
        """
        context = FollowedContext(tls, grpc_server_context) if tls is not None else None
        listener = Listener(
            bind(address),
            lambda: Connection(self),
            context,
            handshakes=self.limits.handshakes,
            handshake_seconds=self.limits.handshake_seconds,
        )
        self._listeners.append(listener)
        return listener.port

    def add_insecure_port(self, address: str) -> int:
        """Bind HOST:PORT for plaintext; see `listen`."""
        return self.listen(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Not offered: credentials of gRPC's cannot be looked into; `listen` takes files."""
        raise NotImplementedError("use listen(address, files)")

    @property
    def ports(self) -> list[int]:
        """The ports in use, in the order in which they were bound; none once the server stops."""
        return [listener.port for listener in self._listeners]

    # life

    async def start(self) -> None:
        """Take connections."""
        for listener in self._listeners:
            listener.start()
        self._look_later()

    async def stop(self, grace: float | None) -> None:
        """Take no new connections and calls; give those in flight `grace` seconds, then cancel them."""
        self._stopping = True
        for listener in self._listeners:
            await listener.close()
        self._listeners.clear()
        for connection in list(self.connections):
            connection.leave()
        if grace:
            await _within(grace, self._alone)
        for call in list(self._calls):
            call.cancel()
        await _within(_CANCELLED, self._idle)
        for connection in list(self.connections):
            connection.close()
        await asyncio.sleep(0)  # transports that had nothing left to send close now
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)
        self.wheel.close()
        if self._looking is not None:
            self._looking.cancel()
        self._stopped.set()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server is stopped; returns True if `timeout` seconds were not enough."""
        try:
            async with asyncio.timeout(timeout):
                await self._stopped.wait()
        except TimeoutError:
            return True
        return False

    # for connections

    def connected(self, connection: Connection) -> bool:
        """Take a connection in; False when there are too many."""
        if self._stopping or len(self.connections) >= self.limits.connections:
            return False
        self.connections.add(connection)
        self._alone.clear()
        return True

    def disconnected(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if not self.connections:
            self._alone.set()

    def serve(self, stream: Stream, message: bytes | None, *, compressed: bool = False) -> None:
        """Serve the call of a stream, whose request is `message` or still to come; or refuse it."""
        connection = stream.connection
        if len(self._calls) >= self.limits.concurrent_calls:
            assert stream.head.method is not None
            connection.end_now(stream, self._too_many(stream.head.method.path))
            return
        if connection.sender.unsent > self.limits.unsent_bytes:
            connection.end_now(stream, _UNSENT)
            return
        method = stream.head.method
        assert method is not None
        call = stream.call = Call(stream, method, self._starts, self._served)
        self._calls.add(call)
        self._idle.clear()
        if method.begin is not None and message is not None and not compressed and begin(call, message):
            self.begun = True
        else:
            call.task = self.loop.create_task(serve(call, message, compressed))

    def _served(self, call: Call) -> None:
        self._calls.discard(call)
        if not self._calls:
            self._idle.set()

    def _look(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            connection.inspect(now)
        self._look_later()

    def _look_later(self) -> None:
        limits = self.limits
        shortest = min(limits.handshake_seconds, limits.request_seconds, limits.silence_seconds, limits.answer_seconds)
        self._looking = self.loop.call_later(shortest / _LOOK, self._look)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, `seconds` at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
