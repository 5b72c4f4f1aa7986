"""The one interceptor of the port: every call of every shape passes through it.

Calls of Quartet's services get, in this order: metrics, a request id, errors translated, a zone, a deadline. Calls of
foreign services (the etcd API, health, reflection) keep their own contracts: they are counted, their aborts pass
untouched, and only an exception that nobody expected is turned into INTERNAL.

Composed into one because each further aio interceptor costs every call another task switch; each concern is its own
module. A method is wrapped once and then found by its handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio

from quartet_server.errors import FieldInvalid, InternalFault, NodeStopping, QuartetError, RpcUnimplemented
from quartet_server.rpc.call import Call, enter
from quartet_server.rpc.deadlines import Deadlines
from quartet_server.rpc.metrics import CallMetrics, MethodMetrics
from quartet_server.rpc.status import DETAILS_KEY, clipped, from_metastore, to_status
from quartet_server.rpc.zones import ZONE_KEY, certified_zones, require_certificate, zone_of
from raftmeta.errors import MetastoreError
from raftmeta.services.unreadable import STREAM, UNARY

REQUEST_ID_KEY = "quartet-request-id"

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_OURS = "/quartet."
_STREAMS_GRACE = 0.5  # seconds that streams get at a shutdown
_LATE_CALLS = 0.05  # seconds without a new call after which none is on its way
_STOPPING = "the node is shutting down"
_log = structlog.get_logger("quartet.rpc")

_Context: TypeAlias = "aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Serve: TypeAlias = Callable[[Any, _Context], Awaitable[Any]]


class CallInterceptor(aio.ServerInterceptor):
    """Wraps every method of a server in what all calls share."""

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
        self._metrics = metrics
        self._new_id = new_id
        self._deadlines = deadlines or Deadlines()
        self._certificates = certificates
        self._clock = clock
        self._wrapped: dict[str, _Handler] = {}
        self._streams: set[asyncio.Task[Any]] = set()
        self._ending = False
        self._refusing = False
        self._refused = 0
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Return the method's handler, wrapped; None passes through and gRPC answers UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method is None:
            return handler
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    async def drain(self, seconds: float) -> None:
        """Refuse new calls with UNAVAILABLE, so that their callers go elsewhere, and wait for those in flight.

        Returns when all have ended, after `seconds` at the latest. Streams, a watch would last for ever, are given a
        moment and then ended with UNAVAILABLE too. gRPC's own shutdown says CANCELLED to calls that it had accepted
        but not handed out, which no client tries again: so it must come after this.
        """
        self._refusing = True
        ending = asyncio.get_running_loop().call_later(min(_STREAMS_GRACE, seconds), self._end_streams)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        ending.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                refused = -1
                while refused != self._refused:
                    refused = self._refused
                    await asyncio.sleep(_LATE_CALLS)

    def _end_streams(self) -> None:
        self._ending = True
        for task in self._streams:
            task.cancel()

    def _wrap(self, method: str, handler: _Handler) -> _Handler:
        """Return a handler of the same shape whose behaviour is served under the interceptor's care."""
        requests, responses = bool(handler.request_streaming), bool(handler.response_streaming)
        metrics = self._metrics.method(method, requests_stream=requests, responses_stream=responses)
        shape = f"{'stream' if requests else 'unary'}_{'stream' if responses else 'unary'}"
        serve = self._stream(_written(getattr(handler, shape))) if responses else getattr(handler, shape)
        read = handler.request_deserializer
        if method.startswith(_OURS):
            serve = self._quartet(method, serve, timed=not (requests or responses))
        read = _reader(read) if read is not None and not requests else read
        make = getattr(grpc, f"{shape}_rpc_method_handler")
        wrapped: _Handler = make(self._guarded(method, serve, metrics), read, handler.response_serializer)
        return wrapped

    def _guarded(self, method: str, serve: _Serve, metrics: MethodMetrics) -> _Serve:
        """Count the call and see that it ends with a status somebody chose."""
        ours = method.startswith(_OURS)

        async def guarded(request: Any, context: _Context) -> Any:
            metrics.started.inc()
            if self._refusing:
                self._refused += 1
                metrics.handled[grpc.StatusCode.UNAVAILABLE].inc()
                await self._refuse(ours, context)
            self._in_flight += 1
            self._idle.clear()
            began = self._clock()
            code = grpc.StatusCode.INTERNAL
            try:
                if not ours and isinstance(request, FieldInvalid):
                    await _end(context, code, UNARY.format(request.message))
                response = await serve(request, context)
                code = _code(context) or grpc.StatusCode.OK
                return response
            except aio.AbortError:
                code = _code(context) or code
                raise
            except asyncio.CancelledError:
                remaining = context.time_remaining()
                late = remaining is not None and remaining <= 0
                code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
                raise
            except (MetastoreError, QuartetError) as error:  # only a foreign service lets one through to here
                code = error.code
                await _end(context, code, str(error))
            except NotImplementedError:
                code = grpc.StatusCode.UNIMPLEMENTED
                await _end(context, code, f"{method} is not implemented")
            except DecodeError as error:  # of a stream's request
                await _end(context, code, STREAM.format(error))
            except Exception as error:  # noqa: BLE001 - whatever a service lets through must get a status
                await self._unforeseen(method, self._new_id(), error, context)
            finally:
                metrics.seconds.observe(self._clock() - began)
                metrics.handled[code].inc()
                self._in_flight -= 1
                if not self._in_flight:
                    self._idle.set()

        return guarded

    def _quartet(self, method: str, serve: _Serve, *, timed: bool) -> _Serve:
        """Add what only Quartet's own services have: request id, zone, deadline, the error tree."""

        async def served(request: Any, context: _Context) -> Any:
            given = {str(key): value for key, value in context.invocation_metadata() or ()}
            request_id = str(given.get(REQUEST_ID_KEY, ""))
            if _REQUEST_ID.fullmatch(request_id) is None:
                request_id = self._new_id()
            context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
            enter(Call(method, request_id))  # the log lines of a refused call carry its id too
            try:
                enter(Call(method, request_id, self._zone(given.get(ZONE_KEY), context)))
                if isinstance(request, FieldInvalid):
                    await _abort(context, request_id, request)
                if not timed:
                    return await serve(request, context)
                async with self._deadlines.of(context.time_remaining()):
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

    def _stream(self, serve: _Serve) -> _Serve:
        """Let `end_streams` end the call."""

        async def streamed(request: Any, context: _Context) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            try:
                await serve(request, context)
            except asyncio.CancelledError:
                if not self._ending:
                    raise
                task.uncancel()
                raise NodeStopping(_STOPPING) from None
            finally:
                self._streams.discard(task)

        return streamed

    def _zone(self, named: str | bytes | None, context: _Context) -> str:
        """Return the zone of the call; raises ZoneInvalid, ZoneDenied, CertificateRequired."""
        text = named.decode("ascii", "replace") if isinstance(named, bytes) else named
        if not self._certificates:
            return zone_of(text, None)
        return zone_of(text, require_certificate(certified_zones(context.auth_context())))

    async def _refuse(self, ours: bool, context: _Context) -> None:
        """Send a caller elsewhere: this node is shutting down."""
        if ours:
            await _abort(context, self._new_id(), NodeStopping(_STOPPING))
        await _end(context, grpc.StatusCode.UNAVAILABLE, _STOPPING)

    async def _unforeseen(self, method: str, request_id: str, error: Exception, context: _Context) -> None:
        """Log a fault of our own, once and whole, and answer INTERNAL with the id under which the log has it."""
        if isinstance(error, aio.InternalError):  # writing to a caller that is gone
            raise asyncio.CancelledError from None
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


def _code(context: _Context) -> grpc.StatusCode | None:
    """Return the status code that the service set, if it set one."""
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else None


async def _abort(context: _Context, request_id: str, error: QuartetError) -> None:
    """End the call with the error's status and details."""
    extra = {"request_id": request_id} if isinstance(error, InternalFault) else {}
    details = to_status(error, **extra).SerializeToString()
    await _end(context, error.code, clipped(error.message), ((REQUEST_ID_KEY, request_id), (DETAILS_KEY, details)))


async def _end(
    context: _Context, code: grpc.StatusCode, message: str, trailing: Sequence[tuple[str, str | bytes]] = ()
) -> None:
    """Abort the call; to a caller that is gone it was cancelled."""
    try:
        await context.abort(code, message, trailing)
    except aio.InternalError:
        raise asyncio.CancelledError from None
