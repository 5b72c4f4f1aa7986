"""Domain services behind a real gRPC server with the real interceptor, over any Metastore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from quartet.cluster.peers.v1.peers_pb2 import ForwardedCall
from quartet_server.domain import Domain
from quartet_server.placement.peers import Peer
from quartet_server.placement_errors import ZoneHomeDown
from quartet_server.rpc.forwarding import Forwarding
from quartet_server.rpc.interceptor import CallInterceptor
from quartet_server.rpc.metrics import CallMetrics
from quartet_server.rpc.passing import Passage

from raftmeta.serving import Server


class Elsewhere:
    """What a node knows that is the home of no zone: all of them live at one address."""

    def __init__(self, address: str) -> None:
        """Send everything to HOST:PORT."""
        self.here: set[str] = set()
        self.peer = Peer(address, lambda: None)

    async def find(self, zone: str, marked: ForwardedCall | None) -> Passage | None:
        assert marked is None
        mark = ForwardedCall(by="away", home="home")
        return Passage(mark, self.peer.lane, lambda why: ZoneHomeDown(why, zone=zone, node="home"))

    def admit(self, marked: ForwardedCall, auth: Mapping[str, object]) -> None:
        raise AssertionError


@asynccontextmanager
async def away(domains: Sequence[Domain], home: str) -> AsyncIterator[str]:
    """A node that passes every call of `domains` which has a zone's home on to `home`; yields HOST:PORT."""
    elsewhere = Elsewhere(home)
    interceptor = CallInterceptor(CallMetrics(CollectorRegistry()), new_id=lambda: uuid.uuid4().hex)
    interceptor.forwarding = Forwarding(elsewhere)
    server = Server(wrap=interceptor.wrap)
    for domain in domains:
        domain.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
        await elsewhere.peer.close()


@asynccontextmanager
async def served(domains: Sequence[Domain]) -> AsyncIterator[str]:
    """Serve `domains` on an ephemeral loopback port; yields HOST:PORT, and stops them at the end."""
    interceptor = CallInterceptor(CallMetrics(CollectorRegistry()), new_id=lambda: uuid.uuid4().hex)
    server = Server(wrap=interceptor.wrap)
    for domain in domains:
        domain.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
        for domain in domains:
            await domain.stop()
