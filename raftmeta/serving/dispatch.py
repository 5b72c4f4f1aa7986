"""Runs one call: request in, behaviour, answer out, and a status whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio

from raftmeta.serving.call import UNARY, Call

_log = structlog.get_logger("raftmeta.serving")


def begin(call: Call, message: bytes) -> bool:
    """Have a call begin without a task, if its method takes it; tell whether it has."""
    begins = call.method.begin
    try:
        return begins is not None and begins(message, call)
    except Exception as error:  # noqa: BLE001 - whatever a service lets through must get a status
        if not call.started:
            call.start()
        _fail(call, error)
        call.finished()
        return True


async def serve(call: Call, message: bytes | None, compressed: bool) -> None:
    """Serve a call to its end; `message` is the request of a method that takes one."""
    if not call.start():
        call.finished()
        return
    try:
        await _serve(call, message, compressed)
    except aio.AbortError:
        pass  # the status is sent
    except asyncio.CancelledError:
        call.set_code(grpc.StatusCode.CANCELLED)
        call.end()
    except Exception as error:  # noqa: BLE001 - whatever a service lets through must get a status
        _fail(call, error)
    finally:
        call.finished()


async def _serve(call: Call, message: bytes | None, compressed: bool) -> None:
    method = call.method
    if message is None:
        request = call.requests()
    elif compressed:
        request = await call.decoded(compressed, message, UNARY)
    else:
        try:
            request = method.read(message)
        except DecodeError as error:
            await call.abort(grpc.StatusCode.INTERNAL, UNARY.format(str(error).rpartition(": ")[2]))
    if not method.responses_stream:
        response = await method.behaviour(request, call)
        call.end(response if type(response) is bytes else method.write(response))
        return
    if method.generates:
        async with aclosing(method.behaviour(request, call)) as responses:
            async for response in responses:
                await call.write(response)
    else:
        await method.behaviour(request, call)
    stream = call.stream
    if not stream.began and not stream.ended:
        stream.connection.sender.begin(stream)
    call.end()


def _fail(call: Call, error: Exception) -> None:
    """Answer UNKNOWN, as gRPC's own server does, to what a service should not have let through."""
    _log.error("a call failed", method=call.method.path, exc_info=error)
    call.set_code(grpc.StatusCode.UNKNOWN)
    call.set_details(f"Unexpected {type(error)}: {error}"[:1000])
    call.set_trailing_metadata(())
    call.end()
