"""Connections to the other nodes, over which calls are passed on and rows are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import grpc
from grpc import aio

from quartet_server.errors import NodeNotFound, TooManyRequests
from quartet_server.placement_errors import ZoneHomeDown

FULL = 1_000
"""Calls at once on one connection, above which another is made: a node takes 2,500 of a peer, streams included."""
CONNECTIONS = 8
"""Most connections to one node."""
_ANEW = 3  # calls in a row that ended in the connection after which one is made with the certificates of then
_LAST_ANSWERS = 60.0  # seconds for what is under way on a connection that is given up
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # the node that sends them has limits of its own
    ("grpc.max_send_message_length", -1),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 10_000),  # a node that is gone without a word is noticed
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]


class Addressed(Protocol):
    """What of a member of the cluster matters here."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def client_address(self) -> str:
        """HOST:PORT of its gRPC port; empty until it has run."""


@dataclass(eq=False, slots=True)
class Lane:
    """A connection and how many calls are on it."""

    channel: aio.Channel
    calls: int = 0


class Peer:
    """The connections to one node at one address."""

    def __init__(self, address: str, credentials: Callable[[], grpc.ChannelCredentials | None]) -> None:
        """Connect to HOST:PORT when something is to be sent."""
        self.address = address
        self._credentials = credentials
        self._lanes: list[Lane] = []
        self._failures = 0
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def lane(self) -> Iterator[aio.Channel]:
        """Give the connection with the fewest calls for one more. Raises TooManyRequests."""
        lane = min(self._lanes, key=lambda one: one.calls, default=None)
        if lane is None or lane.calls >= FULL:
            if len(self._lanes) >= CONNECTIONS:
                raise TooManyRequests(f"too many calls are being passed on to {self.address}", retry_after=0.5)
            lane = Lane(self._open())
            self._lanes.append(lane)
        lane.calls += 1
        try:
            yield lane.channel
        except ZoneHomeDown:
            self._failures += 1
            if self._failures >= _ANEW:
                self.retire()
            raise
        else:
            self._failures = 0
        finally:
            lane.calls -= 1

    def retire(self) -> None:
        """Make connections anew from now on; what is under way may end."""
        self._failures = 0
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            task = asyncio.get_running_loop().create_task(lane.channel.close(_LAST_ANSWERS))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all connections and what is under way."""
        lanes, self._lanes = self._lanes, []
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*(lane.channel.close() for lane in lanes), *self._closing, return_exceptions=True)

    def _open(self) -> aio.Channel:
        credentials = self._credentials()
        if credentials is None:
            return aio.insecure_channel(self.address, options=_OPTIONS)
        return aio.secure_channel(self.address, credentials, options=_OPTIONS)


class Peers:
    """The other nodes by their names."""

    def __init__(
        self,
        members: Callable[[], Iterable[Addressed]],
        credentials: Callable[[], grpc.ChannelCredentials | None],
    ) -> None:
        """Find nodes among `members`; `credentials` makes those of a connection, None for plaintext."""
        self._members = members
        self._credentials = credentials
        self._peers: dict[str, Peer] = {}
        self._retired: list[Peer] = []  # addresses change seldom

    def names(self) -> set[str]:
        """Return the names of the members of the moment."""
        return {member.name for member in self._members()}

    def peer(self, name: str) -> Peer:
        """Return the node called `name`. Raises NodeNotFound when nobody knows where it is."""
        address = next((member.client_address for member in self._members() if member.name == name), "")
        if not address:
            raise NodeNotFound(f"no member of the cluster is called {name}", node=name)
        peer = self._peers.get(name)
        if peer is None or peer.address != address:
            if peer is not None:
                peer.retire()
                self._retired.append(peer)
            peer = self._peers[name] = Peer(address, self._credentials)
        return peer

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(peer.close() for peer in (*self._peers.values(), *self._retired)))
