"""Domain services behind a real gRPC server with the real interceptor, over any Metastore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from quartet_server.domain import Domain
from quartet_server.rpc.interceptor import CallInterceptor
from quartet_server.rpc.metrics import CallMetrics

from raftmeta.serving import Server


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
