"""A SettingsService over gRPC on an empty keyspace, and a second node of the same cluster."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from harness.served import served
from quartet.settings.v1 import settings_pb2_grpc
from quartet_server.settings.keyring import Keyring
from quartet_server.settings.sealing import NodeKey
from quartet_server.settings.service import SettingsService

from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.settings.v1.settings_pb2_grpc import SettingsServiceAsyncStub

_seconds = itertools.count(1_000_000)


def node(store: Metastore, directory: Path) -> tuple[SettingsService, Keyring]:
    """A node that keeps its own key in `directory`."""
    keyring = Keyring(store, NodeKey(directory), _new_id(directory.name))
    return SettingsService(store, keyring, lambda: Timestamp(seconds=next(_seconds))), keyring


def _new_id(prefix: str) -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"{prefix}{next(numbers):08}"


@pytest.fixture
def keyring(store: Metastore, tmp_path: Path) -> Keyring:
    """The keyring of another node, which has not been announced yet."""
    return node(store, tmp_path / "other")[1]


@pytest_asyncio.fixture(loop_scope="session")
async def settings(store: Metastore, tmp_path: Path) -> AsyncIterator[SettingsServiceAsyncStub]:
    """A stub of the served service."""
    async with (
        served([node(store, tmp_path / "node")[0]]) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield settings_pb2_grpc.SettingsServiceStub(channel)
