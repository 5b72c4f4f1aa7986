"""The peer transport as the Raft loop uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from raftmeta.config import NodeConfig
from raftmeta.consensus import PeerLink, TransportFactory
from raftmeta.consensus.contract import Member
from raftmeta.identity import Identity
from raftmeta.transport import Peer, PeerTransport


class _Link:
    """A started transport."""

    def __init__(self, transport: PeerTransport) -> None:
        self._transport = transport

    def send(self, member_id: int, frame: bytes) -> bool:
        """Queue a frame; False when it was dropped at once."""
        return self._transport.send(member_id, frame)

    def set_peers(self, peers: Mapping[int, Member]) -> None:
        """Say who may connect, where they are, and to which name their certificates must be issued."""
        self._transport.set_peers({number: Peer(one.peer_address, one.name) for number, one in peers.items()})

    async def close(self) -> None:
        """Close every connection and the listener."""
        await self._transport.stop()


def transport_factory(config: NodeConfig, identity: Identity, bound: Callable[[str], None]) -> TransportFactory:
    """Return what consensus calls to open the Raft port; `bound` is told the HOST:PORT, on the Raft loop."""

    async def start(receive: Callable[[int, bytes, bool], None]) -> PeerLink:
        transport = PeerTransport(
            asyncio.get_running_loop(),
            member_id=identity.member_id,
            name=identity.name,
            cluster_id=identity.cluster_id,
            listen=config.listen_peer,
            tls=config.peer_tls,
            insecure=config.peer_tls is None,
            advertise=config.advertise_peer,
        )
        transport.on_payload = receive
        await transport.start()
        bound(transport.address)
        return _Link(transport)

    return start
