"""One contract, every driver: each test of this folder runs on each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from harness.stores import NAMES, Stores

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stores(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stores]:
    """Everything that was started, by name."""
    async with Stores(tmp_path_factory.mktemp("stores")) as started:
        yield started


@pytest_asyncio.fixture(
    params=[pytest.param(name, marks=[pytest.mark.peer] if name.startswith("etcd") else []) for name in NAMES],
    loop_scope="session",
)
async def metastore(request: pytest.FixtureRequest, stores: Stores) -> AsyncIterator[Metastore]:
    """A driver bound to a keyspace without keys; what it leaves is deleted."""
    store = await stores.get(request.param)
    await store.delete_range(pb.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
    yield store
    await store.delete_range(pb.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
