"""A server of `raftmeta.serving` around plain functions, and a client that speaks HTTP/2 frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
from hpack import Decoder, Encoder

from raftmeta.serving import Limits, Server, frames
from raftmeta.serving.faults import ErrorCode

PATIENCE = 20.0
SERVICE = "test.Service"
MAKERS = {
    "unary": grpc.unary_unary_rpc_method_handler,
    "server": grpc.unary_stream_rpc_method_handler,
    "client": grpc.stream_unary_rpc_method_handler,
    "bidi": grpc.stream_stream_rpc_method_handler,
}
Methods = Mapping[str, tuple[str, Callable[..., Any]]]


@asynccontextmanager
async def serving(methods: Methods, limits: Limits | None = None) -> AsyncIterator[Server]:
    """Serve `methods`, name -> (shape, behaviour), as test.Service; messages are bytes. `server.port` is where."""
    server = Server(limits)
    handlers: Any = {name: MAKERS[shape](behaviour) for name, (shape, behaviour) in methods.items()}
    server.add_registered_method_handlers(SERVICE, handlers)
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


def port_of(server: Server) -> int:
    """The port that `serving` opened."""
    return server.ports[0]


@dataclass(frozen=True)
class Frame:
    """What the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    fields: dict[str, str]


@dataclass
class Answer:
    """All of one answer."""

    headers: dict[str, str]
    trailers: dict[str, str]
    body: bytes = b""

    @property
    def messages(self) -> list[bytes]:
        """The messages in the body."""
        found, rest = [], self.body
        while rest:
            end = 5 + int.from_bytes(rest[1:5], "big")
            found.append(rest[5:end])
            rest = rest[end:]
        return found

    @property
    def status(self) -> str:
        """Its grpc-status."""
        return self.trailers.get("grpc-status", self.headers.get("grpc-status", ""))


def message(data: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """Frame a gRPC message; `flag` 1 says compressed, `length` is what it says of its length, if that is not the truth."""
    return bytes((flag,)) + (len(data) if length is None else length).to_bytes(4, "big") + data


class Wire:
    """One connection as frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.seen: list[Frame] = []

    @classmethod
    @asynccontextmanager
    async def to(cls, server: Server, *, greet: bool = True, settings: Mapping[int, int] | None = None) -> Any:
        """Connect, with preface and SETTINGS if `greet`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        wire = cls(reader, writer)
        try:
            if greet:
                wire.send(frames.PREFACE + frames.settings(settings or {}))
            yield wire
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def send(self, *data: bytes) -> None:
        self._writer.write(b"".join(data))

    def block(
        self, method: str = "Unary", *extra: tuple[str, str], fields: Iterable[tuple[str, str]] | None = None
    ) -> bytes:
        """Return the header block of a request."""
        usual = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/{SERVICE}/{method}"),
            (":authority", "test"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        return self.encoder.encode([*(usual if fields is None else fields), *extra])

    def request(self, stream: int, method: str, body: bytes | None, *extra: tuple[str, str]) -> None:
        """Send a whole request; without a body only the headers, and the request stays open."""
        self.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, self.block(method, *extra)))
        pieces = [] if body is None else [body[at : at + 16_384] for at in range(0, max(1, len(body)), 16_384)]
        for piece in pieces:
            last = frames.END_STREAM if piece is pieces[-1] else 0
            self.send(frames.frame(frames.DATA, last, stream, piece))

    async def frame(self) -> Frame | None:
        """Return the next frame; None at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        fields = self.decoder.decode(payload) if head[3] == frames.HEADERS else ()
        named = {str(key): str(value) for key, value in fields}
        found = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload, named)
        self.seen.append(found)
        return found

    async def until(self, *kinds: int) -> Frame:
        """Return the next frame of one of these kinds; acknowledgements do not count."""
        while (found := await self.frame()) is not None:
            if found.kind in kinds and not (found.kind == frames.SETTINGS and found.flags):
                return found
        raise EOFError("the connection ended")

    async def answer(self, stream: int) -> Answer:
        """Read until the answer on `stream` is whole."""
        headers: list[dict[str, str]] = []
        body = b""
        while (found := await self.frame()) is not None:
            if found.kind == frames.HEADERS and found.stream == stream:
                headers.append(found.fields)
            elif found.kind == frames.DATA and found.stream == stream:
                body += found.payload
            if found.stream == stream and found.kind in (frames.HEADERS, frames.DATA) and found.flags & 1:
                return Answer(headers[0], headers[-1] if len(headers) > 1 else {}, body)
            if found.kind == frames.RST_STREAM and found.stream == stream:
                raise ConnectionAbortedError(ErrorCode(int.from_bytes(found.payload, "big")).name)
        raise EOFError("the connection ended")

    async def fault(self) -> tuple[str, str]:
        """Read until the server complains; return `stream` or `connection`, and the code's name."""
        while (found := await self.frame()) is not None:
            if found.kind == frames.RST_STREAM:
                return "stream", ErrorCode(int.from_bytes(found.payload, "big")).name
            if found.kind == frames.GOAWAY:
                return "connection", ErrorCode(int.from_bytes(found.payload[4:8], "big")).name
        return "connection", "closed"

    async def ended(self) -> None:
        """Wait until the server closes the connection."""
        while await self.frame() is not None:
            pass

    async def rest(self) -> bytes:
        """Return all bytes until the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()


async def echo(request: bytes, context: Any) -> bytes:
    """Answer with the request."""
    return request


async def wait(request: bytes, context: Any) -> bytes:
    """Answer never."""
    await asyncio.Event().wait()
    raise AssertionError


async def chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    """Answer each request with itself."""
    async for request in requests:
        yield request
