"""Calls whose zone lives on another node, passed on to it: what is put around the methods of services that keep records.

Requests and answers pass as the bytes they came in. A call for a zone at home here costs a look into a set.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

from google.protobuf.message import DecodeError
from quartet.cluster.peers.v1.peers_pb2 import ForwardedCall

from quartet_server.errors import FieldInvalid
from quartet_server.placement_errors import ZoneMoved
from quartet_server.rpc.call import current_call
from quartet_server.rpc.passing import FORWARDED_KEY, Passage

FORWARDED = (
    "/quartet.events.v1.",
    "/quartet.agents.v1.",
    "/quartet.projects.v1.",
    "/quartet.ops.v1.OpsService/Backfill",
    "/quartet.ops.v1.OpsService/CheckReferences",
    "/quartet.ops.v1.OpsService/DescribeSchema",
)
"""Beginnings of the methods that a zone's home alone can serve: those that read or write records of the zone."""

_AGAIN = 0.2  # seconds; by then every node has heard of a move
_Context: TypeAlias = Any
_Serve: TypeAlias = Callable[[Any, _Context], Awaitable[Any]]
_marked: ContextVar[ForwardedCall | None] = ContextVar("quartet_forwarded", default=None)


class Homes(Protocol):
    """Where zones live, as far as calls need it."""

    @property
    def here(self) -> set[str]:
        """Zones that live on this node, as far as it knows yet; the same set always."""

    async def find(self, zone: str, marked: ForwardedCall | None) -> Passage | None:
        """Return the way to a zone's home, None for this node, and give a zone without a home one.

        `marked` came with a call that another node passed on; such a call goes no further. Raises ZoneMoved, ZoneHomeDown,
        NodeNotReady, TooManyRequests, MetastoreError.
        """

    def admit(self, marked: ForwardedCall, auth: Mapping[str, Any]) -> None:
        """Let a call with this mark pass when a member of the cluster makes it. Raises NodeRequired."""


class Forwarding:
    """Wraps methods so that they are served by the home of the call's zone."""

    def __init__(self, homes: Homes) -> None:
        """Send calls to where `homes` says."""
        self._homes = homes
        self._streams: dict[str, set[asyncio.Task[Any]]] = {}
        self._moved: set[asyncio.Task[Any]] = set()

    def covers(self, method: str) -> bool:
        """Tell whether the calls of a method may have to be passed on."""
        return method.startswith(FORWARDED)

    def admit(self, value: str | bytes, context: _Context) -> None:
        """Take a call that a member passes on for one of the caller it names. Raises NodeRequired, FieldInvalid."""
        try:
            marked = ForwardedCall.FromString(value if isinstance(value, bytes) else value.encode())
        except DecodeError as error:
            raise FieldInvalid.of(FORWARDED_KEY, "is not what a node says of a call that it passes on") from error
        auth = context.auth_context()
        self._homes.admit(marked, auth)
        if auth:
            context.vouch(_vouched(marked))
        _marked.set(marked)

    def around(
        self,
        method: str,
        serve: _Serve,
        read: Callable[[bytes], Any],
        *,
        requests: bool,
        responses: bool,
    ) -> _Serve:
        """Return what serves a method's requests in bytes: `serve`, of what `read` makes of them, or the zone's home.

        Args:
            method: Full name.
            serve: Serves it here, and writes the answers itself where there are many.
            read: Makes a request of bytes, or a FieldInvalid.
            requests: There is a stream of them.
            responses: There are several answers.
        """
        streams = requests or responses

        async def served(request: Any, context: _Context) -> Any:
            zone, marked = current_call().zone, _marked.get()
            if marked is not None or zone not in self._homes.here:
                passage = await self._homes.find(zone, marked)
                if passage is not None:
                    return await passage.call(method, request, context, requests=requests, responses=responses)
            if not streams:
                return await serve(_whole(read(request)), context)
            local = _Decoded(request, read) if requests else _whole(read(request))
            return await self._stream(zone, serve, local, context)

        return served

    def leave(self, zone: str) -> None:
        """End the streams of a zone that lives elsewhere from now on; their callers find it there."""
        for task in self._streams.get(zone, ()):
            self._moved.add(task)
            task.cancel()

    async def _stream(self, zone: str, serve: _Serve, request: Any, context: _Context) -> Any:
        task = asyncio.current_task()
        assert task is not None
        streams = self._streams.setdefault(zone, set())
        streams.add(task)
        try:
            return await serve(request, context)
        except asyncio.CancelledError:
            if task not in self._moved:
                raise
            task.uncancel()
            raise ZoneMoved(f"zone {zone} has moved to another node", zone=zone, retry_after=_AGAIN) from None
        finally:
            self._moved.discard(task)
            streams.discard(task)
            if not streams:
                self._streams.pop(zone, None)


class _Decoded:
    """The requests of a stream, until one comes that is no message of its type: that one is raised as FieldInvalid."""

    def __init__(self, requests: AsyncIterator[bytes], read: Callable[[bytes], Any]) -> None:
        self._requests = requests
        self._read = read

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return _whole(self._read(await anext(self._requests)))


def _whole(request: Any) -> Any:
    if isinstance(request, FieldInvalid):
        raise request
    return request


def _vouched(marked: ForwardedCall) -> dict[str, list[bytes]]:
    """Return the auth context of the caller for whom a member calls: what services look at, and no more."""
    if not marked.certified:
        return {}
    return {
        "x509_pem_cert": [b""],  # that there was one; nobody reads it
        "x509_common_name": [name.encode() for name in marked.common_names],
        "peer_uri": [uri.encode() for uri in marked.uris],
    }
