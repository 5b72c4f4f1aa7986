"""What a service gets beside the request: the context of its call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from raftmeta.serving.faults import Refusal
from raftmeta.serving.messages import inflate
from raftmeta.serving.metadata import Metadata, Pair
from raftmeta.serving.methods import Method
from raftmeta.serving.stream import Stream

UNARY = "grpc: error unmarshalling request: {}"
STREAM = "grpc: failed to unmarshal the received message {}"
"""What is said, with INTERNAL, to bytes that are no message of the method's type; the words are those of etcd's server."""


class Starts:
    """Tells a call that is answered at once, with no other about to begin, from one of many.

    Attributes:
        waiting: Calls whose task has not begun.
    """

    __slots__ = ("_latest", "waiting")

    def __init__(self) -> None:
        """No call has come."""
        self.waiting = 0
        self._latest: Call | None = None

    def began(self, call: Call) -> None:
        """Note that a call's task has begun."""
        self.waiting -= 1
        self._latest = call

    def is_only(self, call: Call) -> bool:
        """Tell whether no call began after this one and none will in this turn of the loop."""
        return self._latest is call and not self.waiting

    def ended(self, call: Call) -> None:
        """Let go of a call."""
        if self._latest is call:
            self._latest = None


class Call(aio.ServicerContext[Any, Any]):
    """The context of one call; methods behave as `grpc.aio.ServicerContext` says.

    A caller that went away cancels the task that serves it; to write to it nevertheless raises CancelledError.

    Attributes:
        stream: Its stream.
        method: The method called.
        task: What serves it.
    """

    task: asyncio.Task[None] | None = None
    _code: grpc.StatusCode | None = None
    _details = ""
    _trailing: Metadata = ()
    _cancelled = False
    _done = False
    _callbacks: list[Callable[[Any], None]] | None = None
    _auth: Mapping[str, Iterable[bytes]] | None = None

    def __init__(self, stream: Stream, method: Method, starts: Starts, over: Callable[[Call], None]) -> None:
        """Make the context of the call that came on `stream`; `over` is called when its task has ended."""
        starts.waiting += 1
        self._starts = starts
        self.stream = stream
        self._over = over
        self.method = method
        self._started = False

    # what the caller said

    def invocation_metadata(self) -> Any:
        """Return pairs of key and value; the value of a key that ends in `-bin` is bytes."""
        return self.stream.head.metadata

    def time_remaining(self) -> float | None:  # type: ignore[override]  # None says that there is no deadline
        """Return seconds until the caller's deadline, never negative; None without one."""
        deadline = self.stream.deadline
        return None if deadline is None else max(0.0, deadline - self.stream.connection.loop.time())

    def peer(self) -> str:
        """Return the caller's address."""
        return self.stream.connection.peer.name

    def peer_identities(self) -> Iterable[bytes] | None:
        """Return the names the caller's certificate gives it."""
        key = self.peer_identity_key()
        return None if key is None else self.auth_context()[key]

    def peer_identity_key(self) -> str | None:
        """Return under which key of `auth_context` those are."""
        return self.stream.connection.peer.identity_key()

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what the caller's certificate says; the same object for all calls of a connection, but for those vouched for."""
        return self.stream.connection.peer.auth if self._auth is None else self._auth

    def vouch(self, auth: Mapping[str, Iterable[bytes]]) -> None:
        """Say what `auth_context` returns from now on: what the certificate says of the one for whom the caller calls."""
        self._auth = auth

    # messages

    async def read(self) -> Any:
        """Return the next request of a stream, `aio.EOF` at its end."""
        found = await self.stream.read()
        if found is None:
            if self.stream.inbox is not None and self.stream.inbox.broken:
                await self.abort(grpc.StatusCode.INTERNAL, "grpc: the request ended inside a message")
            return aio.EOF
        return await self.decoded(*found, STREAM)

    def requests(self) -> AsyncIterator[Any]:
        """Return the requests of a stream, one after the other."""
        return _Requests(self)

    async def decoded(self, compressed: bool, message: bytes, text: str) -> Any:
        """Return the request that a message is; ends the call with INTERNAL and `text` when it is none."""
        try:
            if compressed:
                limit = self.stream.connection.limits.message_bytes
                message = await inflate(message, self.stream.head.encoding, limit)
            return self.method.read(message)
        except DecodeError as error:
            await self.abort(grpc.StatusCode.INTERNAL, text.format(str(error).rpartition(": ")[2]))
        except Refusal as refusal:
            await self.abort(refusal.code, refusal.details)

    async def write(self, message: Any) -> None:
        """Send a response of a stream, or several in a list; waits while the caller does not read. See `messages.Parts`."""
        stream = self.stream
        if stream.ended:
            raise asyncio.CancelledError
        sender = stream.connection.sender
        for one in message if type(message) is list else (message,):
            sender.send(stream, one if type(one) is bytes or type(one) is tuple else self.method.write(one))
        await sender.flushed(stream)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the headers now, with this metadata."""
        stream = self.stream
        if stream.began:
            raise aio.UsageError("the initial metadata has been sent")
        if not stream.ended:
            stream.connection.sender.begin(stream, initial_metadata)

    # how it ends

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """End the call with a status; always raises `aio.AbortError`."""
        if code is grpc.StatusCode.OK:
            raise aio.UsageError("a call that is aborted cannot be OK")
        self._code, self._details = code, details
        self._trailing = tuple(trailing_metadata) or self._trailing
        self.end()
        raise aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with a status; always raises `aio.AbortError`."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Send this metadata with the status."""
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Sequence[Pair]:  # type: ignore[override]  # narrower than Metadata
        """Return the metadata that will be sent with the status."""
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        """Say what the status will be."""
        self._code = code

    def code(self) -> grpc.StatusCode | None:  # type: ignore[override]  # None until it is set
        """Return the status, if it was set."""
        return self._code

    def set_details(self, details: str) -> None:
        """Say what the status's text will be."""
        self._details = details

    def details(self) -> str:
        """Return the status's text."""
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Do nothing: answers are not compressed."""

    def disable_next_message_compression(self) -> None:
        """Do nothing: answers are not compressed."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call `callback` with this context when the call is over."""
        self._callbacks = [*(self._callbacks or ()), callback]

    def cancelled(self) -> bool:
        """Return whether the caller, its deadline or a shutdown ended the call."""
        return self._cancelled

    def done(self) -> bool:
        """Return whether the call is over."""
        return self._done

    # for the server

    @property
    def started(self) -> bool:
        """Whether somebody serves the call."""
        return self._started

    def start(self) -> bool:
        """Return whether to serve the call: False when it was cancelled before it had begun."""
        self._started = True
        self._starts.began(self)
        return not self._cancelled

    def end(self, message: bytes | None = None) -> None:
        """Send the status as it was set, OK by default, after `message` if there is one."""
        stream = self.stream
        if stream.ended or stream.ending is not None:
            return
        ending = (self._code or grpc.StatusCode.OK, self._details, self._trailing)
        if message is None:
            stream.connection.end(stream, ending)
        else:
            stream.connection.sender.answer(stream, message, ending, alone=self._starts.is_only(self))

    def cancel(self) -> None:
        """End the task; what was not begun is not begun any more."""
        if self._done:
            return
        self._cancelled = True
        if not self._started:
            return
        if self.task is not None:
            self.task.cancel()
        else:
            self.set_code(grpc.StatusCode.CANCELLED)
            self.end()
            self.finished()

    def finished(self) -> None:
        """Note that nothing serves the call any more."""
        self._done = True
        self._starts.ended(self)
        self._over(self)
        for callback in self._callbacks or ():
            callback(self)


class _Requests:
    """What `Call.read` gives, as an iterator that needs no closing."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        request = await self._call.read()
        if request is aio.EOF:
            raise StopAsyncIteration
        return request
