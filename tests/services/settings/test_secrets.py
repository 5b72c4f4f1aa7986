"""Sensitive values: never in clear in the store, readable on every node that was let in, and on no other."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.failures import reason_of
from hypothesis import given
from hypothesis import strategies as st
from quartet.settings.storage.v1 import storage_pb2
from quartet.settings.v1 import settings_pb2 as pb
from quartet_server.errors import SecretsKeyMissing, StoreCorrupt
from quartet_server.meta import ops, recipients
from quartet_server.settings import records, sealing
from quartet_server.settings.keyring import Keyring
from quartet_server.settings.sealing import FileKey, NodeKey

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.settings.v1.settings_pb2_grpc import SettingsServiceAsyncStub

session = pytest.mark.asyncio(loop_scope="session")
_ids = itertools.count()
SECRET = "correct horse battery staple"


async def set_secret(settings: SettingsServiceAsyncStub, name: str = "password", value: str = SECRET) -> pb.Setting:
    """Write a sensitive setting."""
    return await settings.SetSetting(
        pb.SetSettingRequest(name=name, value=value, sensitive=True, request_id=f"set {name} {len(value)} {next(_ids)}")
    )


async def revealed(settings: SettingsServiceAsyncStub, name: str = "password") -> str:
    """Read one in clear."""
    return (await settings.GetSetting(pb.GetSettingRequest(name=name, reveal=True))).value


async def everything(store: Metastore) -> list[bytes]:
    """All keys and values."""
    found = await store.range(rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0"))
    return [kv.key + b"\0" + kv.value for kv in found.kvs]


@session
async def test_a_sensitive_value_is_masked_sealed_and_revealed_on_request(
    settings: SettingsServiceAsyncStub, store: Metastore
) -> None:
    assert (await set_secret(settings)).value == "********"
    assert (await settings.GetSetting(pb.GetSettingRequest(name="password"))).value == "********"
    assert await revealed(settings) == SECRET
    assert not [pair for pair in await everything(store) if SECRET.encode() in pair]


@session
async def test_a_sealed_value_opens_only_in_its_own_place(settings: SettingsServiceAsyncStub, store: Metastore) -> None:
    await set_secret(settings)
    stolen = await store.range(rpc_pb2.RangeRequest(key=records.setting_key("password")))
    await store.put(rpc_pb2.PutRequest(key=records.setting_key("mine"), value=stolen.kvs[0].value))
    with pytest.raises(Exception) as caught:
        await revealed(settings, "mine")
    assert reason_of(caught.value) == "STORE_CORRUPT"  # type: ignore[arg-type]


@session
async def test_a_new_node_gets_the_keys_once_it_has_announced_itself(
    settings: SettingsServiceAsyncStub, store: Metastore, keyring: Keyring, tmp_path: Path
) -> None:
    await set_secret(settings)
    with pytest.raises(SecretsKeyMissing):
        await keyring.current()
    await keyring.share()
    first = Keyring(store, NodeKey(tmp_path / "node"), lambda: "unused")
    await first.share()
    assert await keyring.current() == await first.current()


@session
async def test_nodes_share_keys_by_themselves(store: Metastore, tmp_path: Path) -> None:
    rings = [Keyring(store, NodeKey(tmp_path / str(i)), lambda i=i: f"id{i}") for i in range(3)]  # type: ignore[misc]
    for ring in rings:
        ring.start()
    try:
        async with asyncio.timeout(30):
            wanted = await rings[0].current()
            for ring in rings[1:]:
                while True:
                    try:
                        assert await ring.current() == wanted
                        break
                    except SecretsKeyMissing:
                        await asyncio.sleep(0.02)
    finally:
        await asyncio.gather(*(ring.close() for ring in rings))


@session
async def test_a_node_that_was_removed_gets_no_further_key(store: Metastore, tmp_path: Path) -> None:
    ids = iter(["first", "second"])
    stays, leaves = (
        Keyring(store, NodeKey(tmp_path / name), lambda: next(ids), member_id=number)
        for number, name in enumerate(("stays", "leaves"), start=1)
    )
    await leaves.share()
    await stays.share()
    await stays.current()
    await stays.share()
    assert await leaves.current() == await stays.current()
    await recipients.forget(store, 2)
    await stays.rotate()
    await stays.share()
    assert (await stays.current())[0] == "second"
    with pytest.raises(SecretsKeyMissing):
        await leaves.current()
    held = await store.range(rpc_pb2.RangeRequest(key=recipients.KEYS, range_end=ops.prefix_end(recipients.KEYS)))
    assert len(held.kvs) == 2  # both keys, for the node that stays


@session
async def test_rotation_seals_everything_anew_and_throws_the_old_key_away(
    settings: SettingsServiceAsyncStub, store: Metastore
) -> None:
    for i in range(5):
        await set_secret(settings, f"s{i}", f"value {i}")
    await settings.SetSetting(pb.SetSettingRequest(name="open", value="x"))
    before = await everything(store)
    done = await settings.RotateKey(pb.RotateKeyRequest())
    assert done.values == 5
    assert [await revealed(settings, f"s{i}") for i in range(5)] == [f"value {i}" for i in range(5)]
    keys = await store.range(rpc_pb2.RangeRequest(key=b"/system/secrets/keys/", range_end=b"/system/secrets/keys0"))
    assert {kv.key.split(b"/")[4].decode() for kv in keys.kvs} == {done.key_id}
    assert not {pair for pair in before if b"/system/settings/s" in pair} & set(await everything(store))


@session
async def test_writes_during_a_rotation_stay_readable(settings: SettingsServiceAsyncStub) -> None:
    for i in range(4):
        await set_secret(settings, f"s{i}", "old")
    await asyncio.gather(
        settings.RotateKey(pb.RotateKeyRequest()),
        *(set_secret(settings, f"s{i}", "new") for i in range(4)),
        *(set_secret(settings, f"t{i}", "new") for i in range(4)),
    )
    for name in ("s0", "s1", "s2", "s3", "t0", "t1", "t2", "t3"):
        assert await revealed(settings, name) == "new"


@session
async def test_a_key_file_opens_on_every_node_that_has_it(store: Metastore, tmp_path: Path) -> None:
    path, other = tmp_path / "key", tmp_path / "other"
    path.write_text(bytes(range(32)).hex() + "\n")
    other.write_bytes(os.urandom(32))
    first, second, third = (Keyring(store, FileKey(one), lambda: "k1") for one in (path, path, other))
    assert await first.current() == await second.current()
    with pytest.raises(SecretsKeyMissing):
        await third.current()


def test_a_node_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    first, second = NodeKey(tmp_path / "n"), NodeKey(tmp_path / "n")
    assert first.recipient == second.recipient
    assert stat.S_IMODE((tmp_path / "n" / "secrets.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33, b"zz" * 32, b"ab" * 31])
def test_a_key_file_of_the_wrong_size_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ValueError, match=r"key|hex"):
        FileKey(tmp_path / "key")


@given(st.binary(max_size=100), st.binary(max_size=20), st.integers(0, 10_000))
def test_a_changed_bit_never_opens(plain: bytes, context: bytes, at: int) -> None:
    key = bytes(32)
    sealed = sealing.seal(key, plain, context)
    assert sealing.unseal(key, sealed, context) == plain
    changed = bytearray(sealed.ciphertext)
    changed[at // 8 % len(changed)] ^= 1 << at % 8
    for wrong in (
        storage_pb2.Sealed(nonce=sealed.nonce, ciphertext=bytes(changed)),
        storage_pb2.Sealed(nonce=sealed.nonce[:11], ciphertext=sealed.ciphertext),
        storage_pb2.Sealed(),
    ):
        with pytest.raises(StoreCorrupt):
            sealing.unseal(key, wrong, context)
    with pytest.raises(StoreCorrupt):
        sealing.unseal(key, sealed, context + b"x")
