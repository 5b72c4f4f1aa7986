"""Mutual TLS: the certificate says which zones a client may act in, and who may change what is everybody's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import quartet
from quartet import AsyncClient, PermissionDenied, Unavailable
from quartet_server.config import Config, Serve, Tls
from quartet_server.node import RunningNode

from raftmeta import pki


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    """A node that takes certificates only; those of an operator and of a tenant lie beside it."""
    authority = pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key")
    pki.issue_node(authority, "n1", ["127.0.0.1"], tmp_path / "n1.crt", tmp_path / "n1.key")
    for name, zones in (("operator", ["*"]), ("tenant", ["red"])):
        pki.issue_client(authority, name, zones, tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    tls = Tls(cert=tmp_path / "n1.crt", key=tmp_path / "n1.key", client_ca=tmp_path / "ca.crt")
    serve = Serve(name="n1", data_dir=tmp_path / "data", listen="127.0.0.1:0", listen_http="")
    async with await RunningNode.start(Config(serve=serve, tls=tls)) as running:
        await running.wait_ready()
        yield running


def tls_of(directory: Path, name: str) -> quartet.TLS:
    """A client's certificate."""
    return quartet.TLS(ca=directory / "ca.crt", cert=directory / f"{name}.crt", key=directory / f"{name}.key")


async def test_a_certificate_names_the_zones_and_only_an_operators_changes_the_cluster(
    node: RunningNode, tmp_path: Path
) -> None:
    address = str(node.address)
    async with AsyncClient(address, tls=tls_of(tmp_path, "operator")) as operator:
        await operator.cluster.create_zone("red")
        await operator.settings.set("s", "secret", sensitive=True)
        assert (await operator.settings.get("s", reveal=True)).value == "secret"
    async with AsyncClient(address, tls=tls_of(tmp_path, "tenant")) as tenant:
        await tenant.files.mkdir("/mine")
        assert (await tenant.settings.get("s")).value == "********"
        assert [zone.name for zone in await tenant.cluster.list_zones()] == ["red"]
        with pytest.raises(PermissionDenied):
            await tenant.cluster.get_zone("default")
        for refused in (
            tenant.settings.set("s", "x"),
            tenant.settings.get("s", reveal=True),
            tenant.settings.set_flag("f", True),
            tenant.settings.delete("s"),
            tenant.settings.rotate_key(),
            tenant.cluster.create_zone("blue"),
            tenant.cluster.transfer_leadership(),
            tenant.cluster.create_join_token(),
            tenant.cluster.leave("n1"),
        ):
            with pytest.raises(PermissionDenied) as caught:
                await refused
            assert caught.value.reason == "SYSTEM_PROTECTED"
    async with AsyncClient(address, zone="default", tls=tls_of(tmp_path, "tenant")) as tenant:
        with pytest.raises(PermissionDenied) as caught:
            await tenant.files.stat("/")
        assert caught.value.reason == "ZONE_DENIED"
    async with AsyncClient(address, zone="red", tls=tls_of(tmp_path, "operator")) as operator:
        assert [entry.name async for entry in operator.files.list("/")] == ["mine"]


async def test_without_a_certificate_nobody_gets_in(node: RunningNode, tmp_path: Path) -> None:
    for tls in (None, quartet.TLS(ca=tmp_path / "ca.crt")):
        async with AsyncClient(str(node.address), tls=tls, timeout=1.0, connect_timeout=0.5) as client:
            with pytest.raises(Unavailable):
                await client.files.stat("/")
