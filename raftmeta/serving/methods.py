"""The methods of a server by their paths."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from raftmeta.serving.faults import Refusal

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Wrap: TypeAlias = Callable[[str, Handler], Handler]

Begin: TypeAlias = Callable[[bytes, Any], bool]
"""Takes a request in bytes and the context of its call, which has no task then; False leaves both to the handler.

What it takes it starts by `start`, and answers by `end` and `finished`, unless the context is `done` before: the caller has left.
"""

_REMEMBERED = 4096  # paths; a generic handler may know any number


@dataclass(frozen=True, slots=True)
class Method:
    """One method, taken apart once.

    Attributes:
        path: `/package.Service/Method`.
        behaviour: Takes the request, or an async iterator of requests, and a context; gives an awaitable or an async
            generator.
        read: Bytes to request.
        write: Response to bytes.
        requests_stream: Whether it takes many requests.
        responses_stream: Whether it gives many responses.
        generates: Whether `behaviour` is an async generator function.
        begin: Serves without a task what it takes.
    """

    path: str
    behaviour: Callable[..., Any]
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    requests_stream: bool
    responses_stream: bool
    generates: bool
    begin: Begin | None = None

    @classmethod
    def of(cls, path: str, handler: Handler, begin: Begin | None) -> Method:
        """Return the method of a handler."""
        requests, responses = bool(handler.request_streaming), bool(handler.response_streaming)
        shape = f"{'stream' if requests else 'unary'}_{'stream' if responses else 'unary'}"
        behaviour = getattr(handler, shape)
        return cls(
            path,
            behaviour,
            handler.request_deserializer or _same,
            handler.response_serializer or _same,
            requests,
            responses,
            inspect.isasyncgenfunction(behaviour),
            begin,
        )


class Registry:
    """Finds the method of a path; wraps its handler once, when it is added or first found."""

    def __init__(self, wrap: Wrap | None) -> None:
        """Wrap handlers with `wrap`."""
        self._wrap = wrap
        self._methods: dict[str, Method] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._services: set[str] = set()
        self._begins: dict[str, Begin] = {}

    def begin(self, path: str, begin: Begin) -> None:
        """Ask `begin` first from now on for a method to be added; not if handlers are wrapped, which it would pass by."""
        if self._wrap is None:
            self._begins[path] = begin

    def add_generic(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Ask these handlers too, for paths that are not known otherwise."""
        self._generic += handlers

    def add(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add the methods of a service by their names."""
        self._services.add(service)
        for name, handler in handlers.items():
            self._remember(f"/{service}/{name}", handler)

    def find(self, path: str) -> Method:
        """Return the method of a path. Raises Refusal."""
        method = self._methods.get(path)
        if method is not None:
            return method
        details = _Details(path, ())
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return self._remember(path, handler)
        service, _, name = path[1:200].rpartition("/")
        known = service in self._services or any(one.startswith(f"/{service}/") for one in self._methods)
        text = f"unknown method {name} for service {service}" if known else f"unknown service {service}"
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, text)

    def _remember(self, path: str, handler: Handler) -> Method:
        method = Method.of(path, self._wrap(path, handler) if self._wrap else handler, self._begins.get(path))
        if len(self._methods) < _REMEMBERED:
            self._methods[path] = method
        return method


@dataclass(frozen=True)
class _Details(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...]


def _same(data: Any) -> Any:
    return data
