"""What nodes ask of each other: only nodes may, and whatever they send, only right bytes are kept under a name."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc import aio
from harness import certificates
from harness.failures import fails
from harness.trio import Node, Trio, trio
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet.objects.peers.v1 import peers_pb2 as pb
from quartet.objects.peers.v1 import peers_pb2_grpc
from quartet.objects.v1 import objects_pb2, objects_pb2_grpc
from quartet_server.config import Config, Serve, Tls
from quartet_server.config import Objects as Blobs
from quartet_server.errors import BlobCorrupt, FieldInvalid
from quartet_server.node import RunningNode
from quartet_server.objects.contract import Put
from quartet_server.objects.digest import EMPTY, LARGEST, Digest
from quartet_server.rpc.zones import NODE_ZONE

from raftmeta import pki
from raftmeta.tls import TlsFiles, grpc_channel_credentials

if TYPE_CHECKING:
    from quartet.objects.peers.v1.peers_pb2_grpc import PeerServiceAsyncStub

CODES = grpc.StatusCode
DATA = b"some bytes"
DIGEST = Digest.of(DATA)


@pytest.fixture
async def group() -> AsyncIterator[Trio]:
    async with trio() as made:
        yield made


@pytest.fixture
async def stub(group: Trio) -> AsyncIterator[PeerServiceAsyncStub]:
    async with aio.insecure_channel(group.members[2].client_address) as channel:
        yield peers_pb2_grpc.PeerServiceStub(channel)


@pytest.fixture
def second(group: Trio) -> Node:
    return group.nodes[2]


async def send(stub: PeerServiceAsyncStub, *requests: pb.WriteRequest) -> pb.WriteResponse:
    async def all_of() -> AsyncIterator[pb.WriteRequest]:
        for request in requests:
            yield request

    return await stub.Write(all_of())


async def test_a_call_acts_on_the_disk_of_the_node_that_is_called_and_on_no_other(
    group: Trio, stub: PeerServiceAsyncStub, second: Node
) -> None:
    await stub.Put(pb.PutRequest(zone="a", digests=[DIGEST.packed], data=[DATA]))
    assert [await node.disk.stat("a", DIGEST) is not None for node in group.nodes.values()] == [False, True, False]
    elsewhere = await group.nodes[1].disk.put("a", b"elsewhere")
    answer = await stub.Missing(pb.MissingRequest(zone="a", digests=[elsewhere.packed, DIGEST.packed]))
    assert list(answer.missing) == [0]
    with fails(CODES.NOT_FOUND, "BLOB_NOT_FOUND"):
        await stub.Read(pb.ReadRequest(zone="a", digest=elsewhere.packed, length=9)).read()
    assert list((await stub.Delete(pb.DeleteRequest(zone="a", digests=[DIGEST.packed]))).deleted) == [0]
    assert (await group.nodes[1].disk.usage()).blobs == 1


async def test_other_bytes_than_those_of_the_digest_are_kept_under_no_name(
    stub: PeerServiceAsyncStub, second: Node
) -> None:
    other = Digest.of(b"other bytes")
    answer = await stub.Put(pb.PutRequest(zone="a", digests=[other.packed, DIGEST.packed], data=[DATA, DATA]))
    assert [(failure.at, failure.reason) for failure in answer.failures] == [(0, "DIGEST_MISMATCH")]
    first = pb.WriteRequest(zone="a", digest=other.packed)
    for pieces in ([DATA], [b"other bytes", b"and more"], [b"other"]):
        with fails(CODES.INVALID_ARGUMENT, "DIGEST_MISMATCH"):
            await send(stub, first, *(pb.WriteRequest(data=piece) for piece in pieces))
    assert [info.digest for info in await second.disk.scan("a")] == [DIGEST]


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("Put", pb.PutRequest(zone="../up", digests=[DIGEST.packed], data=[DATA]), "ZONE_INVALID"),
        ("Put", pb.PutRequest(zone="a", digests=[DIGEST.packed]), "FIELD_INVALID"),
        ("Put", pb.PutRequest(zone="a", digests=[DIGEST.packed] * 1001, data=[b""] * 1001), "REQUEST_TOO_LARGE"),
        ("Put", pb.PutRequest(zone="a", digests=[EMPTY.packed], data=[b""]), "FIELD_INVALID"),
        ("Missing", pb.MissingRequest(zone="", digests=[DIGEST.packed]), "ZONE_INVALID"),
        ("Missing", pb.MissingRequest(zone="a", digests=[DIGEST.packed] * 5_001), "REQUEST_TOO_LARGE"),
        ("Missing", pb.MissingRequest(zone="a", digests=[b"short"]), "FIELD_INVALID"),
        ("StatMany", pb.StatManyRequest(zone="a", digests=[DIGEST.packed] * 1001), "REQUEST_TOO_LARGE"),
        ("ReadMany", pb.ReadManyRequest(zone="a", digests=[Digest(b"x" * 32, LARGEST).packed]), "REQUEST_TOO_LARGE"),
        ("ReadPage", pb.ReadPageRequest(zone="a", limit=0), "FIELD_INVALID"),
        ("ReadPage", pb.ReadPageRequest(zone="a", limit=2**32 - 1), "FIELD_INVALID"),
        ("Sweep", pb.SweepRequest(zone="a", digests=[DIGEST.packed] * 1001), "REQUEST_TOO_LARGE"),
    ],
)
async def test_what_is_malformed_or_too_much_is_refused_by_name(
    stub: PeerServiceAsyncStub, method: str, request_: Any, reason: str
) -> None:
    with fails(CODES.INVALID_ARGUMENT, reason):
        await getattr(stub, method)(request_)


@given(st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_digest_or_are_refused_as_none(data: bytes) -> None:
    try:
        digest = Digest.unpack(data)
    except FieldInvalid:
        return
    assert digest.packed == data
    assert Digest.parse(digest.hex, digest.size) == digest


async def gathered(node: Node, digest: Digest, pieces: list[bytes]) -> None:
    async for piece in node.blobs.read("a", digest):
        pieces.append(piece)  # noqa: PERF401 - what came before an error counts


async def test_a_node_that_lies_is_not_believed(group: Trio, second: Node) -> None:
    digest = await group.nodes[1].blobs.put("a", random.Random(1).randbytes(300_000))
    await group.settled()
    for number in second.replication.group.view.placement.owners(digest):
        blobs = group.nodes[number].disk
        blobs._blobs["a"][digest].data = b"!" * digest.size  # type: ignore[attr-defined]
    placement = second.replication.group.view.placement
    [reader] = set(group.nodes) - set(placement.owners(digest))
    place = group.nodes[reader].replication.place(placement.owners(digest)[0])
    assert (await place.get_many("a", [digest]))[digest].reason == "BLOB_CORRUPT"  # type: ignore[union-attr]
    pieces = list[bytes]()
    with pytest.raises(BlobCorrupt):
        await gathered(group.nodes[reader], digest, pieces)
    assert len(b"".join(pieces)) < digest.size


async def test_more_blobs_than_a_message_takes_are_sent_in_several(group: Trio) -> None:
    made = random.Random(3)
    blobs = [Put(Digest.of(data), data) for data in (made.randbytes(900_000) for _ in range(8))]
    blobs += [Put(Digest.of(data), data) for data in (made.randbytes(10) for _ in range(1_500))]
    place = group.nodes[1].replication.place(2)
    assert await place.put_many("a", blobs, 0) == [None] * len(blobs)
    found = await place.get_many("a", [blob.digest for blob in blobs])
    assert all(found[blob.digest] == blob.data for blob in blobs)
    assert await place.missing("a", [blob.digest for blob in blobs]) == set()


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[RunningNode]:
    """A node whose port takes callers with a certificate only."""
    files = certificates.node(tmp_path, "n1")
    serve = Serve(name="n1", data_dir=tmp_path / "data", listen="127.0.0.1:0", listen_http="")
    tls = Tls(cert=files.certificate, key=files.key, client_ca=files.ca)
    async with await RunningNode.start(Config(serve=serve, tls=tls, objects=Blobs(url="memory://"))) as node:
        await node.wait_ready()
        yield node


def joining(directory: Path) -> TlsFiles:
    """The certificate that a join token has: for nodes' calls to ClusterService, not for this."""
    files = pki.files_of(directory, "joining")
    authority = certificates.authority(directory)
    pki.issue_client(authority, "joining", [NODE_ZONE], files.certificate, files.key)
    return files


@pytest.mark.parametrize("who", ["one zone", "every zone", "joining", "stranger", "member"])
async def test_only_members_may_call(secured: RunningNode, tmp_path: Path, who: str) -> None:
    files = {
        "one zone": lambda: certificates.client(tmp_path, "a"),
        "every zone": lambda: certificates.client(tmp_path, "*"),
        "joining": lambda: joining(tmp_path),
        "stranger": lambda: certificates.node(tmp_path, "n7"),
        "member": lambda: pki.files_of(tmp_path, "n1"),
    }[who]()
    async with aio.secure_channel(str(secured.address), grpc_channel_credentials(files)) as channel:
        stub = peers_pb2_grpc.PeerServiceStub(channel)
        calls: list[tuple[str, Any]] = [
            ("Put", pb.PutRequest(zone="a", digests=[DIGEST.packed], data=[DATA])),
            ("Missing", pb.MissingRequest(zone="a", digests=[DIGEST.packed])),
            ("Hold", pb.HoldRequest(zone="a", digests=[DIGEST.packed])),
            ("StatMany", pb.StatManyRequest(zone="a", digests=[DIGEST.packed])),
            ("ReadMany", pb.ReadManyRequest(zone="a", digests=[DIGEST.packed])),
            ("Condemn", pb.CondemnRequest(zone="a", digests=[DIGEST.packed])),
            ("Sweep", pb.SweepRequest(zone="a", digests=[DIGEST.packed])),
            ("Delete", pb.DeleteRequest(zone="a", digests=[DIGEST.packed])),
            ("ReadPage", pb.ReadPageRequest(zone="a", limit=1)),
            ("GetZones", pb.GetZonesRequest()),
            ("GetStatus", pb.GetStatusRequest()),
        ]
        for method, request in calls:
            if who == "member":
                await getattr(stub, method)(request)
                continue
            with fails(CODES.PERMISSION_DENIED, "NODE_REQUIRED"):
                await getattr(stub, method)(request)
        if who != "member":
            with fails(CODES.PERMISSION_DENIED, "NODE_REQUIRED"):
                await stub.Read(pb.ReadRequest(zone="a", digest=DIGEST.packed)).read()
            with fails(CODES.PERMISSION_DENIED, "NODE_REQUIRED"):
                await send(stub, pb.WriteRequest(zone="a", digest=DIGEST.packed, data=DATA))


async def test_a_node_s_certificate_reads_no_zone_by_the_services_of_clients(
    secured: RunningNode, tmp_path: Path
) -> None:
    files = pki.files_of(tmp_path, "n1")
    async with aio.secure_channel(str(secured.address), grpc_channel_credentials(files)) as channel:
        objects = objects_pb2_grpc.ObjectServiceStub(channel)
        request = objects_pb2.StatRequest(digest=objects_pb2.Digest(hash=DIGEST.hash, size=DIGEST.size))
        with fails(CODES.PERMISSION_DENIED, "ZONE_DENIED"):
            await objects.Stat(request, metadata=(("quartet-zone", "default"),))
