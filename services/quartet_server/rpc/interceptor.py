"""What is wrapped around every method of the port, once, when it is added to the server.

Calls of Quartet's services, and of the Remote Execution API, get, in this order: metrics, a request id, errors translated,
a zone, a deadline. Calls of other foreign services (the etcd API, health, reflection) keep their own contracts: they are
counted, their aborts pass untouched, and only an exception that nobody expected is turned into INTERNAL.

Each concern is its own module; here they are composed, into as few coroutines per call as there can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio

from quartet_server.errors import FieldInvalid, InternalFault, NodeStopping, QuartetError, RpcUnimplemented
from quartet_server.rpc.call import DEFAULT_ZONE, REQUEST_ID_KEY, Call, enter
from quartet_server.rpc.deadlines import Deadline, Deadlines
from quartet_server.rpc.forwarding import Forwarding
from quartet_server.rpc.metrics import CallMetrics, MethodMetrics
from quartet_server.rpc.passing import FORWARDED_KEY
from quartet_server.rpc.port import OURS, REAPI
from quartet_server.rpc.status import DETAILS_KEY, clipped, from_metastore, to_status
from quartet_server.rpc.zones import ZONE_KEY, certified_zones, may_act, require_certificate, zone_of
from raftmeta.errors import MetastoreError
from raftmeta.serving.call import UNARY

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_STREAMS_GRACE = 0.5  # seconds that streams get at a shutdown
_SKEW = 0.1  # seconds by which a caller's deadline may end before the server's copy of it, which began later
_LATE_CALLS = 0.05  # seconds without a new call after which none is on its way
_STOPPING = "the node is shutting down"
_log = structlog.get_logger("quartet.rpc")

_Context: TypeAlias = Any  # a raftmeta.serving.Call
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Serve: TypeAlias = Callable[[Any, _Context], Awaitable[Any]]


class CallInterceptor:
    """Wraps every method of a server in what all calls share; `wrap` is for `raftmeta.serving.Server`.

    Attributes:
        forwarding: Sends calls to the home of their zone; None: every call is served here. To be set before methods are added.
    """

    def __init__(
        self,
        metrics: CallMetrics,
        *,
        new_id: Callable[[], str],
        deadlines: Deadlines | None = None,
        certificates: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            metrics: Where calls are counted.
            new_id: Draws a request id for a call that brought none.
            deadlines: Limits of unary calls.
            certificates: Quartet's services take only calls with a client certificate, and its zones rule.
            clock: Seconds, monotonic; only differences count.
        """
        self.forwarding: Forwarding | None = None
        self._metrics = metrics
        self._new_id = new_id
        self._deadlines = deadlines or Deadlines()
        self._certificates = certificates
        self._clock = clock
        self._streams: set[asyncio.Task[Any]] = set()
        self._uploads: set[asyncio.Task[Any]] = set()  # streams of requests, which end by themselves
        self._ending = False
        self._refusing = False
        self._refused = 0
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def wrap(self, method: str, handler: _Handler) -> _Handler:
        """Return a handler of the same shape whose behaviour is served under the interceptor's care."""
        requests, responses = bool(handler.request_streaming), bool(handler.response_streaming)
        metrics = self._metrics.method(method, requests_stream=requests, responses_stream=responses)
        shape = f"{'stream' if requests else 'unary'}_{'stream' if responses else 'unary'}"
        serve = _written(getattr(handler, shape)) if responses else getattr(handler, shape)
        read = handler.request_deserializer
        ours = method.startswith(OURS)
        read = _reader(read) if read is not None and (ours or not requests) else read
        forwarding = self.forwarding if self.forwarding is not None and self.forwarding.covers(method) else None
        if forwarding is not None:
            assert read is not None
            serve, read = forwarding.around(method, serve, read, requests=requests, responses=responses), None
        if responses or requests:
            serve = self._stream(serve, self._streams if responses else self._uploads)
        if ours:
            serve = _readable(serve) if requests and forwarding is None else serve
            serve = self._quartet(method, serve, forwarding, timed=not (requests or responses))
        make = getattr(grpc, f"{shape}_rpc_method_handler")
        wrapped: _Handler = make(self._guarded(method, serve, metrics), read, handler.response_serializer)
        return wrapped

    async def drain(self, seconds: float) -> None:
        """Refuse new calls with UNAVAILABLE, so that their callers go elsewhere, and wait for those in flight.

        Returns when all have ended, after `seconds` at the latest. Streams, a watch would last for ever, are given a
        moment and then ended with UNAVAILABLE too; uploads, which have an end, when the time is over. gRPC's own shutdown says CANCELLED to calls that it had accepted
        but not handed out, which no client tries again: so it must come after this.
        """
        self._refusing = True
        ending = asyncio.get_running_loop().call_later(min(_STREAMS_GRACE, seconds), self._end, self._streams)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        ending.cancel()
        self._end(self._uploads)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                refused = -1
                while refused != self._refused:
                    refused = self._refused
                    await asyncio.sleep(_LATE_CALLS)

    def _end(self, tasks: set[asyncio.Task[Any]]) -> None:
        self._ending = True
        for task in tasks:
            task.cancel()

    def _guarded(self, method: str, serve: _Serve, metrics: MethodMetrics) -> _Serve:
        """Count the call and see that it ends with a status somebody chose."""
        ours = method.startswith(OURS)

        async def guarded(request: Any, context: _Context) -> Any:
            metrics.started += 1
            if self._refusing:
                self._refused += 1
                metrics.ended(grpc.StatusCode.UNAVAILABLE)
                await self._refuse(ours, context)
            if not self._in_flight:
                self._idle.clear()
            self._in_flight += 1
            began = self._clock()
            code = grpc.StatusCode.INTERNAL
            try:
                if not ours and isinstance(request, FieldInvalid):
                    await context.abort(code, UNARY.format(request.message))
                response = await serve(request, context)
                code = context.code() or grpc.StatusCode.OK
                return response
            except aio.AbortError:
                code = context.code() or code
                raise
            except asyncio.CancelledError:
                remaining = context.time_remaining()
                late = remaining is not None and remaining <= _SKEW
                code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
                raise
            except (MetastoreError, QuartetError) as error:  # only a foreign service lets one through to here
                code = error.code
                await context.abort(code, str(error))
            except NotImplementedError:
                code = grpc.StatusCode.UNIMPLEMENTED
                await context.abort(code, f"{method} is not implemented")
            except Exception as error:  # noqa: BLE001 - whatever a service lets through must get a status
                await self._unforeseen(method, self._new_id(), error, context)
            finally:
                metrics.ended(code, self._clock() - began)
                self._in_flight -= 1
                if not self._in_flight:
                    self._idle.set()

        return guarded

    def _quartet(self, method: str, serve: _Serve, forwarding: Forwarding | None, *, timed: bool) -> _Serve:
        """Add what only Quartet's own services have: request id, zone, deadline, the error tree."""
        instances = method.startswith(REAPI)

        async def served(request: Any, context: _Context) -> Any:
            named = request_id = marked = None
            for key, value in context.invocation_metadata():
                if key == REQUEST_ID_KEY:
                    request_id = value if _REQUEST_ID.fullmatch(value) else None
                elif key == ZONE_KEY:
                    named = value
                elif key == FORWARDED_KEY:
                    marked = value
            if request_id is None:
                request_id = self._new_id()
            context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
            call = Call(method, request_id)
            enter(call)  # the log lines of a refused call carry its id too
            try:
                if marked is not None and forwarding is not None:
                    forwarding.admit(marked, context)
                zone = self._zone(named, context, instances=instances)
                if zone != call.zone:
                    enter(Call(method, request_id, zone))
                if isinstance(request, FieldInvalid):
                    await _abort(context, request_id, request)
                limit = self._deadlines.beyond(context.time_remaining()) if timed else None
                if limit is None:
                    return await serve(request, context)
                async with Deadline(limit):
                    return await serve(request, context)
            except MetastoreError as error:
                await _abort(context, request_id, from_metastore(error))
            except QuartetError as error:
                await _abort(context, request_id, error)
            except NotImplementedError:
                await _abort(context, request_id, RpcUnimplemented(f"{method} is not implemented", method=method))
            except aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a service lets through must get a status
                await self._unforeseen(method, request_id, error, context)

        return served

    def _stream(self, serve: _Serve, tasks: set[asyncio.Task[Any]]) -> _Serve:
        """Let `_end` end the call, which is one of `tasks` meanwhile."""

        async def streamed(request: Any, context: _Context) -> Any:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                return await serve(request, context)
            except asyncio.CancelledError:
                if not self._ending:
                    raise
                task.uncancel()
                raise NodeStopping(_STOPPING) from None
            finally:
                tasks.discard(task)

        return streamed

    def _zone(self, named: str | None, context: _Context, *, instances: bool) -> str:
        """Return the zone of the call; raises ZoneInvalid, ZoneDenied, CertificateRequired.

        Empty where nothing but an instance name, which the service reads, can say which of several zones it is.
        """
        if not self._certificates:
            return zone_of(named, None)
        allowed = require_certificate(certified_zones(context.auth_context()))
        if instances and named is None and len(allowed) > 1 and not may_act(DEFAULT_ZONE, allowed):
            return ""
        return zone_of(named, allowed)

    async def _refuse(self, ours: bool, context: _Context) -> None:
        """Send a caller elsewhere: this node is shutting down."""
        if ours:
            await _abort(context, self._new_id(), NodeStopping(_STOPPING))
        await context.abort(grpc.StatusCode.UNAVAILABLE, _STOPPING)

    async def _unforeseen(self, method: str, request_id: str, error: Exception, context: _Context) -> None:
        """Log a fault of our own, once and whole, and answer INTERNAL with the id under which the log has it."""
        _log.error("call failed", method=method, request_id=request_id, exc_info=error)
        fault = InternalFault(
            f"a fault of the server's own; its log has the details under request id {request_id}",
            hint="",
        )
        await _abort(context, request_id, fault)


def _reader(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return `read` with its refusal as a result: gRPC would answer UNKNOWN before anything of ours had run."""

    def reader(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as error:
            return FieldInvalid(f"the request is not a message of its type: {error}")

    return reader


class _Readable:
    """The requests of a stream, until one comes that is no message of its type: that one is raised as FieldInvalid."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        """Read `requests`."""
        self._requests = requests

    def __aiter__(self) -> AsyncIterator[Any]:
        """Return itself."""
        return self

    async def __anext__(self) -> Any:
        """Return the next request. Raises FieldInvalid."""
        request = await anext(self._requests)
        if isinstance(request, FieldInvalid):
            raise request
        return request


def _readable(serve: _Serve) -> _Serve:
    """Return `serve` for requests of which each is a message of its type, or raises why it is not."""
    return lambda request, context: serve(_Readable(request), context)


def _written(behaviour: Callable[..., Any]) -> _Serve:
    """Return `behaviour` as a coroutine that writes its responses itself: cancelling the call then closes it in order."""
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour

    async def write_all(request: Any, context: _Context) -> None:
        responses: AsyncGenerator[Any, None] = behaviour(request, context)
        async with aclosing(responses):
            async for response in responses:
                await context.write(response)

    return write_all


async def _abort(context: _Context, request_id: str, error: QuartetError) -> None:
    """End the call with the error's status and details."""
    extra = {"request_id": request_id} if isinstance(error, InternalFault) else {}
    details = to_status(error, **extra).SerializeToString()
    await context.abort(error.code, clipped(error.message), ((REQUEST_ID_KEY, request_id), (DETAILS_KEY, details)))
