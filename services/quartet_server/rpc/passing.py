"""One call passed on to another node: bytes both ways, as fast as the slower end takes them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, NoReturn, TypeAlias

import grpc
from grpc import aio
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from quartet.cluster.peers.v1.peers_pb2 import ForwardedCall

from quartet_server.errors import DeadlinePassed, QuartetError
from quartet_server.rpc.call import REQUEST_ID_KEY, current_call
from quartet_server.rpc.status import DETAILS_KEY
from quartet_server.rpc.zones import ZONE_KEY, certified_zones

FORWARDED_KEY = "quartet-forwarded-bin"
"""Metadata of a call that a member passes on: a `ForwardedCall`."""

_NOT_PASSED = frozenset((REQUEST_ID_KEY, ZONE_KEY, FORWARDED_KEY, "user-agent"))
_KEY = re.compile(r"[0-9a-z_.-]{1,200}")
_VALUE = re.compile(r"[ -~]*")
_UNANSWERED = frozenset(
    (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
)
_Context: TypeAlias = Any
_Call: TypeAlias = Any  # one of aio's four kinds


class Passage:
    """The way to the home of a zone, for one call."""

    def __init__(
        self,
        mark: ForwardedCall,
        lane: Callable[[], AbstractContextManager[aio.Channel]],
        down: Callable[[str], QuartetError],
    ) -> None:
        """Say how to call.

        Args:
            mark: Who passes the call on, and to whom.
            lane: Gives a channel, and is told when the call is over. Raises TooManyRequests.
            down: Is told what happened when the node did not answer, and gives the error for the caller.
        """
        self._mark = mark
        self._lane = lane
        self._down = down

    async def call(self, method: str, request: Any, context: _Context, *, requests: bool, responses: bool) -> Any:
        """Pass a call on and return the answer in bytes; several are written to `context`.

        The caller's metadata, deadline and cancellation reach the node, and its status, with all that comes with it, the
        caller. At most one request and one answer are held here besides what the flow control of both connections allows.
        Raises ZoneHomeDown, DeadlinePassed, aio.AbortError.
        """
        with self._lane() as channel:
            shape = f"{'stream' if requests else 'unary'}_{'stream' if responses else 'unary'}"
            begin = getattr(channel, shape)(method)
            sent = () if requests else (request,)
            call = begin(*sent, timeout=context.time_remaining(), metadata=self._metadata(context))
            sending = asyncio.create_task(_send(request, call)) if requests else None
            try:
                if sending is not None:
                    sending.add_done_callback(lambda done: _stop_if_failed(done, call))
                answer = await (_relay(call, context) if responses else call)
                await self._trail(await call.initial_metadata(), await call.trailing_metadata(), context, responses)
            except aio.AioRpcError as error:
                await self._fail(error, context)
            except asyncio.CancelledError:
                if sending is not None and sending.done() and not sending.cancelled():
                    sending.result()  # why there are no more requests: the call was cancelled for that
                raise
            else:
                return answer
            finally:
                if sending is not None:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                if not call.done():
                    call.cancel()

    def _metadata(self, context: _Context) -> list[tuple[str, Any]]:
        """Return what goes with the call: all that came, and what this node has found out of it and of the caller."""
        call, auth = current_call(), context.auth_context()
        if certified_zones(auth) is not None:
            self._mark.certified = True
            self._mark.common_names.extend(_texts(auth.get("x509_common_name", ())))
            self._mark.uris.extend(_texts(auth.get("peer_uri", ())))
        found = (
            (REQUEST_ID_KEY, call.request_id),
            (ZONE_KEY, call.zone),
            (FORWARDED_KEY, self._mark.SerializeToString()),
        )
        return [pair for pair in context.invocation_metadata() if _passes(*pair)] + [*found]

    async def _trail(self, initial: Any, trailing: Any, context: _Context, responses: bool) -> None:
        """Hand over the metadata of an answer; of a stream the initial ones have been."""
        if initial and not responses:
            await context.send_initial_metadata(tuple(initial))
        if trailing:
            context.set_trailing_metadata(tuple(trailing))

    async def _fail(self, error: aio.AioRpcError, context: _Context) -> NoReturn:
        """End the call as the node ended it; raises ZoneHomeDown when it was not the node that did."""
        code, trailing = error.code(), tuple(error.trailing_metadata() or ())
        keys = {key for key, _ in trailing}
        cut_off = code is grpc.StatusCode.CANCELLED  # not by the caller: the node ended before the call did
        if DETAILS_KEY not in keys and (cut_off or REQUEST_ID_KEY not in keys):
            if code in _UNANSWERED:
                raise self._down(error.details() or code.name) from error
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise DeadlinePassed("the deadline passed before the zone's home had answered") from error
        await context.abort(code, error.details() or "", trailing)
        raise AssertionError("abort raises")


async def _relay(call: _Call, context: _Context) -> None:
    """Write the answers of a stream as they come. Raises AioRpcError."""
    initial = await call.initial_metadata()
    if initial:
        await context.send_initial_metadata(tuple(initial))
    while (answer := await call.read()) is not aio.EOF:
        await context.write(answer)


async def _send(requests: AsyncIterator[bytes], call: _Call) -> None:
    """Send requests as they come, until the node wants no more; raises what reading them raises.

    aio's own `write` puts an internal error in the place of a status that arrives while it writes; what it writes with does not.
    """
    with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
        await call.wait_for_connection()
    async for request in requests:
        if call.done():
            return
        try:
            await call._cython_call.send_serialized_message(request)
        except cygrpc.InternalError:
            return  # the status says why
    with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError, cygrpc.InternalError):
        await call.done_writing()


def _stop_if_failed(sending: asyncio.Task[None], call: _Call) -> None:
    if not sending.cancelled() and sending.exception() is not None:
        call.cancel()


def _passes(key: str, value: str | bytes) -> bool:
    """Tell whether metadata of a call can go with it, and is not this node's to say."""
    if key in _NOT_PASSED or key.startswith("grpc-") or _KEY.fullmatch(key) is None:
        return False
    return isinstance(value, bytes) or _VALUE.fullmatch(value) is not None


def _texts(names: Iterable[bytes]) -> list[str]:
    return [name.decode("utf-8", "replace") for name in names]
