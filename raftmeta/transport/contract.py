"""What consensus asks of the connections between members."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_FRAME = 8 * 1024 * 1024
"""Longest payload of one frame, in bytes."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another member.

    Attributes:
        address: HOST:PORT where it listens for members.
        name: Its name, to which its certificate must be issued; empty while the cluster has not learned it, in which
            case any node certificate is taken whose name no other member has.
    """

    address: str
    name: str = ""


@dataclass(slots=True)
class PeerCounters:
    """What happened on the connection to one peer since it was first named.

    Attributes:
        frames_sent: Frames handed to the operating system.
        bytes_sent: Their bytes, framing included.
        frames_received: Whole, valid frames from this peer.
        bytes_received: Their bytes, framing included.
        dropped_disconnected: Frames dropped for want of a connection.
        dropped_full: Frames dropped because the queue was full.
        connects: Connections established to it.
        refusals: Connections to it that failed, timed out or were refused on either side.
    """

    frames_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0
    bytes_received: int = 0
    dropped_disconnected: int = 0
    dropped_full: int = 0
    connects: int = 0
    refusals: int = 0


class Transport(Protocol):
    """Datagrams over authenticated connections: in order, at most once, dropped rather than delayed.

    Everything happens on one event loop, that of consensus; no method but `address` may be called from
    another thread. Callbacks get the peer's id, run on the loop and must not block.
    """

    on_payload: Callable[[int, bytes, bool], None]
    on_connected: Callable[[int], None]
    on_disconnected: Callable[[int], None]

    async def start(self) -> None:
        """Bind the listener and begin to dial. Raises OSError when the address cannot be bound."""

    async def stop(self) -> None:
        """Close everything and wait until it is closed."""

    @property
    def address(self) -> str:
        """HOST:PORT actually bound (port 0 resolved); what other members dial."""

    def set_peers(self, peers: Mapping[int, Peer]) -> None:
        """Replace the allow-list: dial the new, drop the gone, refuse everyone else. This member's own id is ignored."""

    def send(self, peer_id: int, payload: bytes) -> bool:
        """Hand `payload` over without ever blocking; False when it was dropped (not connected, or queue full).

        True promises nothing about delivery. Raises ValueError over MAX_FRAME, KeyError for an unknown peer.
        """

    def connected(self, peer_id: int) -> bool:
        """Whether frames can be sent to the peer now."""

    def counters(self) -> dict[int, PeerCounters]:
        """Counters by peer id."""
