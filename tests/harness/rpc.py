"""A real server with the port's interceptor around methods that a test writes as plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from prometheus_client import CollectorRegistry
from quartet_server.addresses import Address
from quartet_server.config import Limits
from quartet_server.rpc.deadlines import Deadlines
from quartet_server.rpc.interceptor import CallInterceptor
from quartet_server.rpc.metrics import CallMetrics
from quartet_server.rpc.port import bind, create

from raftmeta.serving import Server
from raftmeta.tls import TlsFiles

SERVICE = "quartet.test.v1.TestService"
FOREIGN = "etcdserverpb.KV"


@dataclass
class Rpc:
    """A running test server.

    Attributes:
        address: Where it listens.
        channel: A plaintext channel to it; unusable when the server speaks TLS.
        registry: Its metrics.
        interceptor: Its interceptor.
        server: The server itself.
    """

    address: str
    channel: aio.Channel
    registry: CollectorRegistry
    interceptor: CallInterceptor
    server: Server

    def unary(self, method: str, channel: aio.Channel | None = None) -> Callable[..., Any]:
        """Return the multicallable of a unary method named `Service/Method`."""
        return (channel or self.channel).unary_unary(f"/{method}", _to_bytes, StringValue.FromString)

    def server_stream(self, method: str) -> Callable[..., Any]:
        return self.channel.unary_stream(f"/{method}", _to_bytes, StringValue.FromString)

    def client_stream(self, method: str) -> Callable[..., Any]:
        return self.channel.stream_unary(f"/{method}", _to_bytes, StringValue.FromString)

    def bidi(self, method: str) -> Callable[..., Any]:
        return self.channel.stream_stream(f"/{method}", _to_bytes, StringValue.FromString)

    async def sample(self, name: str, **labels: str) -> float | None:
        """Return a metric once no call is being served: a caller has its status a moment before the call is counted."""
        async with asyncio.timeout(10):
            while self._total("grpc_server_started_total") != self._total("grpc_server_handled_total"):
                await asyncio.sleep(0.001)
        return self.registry.get_sample_value(name, labels)

    def _total(self, name: str) -> float:
        families = self.registry.collect()
        return sum(one.value for family in families for one in family.samples if one.name == name)


def _to_bytes(message: StringValue) -> bytes:
    return message.SerializeToString()


MAKERS = {
    "unary": grpc.unary_unary_rpc_method_handler,
    "server": grpc.unary_stream_rpc_method_handler,
    "client": grpc.stream_unary_rpc_method_handler,
    "bidi": grpc.stream_stream_rpc_method_handler,
}


@asynccontextmanager
async def serving(
    methods: Mapping[str, tuple[str, Callable[..., Any]]],
    *,
    foreign: Mapping[str, tuple[str, Callable[..., Any]]] | None = None,
    deadlines: Deadlines | None = None,
    certificates: bool = False,
    tls: TlsFiles | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Rpc]:
    """Serve `methods`: name -> (shape, behaviour), shapes being unary, server, client and bidi."""
    registry = CollectorRegistry()
    numbers = iter(range(1_000_000))
    interceptor = CallInterceptor(
        CallMetrics(registry),
        new_id=lambda: f"drawn-{next(numbers)}",
        deadlines=deadlines,
        certificates=certificates,
    )
    server = create(limits or Limits(), interceptor.wrap)
    for service, table in ((SERVICE, methods), (FOREIGN, foreign or {})):
        handlers = {
            name: MAKERS[shape](behaviour, StringValue.FromString, _to_bytes)
            for name, (shape, behaviour) in table.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    address = bind(server, Address("127.0.0.1", 0), tls)
    await server.start()
    try:
        async with aio.insecure_channel(str(address)) as channel:
            yield Rpc(str(address), channel, registry, interceptor, server)
    finally:
        await server.stop(0)


@dataclass(frozen=True)
class Failure:
    """What a caller learns from a failed call."""

    code: grpc.StatusCode
    message: str
    info: ErrorInfo | None
    violations: dict[str, str]
    retry_after: float | None
    request_id: str | None

    @property
    def reason(self) -> str:
        return self.info.reason if self.info is not None else ""

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self.info.metadata) if self.info is not None else {}

    @classmethod
    def of(cls, error: aio.AioRpcError) -> Failure:
        trailing = dict(error.trailing_metadata() or ())
        info, violations, retry = None, {}, None
        packed = trailing.get("grpc-status-details-bin")
        if packed is not None:
            status = Status.FromString(packed)
            assert status.code == error.code().value[0]
            assert status.message == error.details()
            for detail in status.details:
                one, bad, again = ErrorInfo(), BadRequest(), RetryInfo()
                if detail.Unpack(one):
                    assert info is None
                    info = one
                elif detail.Unpack(bad):
                    violations = {v.field: v.description for v in bad.field_violations}
                elif detail.Unpack(again):
                    retry = again.retry_delay.ToMilliseconds() / 1000
        request_id = trailing.get("quartet-request-id")
        return cls(error.code(), error.details() or "", info, violations, retry, request_id)


async def failure(call: Any) -> Failure:
    """Await a call, or exhaust a stream, that must fail, and return how."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except aio.AioRpcError as error:
        return Failure.of(error)
    raise AssertionError("the call succeeded")
