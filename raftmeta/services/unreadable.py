"""Bytes that are no message of a method's type get the status and text that they get from etcd."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from raftmeta.errors import MetastoreError

CODE = grpc.StatusCode.INTERNAL
UNARY = "grpc: error unmarshalling request: {}"
STREAM = "grpc: failed to unmarshal the received message {}"

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[..., Any]


class Strict:
    """Stands in for a server while services are added to it: grpc.aio itself would say UNKNOWN and log a traceback."""

    def __init__(self, server: aio.Server) -> None:
        """Add to `server`."""
        self._server = server

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: the same methods come as registered ones too."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Handler]) -> None:
        """Add a service whose methods answer unreadable requests as etcd's do."""
        wrapped = {name: _wrap(handler) for name, handler in method_handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, wrapped),))


class _Unreadable:
    """What is handed on in the place of a request."""

    def __init__(self, error: DecodeError) -> None:
        self.reason = str(error).rpartition(": ")[2]


def _reader(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def reader(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as error:
            return _Unreadable(error)

    return reader


def _wrap(handler: Handler) -> Handler:
    requests, responses = bool(handler.request_streaming), bool(handler.response_streaming)
    shape = f"{'stream' if requests else 'unary'}_{'stream' if responses else 'unary'}"
    behaviour: Behaviour = getattr(handler, shape)
    assert handler.request_deserializer is not None
    make = getattr(grpc, f"{shape}_rpc_method_handler")
    read = _reader(handler.request_deserializer)
    wrap = _of_many if requests else _of_one
    wrapped: Handler = make(wrap(behaviour), read, handler.response_serializer)
    return wrapped


def _of_one(behaviour: Behaviour) -> Behaviour:
    """Wrap a method that takes one request."""

    async def one(request: Any, context: Any) -> Any:
        if isinstance(request, _Unreadable):
            await context.abort(CODE, UNARY.format(request.reason))
        return await behaviour(request, context)

    async def many(request: Any, context: Any) -> AsyncIterator[Any]:
        if isinstance(request, _Unreadable):
            await context.abort(CODE, STREAM.format(request.reason))
        async for response in behaviour(request, context):
            yield response

    return many if inspect.isasyncgenfunction(behaviour) else one


def _of_many(behaviour: Behaviour) -> Behaviour:
    """Wrap a method that takes a stream; the services turn the error that ends it into a status."""

    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for response in behaviour(_readable(requests), context):
            yield response

    return stream


async def _readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, _Unreadable):
            raise MetastoreError(None, CODE, STREAM.format(request.reason))
        yield request
