"""The peer transport: every member dials every other and sends on what it dialled."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from secrets import SystemRandom

from raftmeta.tls import FollowedContext, TlsFiles, client_context, server_context
from raftmeta.transport.connection import Connection
from raftmeta.transport.contract import MAX_FRAME, Peer, PeerCounters
from raftmeta.transport.frame import encode
from raftmeta.transport.hello import Refused, Self, judge
from raftmeta.transport.listener import Listener, split
from raftmeta.transport.peer import PeerLink
from raftmeta.v1.hello_pb2 import Hello

CONNECT_TIMEOUT = 2.0
"""Seconds for TCP and TLS together, and again for the greeting."""
QUEUE_BYTES = 32 * 1024 * 1024
"""Bound on frames waiting per peer, in bytes, beside the megabyte the loop buffers."""


def _ignore(*_: object) -> None:
    """Stand in for a callback that nobody set."""


class PeerTransport:
    """`Transport` over TCP with mutual TLS 1.3.

    Attributes:
        on_payload: Gets (peer id, payload, whether another has come with it) for every frame, in order per peer.
        on_connected: Gets a peer's id once frames can be sent to it.
        on_disconnected: Gets a peer's id once they no longer can.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        member_id: int,
        name: str,
        cluster_id: int,
        listen: str,
        tls: TlsFiles | None,
        insecure: bool = False,
        advertise: str = "",
        timeout: float = CONNECT_TIMEOUT,
        queue_bytes: int = QUEUE_BYTES,
        random: Callable[[], float] | None = None,
    ) -> None:
        """Prepare; nothing is bound or dialled before `start`.

        Args:
            loop: The loop it will run on.
            member_id: This member's id, never 0.
            name: Its name, which its certificate must hold.
            cluster_id: Connections from other clusters are refused.
            listen: HOST:PORT to bind; port 0 takes any free one.
            tls: This member's CA, certificate and key.
            insecure: Talk in the clear to whoever knows the cluster's ids: for development on one machine.
            advertise: HOST:PORT told to others; what was bound by default.
            timeout: Seconds for a connection to come up, and for a greeting to arrive.
            queue_bytes: Bound on frames waiting per peer.
            random: Spreads reconnects, 0 to 1; the system's generator by default.

        Raises:
            ValueError: No TLS files without `insecure`, or both.
            TlsError: The files cannot be used.
        """
        if (tls is None) != insecure:
            raise ValueError("a peer transport takes TLS files, or insecure=True, and never both")
        self.on_payload: Callable[[int, bytes, bool], None] = _ignore
        self.on_connected: Callable[[int], None] = _ignore
        self.on_disconnected: Callable[[int], None] = _ignore
        self._loop = loop
        self._me = Self(member_id, name, cluster_id, advertise)
        self._listen = listen
        self._advertise = advertise
        self._timeout = timeout
        self._queue_bytes = queue_bytes
        self._random = random or SystemRandom().random
        self._server_context = FollowedContext(tls, server_context) if tls else None
        self._client_context = FollowedContext(tls, client_context) if tls else None
        self._listener = Listener(
            loop,
            lambda: self._connection(None),
            lambda: self._server_context.current() if self._server_context else None,
            timeout,
        )
        self._links: dict[int, PeerLink] = {}
        self._peers: dict[int, Peer] = {}
        self._counters: dict[int, PeerCounters] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._address = ""
        self._running = False

    async def start(self) -> None:
        """See `Transport.start`."""
        self._address = await self._listener.open(self._listen)
        self._me = Self(self._me.id, self._me.name, self._me.cluster_id, self._advertise or self._address)
        self._running = True
        for link in self._links.values():
            self._start(link)

    async def stop(self) -> None:
        """See `Transport.stop`; safe to call twice."""
        self._running = False
        await self._listener.close()
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(link.stop() for link in links), *self._stopping)
        await asyncio.sleep(0)  # lets the loop release the sockets of greetings that were cancelled

    async def close(self) -> None:
        """The same as `stop`, under the name consensus uses for a link."""
        await self.stop()

    @property
    def address(self) -> str:
        """See `Transport.address`; empty before `start`."""
        return self._address

    def set_peers(self, peers: Mapping[int, Peer | str]) -> None:
        """See `Transport.set_peers`; a bare HOST:PORT is a peer whose name is not known. A peer whose address changed is dialled anew, one whose name does not fit is cut.

        Raises ValueError for an address that is not HOST:PORT; nothing changes then.
        """
        wanted = {
            number: Peer(peer) if isinstance(peer, str) else peer
            for number, peer in peers.items()
            if number != self._me.id
        }
        for peer in wanted.values():
            split(peer.address)
        self._peers = wanted
        for number, link in list(self._links.items()):
            peer_now = wanted.get(number)
            if peer_now is None or peer_now.address != link.peer.address:
                self._drop(self._links.pop(number))
                continue
            link.peer = peer_now
            for connection in (link.outbound, link.inbound):
                if connection is not None and peer_now.name and connection.name != peer_now.name:
                    connection.abort()
        for number, peer in wanted.items():
            if number not in self._links:
                counters = self._counters.setdefault(number, PeerCounters())
                self._links[number] = PeerLink(number, peer, counters)
                if self._running:
                    self._start(self._links[number])

    def send(self, peer_id: int, payload: bytes) -> bool:
        """See `Transport.send`."""
        link = self._links[peer_id]
        if len(payload) > MAX_FRAME:
            raise ValueError(f"a frame of {len(payload)} bytes is longer than {MAX_FRAME}")
        if link.outbound is None:
            link.counters.dropped_disconnected += 1
            return False
        return link.outbound.send(encode(payload))

    def connected(self, peer_id: int) -> bool:
        """See `Transport.connected`."""
        link = self._links.get(peer_id)
        return link is not None and link.outbound is not None

    def counters(self) -> dict[int, PeerCounters]:
        """See `Transport.counters`; peers of the past are included."""
        return dict(self._counters)

    def _start(self, link: PeerLink) -> None:
        link.start(
            self._loop,
            self._dial,
            lambda number: self.on_connected(number),
            lambda number: self.on_disconnected(number),
            self._random,
        )

    def _drop(self, link: PeerLink) -> None:
        """Let go of a peer; its sockets close in the background."""
        if link.outbound is not None:
            self.on_disconnected(link.id)
        task = self._loop.create_task(link.stop())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    def _connection(self, expected: int | None) -> Connection:
        return Connection(
            self._loop,
            lambda: encode(self._me.hello(expected or 0)),
            expected is not None,
            self._timeout,
            lambda connection, hello, certified: self._accept(connection, hello, certified, expected),
            lambda number, payload, more: self.on_payload(number, payload, more),
            self._queue_bytes,
        )

    async def _dial(self, link: PeerLink) -> Connection:
        """Connect and be accepted. Raises OSError (TimeoutError included), Refused or BadFrame."""
        connection = self._connection(link.id)
        host, port = split(link.peer.address)
        context: ssl.SSLContext | None = self._client_context.current() if self._client_context else None
        try:
            async with asyncio.timeout(self._timeout):
                await self._loop.create_connection(lambda: connection, host, port, ssl=context)
            await connection.ready
        except BaseException:
            connection.abort()
            raise
        return connection

    def _accept(
        self, connection: Connection, hello: Hello, certified: frozenset[str] | None, expected: int | None
    ) -> PeerCounters:
        """Judge who greets us; the newest connection of a member replaces its older one. Raises Refused."""
        try:
            judge(hello, self._me, self._peers, certified, expected)
        except Refused:
            if (counters := self._counters.get(hello.sender_id)) is not None and expected is None:
                counters.refusals += 1
            raise
        link = self._links[hello.sender_id]
        if expected is None:
            if link.inbound is not None:
                link.inbound.abort()
            link.inbound = connection
            link.wake()
        return link.counters
