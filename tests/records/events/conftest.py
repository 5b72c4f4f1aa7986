"""The event ledger, served over each driver."""

from __future__ import annotations

import pytest_asyncio
from harness.ledger import Stub
from harness.records import Opening
from quartet.events.v1 import events_pb2_grpc
from quartet_server.events.schema import SCHEMA
from quartet_server.events.service import start


@pytest_asyncio.fixture
async def ledger(opening: Opening) -> Stub:
    """An empty ledger."""
    return events_pb2_grpc.EventServiceStub(await opening.served(SCHEMA, start))
