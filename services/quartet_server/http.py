"""The HTTP port: /metrics for Prometheus, /healthz and /readyz for whoever runs the node."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator, Sequence

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from quartet_server.addresses import Address
from quartet_server.rpc.port import PortRefused

_MAX_CONNECTIONS = 200
_REQUEST_SECONDS = 10.0


def application(
    registries: Sequence[CollectorRegistry], unready: Callable[[], str], facts: Callable[[], dict[str, object]]
) -> Starlette:
    """Return the ASGI application.

    Args:
        registries: What /metrics shows, in this order; no two may share a metric's name.
        unready: Returns why the node is not ready, or an empty string when it is.
        facts: Returns what /readyz shows besides.
    """

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        parts = [encode(registry) for registry in registries]
        if len(parts) > 1 and content_type.startswith("application/openmetrics-text"):
            parts = [part.removesuffix(b"# EOF\n") for part in parts[:-1]] + parts[-1:]
        return Response(b"".join(parts), media_type=content_type)

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        reason = unready()
        if reason:
            return JSONResponse({"status": "not ready", "reason": reason, **facts()}, status_code=503)
        return JSONResponse({"status": "ready", **facts()})

    return Starlette(
        routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)],
    )


class HttpPort:
    """A running HTTP server of this event loop.

    Attributes:
        address: HOST:PORT in use.
    """

    def __init__(self, address: Address, server: uvicorn.Server, task: asyncio.Task[None]) -> None:
        """Use `start`."""
        self.address = address
        self._server = server
        self._task = task

    @classmethod
    async def start(cls, app: Starlette, address: Address) -> HttpPort:
        """Listen and serve; returns when connections are taken. Raises PortRefused."""
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address.host, address.port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise PortRefused(
                f"cannot listen on {address}: {error.strerror}", "choose another with --listen-http HOST:PORT"
            ) from error
        bound = Address(address.host, listener.getsockname()[1])
        config = uvicorn.Config(
            app, http=_Bounded, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        await server.ready.wait()
        return cls(bound, server, task)

    async def stop(self) -> None:
        """Finish the requests in flight, at most 2 s, and close the port."""
        self._server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class _Bounded(H11Protocol):
    """Connections that neither add up nor stay: `_MAX_CONNECTIONS`, and `_REQUEST_SECONDS` for each request and its answer.

    uvicorn bounds neither, and what this port has open is missing where the other ports need descriptors.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            transport.abort()
        else:
            self._wait_for_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(_REQUEST_SECONDS, self.transport.abort)


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens and leaves the process's signals to the node."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
