"""The way to one peer: dialled, kept up, dialled again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from raftmeta.transport.connection import Connection
from raftmeta.transport.contract import Peer, PeerCounters
from raftmeta.transport.frame import BadFrame
from raftmeta.transport.hello import Refused

FIRST_RETRY = 0.05
LAST_RETRY = 1.0
_STEADY = 1.0

_log = structlog.get_logger("raftmeta.transport")


class PeerLink:
    """Everything this member holds about one peer.

    Attributes:
        id: The peer's member id.
        peer: Its address and name.
        counters: What happened so far.
        outbound: Our connection to it, once accepted; what `send` uses.
        inbound: Its connection to us, once accepted.
    """

    def __init__(self, member_id: int, peer: Peer, counters: PeerCounters) -> None:
        """Know a peer; `start` begins to dial."""
        self.id = member_id
        self.peer = peer
        self.counters = counters
        self.outbound: Connection | None = None
        self.inbound: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._complaint = ""

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        dial: Callable[[PeerLink], Awaitable[Connection]],
        on_connected: Callable[[int], None],
        on_disconnected: Callable[[int], None],
        random: Callable[[], float],
    ) -> None:
        """Keep a connection up until `stop`: `dial` makes one, `random` (0 to 1) spreads the attempts."""
        self._task = loop.create_task(self._keep(dial, on_connected, on_disconnected, random, loop.time))

    def wake(self) -> None:
        """Try at once if a retry is being waited for: the peer has just shown that it is alive."""
        self._wake.set()

    async def stop(self) -> None:
        """Drop both connections and dial no more. No callback follows."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for connection in (self.outbound, self.inbound):
            if connection is not None:
                connection.abort()
                await connection.closed
        self.outbound = self.inbound = None

    async def _keep(
        self,
        dial: Callable[[PeerLink], Awaitable[Connection]],
        on_connected: Callable[[int], None],
        on_disconnected: Callable[[int], None],
        random: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        retry = FIRST_RETRY
        while True:
            self._wake.clear()
            began = now()
            try:
                connection = await dial(self)
            except (OSError, Refused, BadFrame, ValueError) as error:
                self.counters.refusals += 1
                self._complain(str(error) or type(error).__name__)
            else:
                self._complaint = ""
                self.outbound = connection
                self.counters.connects += 1
                on_connected(self.id)
                await asyncio.shield(connection.closed)
                self.outbound = None
                on_disconnected(self.id)
                if now() - began > _STEADY:
                    retry = FIRST_RETRY
            with contextlib.suppress(TimeoutError):  # not wait_for, which may swallow the cancellation (CPython 3.11)
                async with asyncio.timeout(retry * (0.5 + random() / 2)):
                    await self._wake.wait()
            retry = min(retry * 2, LAST_RETRY)

    def _complain(self, reason: str) -> None:
        """Log a failure once, not at every attempt."""
        if reason != self._complaint:
            self._complaint = reason
            _log.warning("cannot connect to a member", member=f"{self.id:x}", address=self.peer.address, reason=reason)
