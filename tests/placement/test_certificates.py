"""With certificates a call is taken from members only, and judged by the caller's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from harness.homes import called, homes, retried
from harness.rpc import failure
from quartet.cluster.peers.v1 import peers_pb2 as pb
from quartet.cluster.peers.v1 import peers_pb2_grpc
from quartet_server.cluster import zones
from quartet_server.files.principals import principal_of
from quartet_server.meta.operators import demand_operator
from quartet_server.meta.times import timestamps
from quartet_server.rpc import current_zone

from raftmeta import pki
from raftmeta.metastore import Metastore
from raftmeta.tls import TlsFiles, grpc_channel_credentials

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODES = grpc.StatusCode
now = timestamps(lambda: 1_700_000_000.0)


async def _tell(request: StringValue, context: Any) -> StringValue:
    """Say in which zone the call acts, for whom, and whether that is an operator."""
    if request.value == "operator":
        demand_operator(context, "this")
    return StringValue(value=f"{current_zone()} {principal_of('', context.auth_context())}")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, TlsFiles]:
    """Files of two nodes, of a node that is no member, of clients."""
    authority = pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key")
    made = {name: pki.files_of(tmp_path, name) for name in ("n1", "n2", "n9", "ann", "operator")}
    for name in ("n1", "n2", "n9"):
        pki.issue_node(authority, name, ["127.0.0.1", "localhost"], made[name].certificate, made[name].key)
    pki.issue_client(authority, "ann", ["red", "blue"], made["ann"].certificate, made["ann"].key)
    pki.issue_client(authority, "operator", ["*"], made["operator"].certificate, made["operator"].key)
    return made


async def test_the_home_judges_by_the_certificate_of_the_caller(
    store: Metastore, tmp_path: Path, files: dict[str, TlsFiles]
) -> None:
    async with homes(store, tmp_path, "n1", "n2", methods={"Tell": ("unary", _tell)}, tls=files) as cluster:
        ann, operator = (grpc_channel_credentials(files[name]) for name in ("ann", "operator"))
        red, green = (("quartet-zone", "red"),), (("quartet-zone", "green"),)
        async with cluster.nodes["n1"].channel(operator) as channel:
            for metadata in (red, green):
                await called(channel, "unary", "Tell")(StringValue(), metadata=metadata)
        async with cluster.nodes["n2"].channel(ann) as channel:
            tell = called(channel, "unary", "Tell")
            assert (await tell(StringValue(), metadata=red)).value == "red ann"
            for request, metadata, reason in (("", green, "ZONE_DENIED"), ("operator", red, "SYSTEM_PROTECTED")):
                got = await failure(tell(StringValue(value=request), metadata=metadata))
                assert got.code is CODES.PERMISSION_DENIED
                assert got.info is not None
                assert got.info.reason == reason
        async with cluster.nodes["n2"].channel(operator) as channel:
            tell = called(channel, "unary", "Tell")
            assert (await tell(StringValue(value="operator"), metadata=green)).value.startswith("green")


@pytest.mark.parametrize("who", ["ann", "operator", "n9"])
async def test_nobody_but_a_member_passes_calls_on_or_sends_rows(
    store: Metastore, tmp_path: Path, files: dict[str, TlsFiles], who: str
) -> None:
    async with homes(store, tmp_path, "n1", methods={"Tell": ("unary", _tell)}, tls=files) as cluster:
        mark = pb.ForwardedCall(by="n1", home="n1", certified=True, uris=["quartet://zone/*"])
        metadata = (("quartet-zone", "red"), ("quartet-forwarded-bin", mark.SerializeToString()))
        async with cluster.nodes["n1"].channel(grpc_channel_credentials(files[who])) as channel:
            got = await failure(called(channel, "unary", "Tell")(StringValue(value="operator"), metadata=metadata))
            assert got.code is CODES.PERMISSION_DENIED
            assert got.info is not None
            assert got.info.reason == "NODE_REQUIRED"
            transfers: Any = peers_pb2_grpc.TransferServiceStub(channel)
            zone = (("quartet-zone", "red"),) if who == "ann" else ()
            got = await failure(transfers.BeginTransfer(pb.BeginTransferRequest(zone="red", move="m"), metadata=zone))
            assert got.code is CODES.PERMISSION_DENIED


async def test_a_zone_moves_between_nodes_with_certificates(
    store: Metastore, tmp_path: Path, files: dict[str, TlsFiles]
) -> None:
    async with (
        homes(store, tmp_path, "n1", "n2", methods={"Tell": ("unary", _tell)}, tls=files) as cluster,
        cluster.nodes["n1"].channel(grpc_channel_credentials(files["ann"])) as channel,
    ):
        tell, red = called(channel, "unary", "Tell"), (("quartet-zone", "red"),)
        await tell(StringValue(), metadata=red)
        await zones.move(store, "red", "n2", "m", now())
        async with asyncio.timeout(40):
            while (await zones.get(store, "red")).home != "n2":
                await asyncio.sleep(0.02)
        assert (await retried(tell, StringValue(), red)).value == "red ann"
