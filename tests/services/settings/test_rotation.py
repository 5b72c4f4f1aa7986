"""Rotations that overlap: whichever ends first, no value is left under a key that is gone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.failures import fails
from harness.served import served
from quartet.settings.v1 import settings_pb2 as pb
from quartet.settings.v1 import settings_pb2_grpc
from quartet_server.settings.keyring import Keyring
from quartet_server.settings.sealing import FileKey
from quartet_server.settings.service import SettingsService

from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.settings.v1.settings_pb2_grpc import SettingsServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
ids = itertools.count()


def node(store: Metastore, key: Path) -> SettingsService:
    """A node that has the key file."""
    return SettingsService(store, Keyring(store, FileKey(key), lambda: f"key{next(ids)}"), lambda: Timestamp(seconds=1))


class Overtaken(SettingsService):
    """A node on whose rotation another one's whole rotation falls, just before it seals its first value."""

    first: SettingsServiceAsyncStub | None = None

    async def _reseal(self, *arguments: Any) -> bool:
        other, self.first = self.first, None
        if other is not None:
            await other.RotateKey(pb.RotateKeyRequest())
        return await super()._reseal(*arguments)


async def test_a_rotation_that_is_overtaken_gives_up_and_loses_no_value(store: Metastore, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    slow = Overtaken(store, Keyring(store, FileKey(key), lambda: f"key{next(ids)}"), lambda: Timestamp(seconds=1))
    async with (
        served([slow]) as one,
        served([node(store, key)]) as two,
        served([node(store, key)]) as three,
        grpc.aio.insecure_channel(one) as first,
        grpc.aio.insecure_channel(two) as second,
        grpc.aio.insecure_channel(three) as third,
    ):
        stubs: list[SettingsServiceAsyncStub] = [
            settings_pb2_grpc.SettingsServiceStub(channel) for channel in (first, second, third)
        ]
        for name in ("a", "b"):
            await stubs[0].SetSetting(pb.SetSettingRequest(name=name, value="kept", sensitive=True))
        slow.first = stubs[1]
        with fails(grpc.StatusCode.ABORTED, "CONTENTION"):
            await stubs[0].RotateKey(pb.RotateKeyRequest())
        for stub in stubs[1:]:
            for name in ("a", "b"):
                assert (await stub.GetSetting(pb.GetSettingRequest(name=name, reveal=True))).value == "kept"
