"""Authenticated, framed connections between the members of a cluster."""

from raftmeta.transport.contract import MAX_FRAME, Peer, PeerCounters, Transport
from raftmeta.transport.transport import PeerTransport

__all__ = ["MAX_FRAME", "Peer", "PeerCounters", "PeerTransport", "Transport"]
