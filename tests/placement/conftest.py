"""A member for the Metastore that the nodes of a test share; each test gets it empty."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from harness.stores import Stores

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stores(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stores]:
    """Everything that was started, by name."""
    async with Stores(tmp_path_factory.mktemp("stores")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def store(stores: Stores) -> Metastore:
    """A keyspace without keys."""
    metastore = await stores.get("embedded")
    await metastore.delete_range(rpc_pb2.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
    return metastore
