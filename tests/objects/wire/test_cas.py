"""ContentAddressableStorage: batches of small blobs, what is missing, and what a batch may not be."""

from __future__ import annotations

import grpc
import pytest
import zstandard
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from harness.rpc import failure
from harness.wire import OTHER, Wire, blob, digest, read_name, write_name
from quartet.wire.reapi import cas_pb2 as pb
from quartet.wire.reapi import digests_pb2
from quartet_server.objects.wire.batches import ASKED, BATCH, BATCH_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODES = grpc.StatusCode
SHA256, SHA1 = digests_pb2.DigestFunction.SHA256, digests_pb2.DigestFunction.SHA1
ZSTD, BROTLI = digests_pb2.Compressor.ZSTD, digests_pb2.Compressor.BROTLI
WRONG = [
    digests_pb2.Digest(hash="ab", size_bytes=2),
    digests_pb2.Digest(hash="Z" * 64, size_bytes=2),
    digests_pb2.Digest(hash=digest(b"x").hash.upper(), size_bytes=1),
    digests_pb2.Digest(hash=digest(b"x").hash, size_bytes=-1),
    digests_pb2.Digest(hash=digest(b"").hash, size_bytes=1),
    digests_pb2.Digest(hash=digest(b"x").hash, size_bytes=1 << 62),
]


def update(*blobs: bytes, zone: str = "") -> pb.BatchUpdateBlobsRequest:
    Request = pb.BatchUpdateBlobsRequest.Request  # noqa: N806
    return pb.BatchUpdateBlobsRequest(
        instance_name=zone, requests=[Request(digest=digest(data), data=data) for data in blobs]
    )


def read(*blobs: bytes, zone: str = "") -> pb.BatchReadBlobsRequest:
    return pb.BatchReadBlobsRequest(instance_name=zone, digests=map(digest, blobs))


def find(*blobs: bytes, zone: str = "") -> pb.FindMissingBlobsRequest:
    return pb.FindMissingBlobsRequest(instance_name=zone, blob_digests=map(digest, blobs))


def told(status: Status) -> tuple[int, str]:
    """The code and the reason of one blob's outcome."""
    info = ErrorInfo()
    for detail in status.details:
        assert detail.Unpack(info)
    return status.code, info.reason


async def test_a_batch_is_stored_and_read_in_the_order_of_its_requests(wire: Wire) -> None:
    blobs = [blob(100, 1), b"", blob(1000, 2), blob(100, 1)]
    stored = await wire.cas.BatchUpdateBlobs(update(*blobs))
    assert [one.digest for one in stored.responses] == [digest(data) for data in blobs]
    assert [one.status.code for one in stored.responses] == [0] * 4
    found = await wire.cas.BatchReadBlobs(read(*blobs))
    assert [(one.digest, one.data, one.status.code) for one in found.responses] == [(digest(d), d, 0) for d in blobs]


async def test_each_blob_of_a_batch_has_its_own_outcome(wire: Wire) -> None:
    request = update(b"good", b"bad", b"packed", b"not packed", b"brotli")
    request.requests[1].data = b"dab"
    request.requests[2].data, request.requests[2].compressor = zstandard.compress(b"packed"), ZSTD
    request.requests[3].compressor = ZSTD
    request.requests[4].compressor = BROTLI
    for wrong in WRONG[:3]:
        request.requests.add(digest=wrong, data=b"x")
    stored = await wire.cas.BatchUpdateBlobs(request)
    assert [told(one.status) for one in stored.responses] == [
        (0, ""),
        (3, "DIGEST_MISMATCH"),
        (0, ""),
        *[(3, "FIELD_INVALID")] * 5,
    ]
    found = await wire.cas.BatchReadBlobs(read(b"good", b"bad", b"packed"))
    assert [(one.data, told(one.status)) for one in found.responses] == [
        (b"good", (0, "")),
        (b"", (5, "BLOB_NOT_FOUND")),
        (b"packed", (0, "")),
    ]


async def test_a_packed_blob_of_a_batch_is_not_unpacked_beyond_its_size(wire: Wire) -> None:
    request = update(b"small")
    request.requests[0].data, request.requests[0].compressor = zstandard.compress(bytes(1 << 26)), ZSTD
    stored = await wire.cas.BatchUpdateBlobs(request)
    assert told(stored.responses[0].status) == (3, "FIELD_INVALID")


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
async def test_a_malformed_digest_is_refused(wire: Wire, wrong: digests_pb2.Digest) -> None:
    found = await wire.cas.BatchReadBlobs(pb.BatchReadBlobsRequest(digests=[wrong])) if wrong.size_bytes < 100 else None
    assert found is None or told(found.responses[0].status) == (3, "FIELD_INVALID")
    got = await failure(wire.cas.FindMissingBlobs(pb.FindMissingBlobsRequest(blob_digests=[digest(b""), wrong])))
    assert got.code is CODES.INVALID_ARGUMENT
    assert [field.startswith("blob_digests[1]") for field in got.violations] == [True]


async def test_what_is_missing_is_named_once_and_in_order(wire: Wire) -> None:
    await wire.cas.BatchUpdateBlobs(update(b"there"))
    answer = await wire.cas.FindMissingBlobs(find(b"two", b"there", b"", b"one", b"two"))
    assert list(answer.missing_blob_digests) == [digest(b"two"), digest(b"one")]


async def test_each_zone_answers_for_itself(wire: Wire) -> None:
    await wire.cas.BatchUpdateBlobs(update(b"secret", zone=OTHER))
    assert list((await wire.cas.FindMissingBlobs(find(b"secret"))).missing_blob_digests) == [digest(b"secret")]
    assert list((await wire.cas.FindMissingBlobs(find(b"secret", zone=OTHER))).missing_blob_digests) == []
    assert told((await wire.cas.BatchReadBlobs(read(b"secret"))).responses[0].status)[1] == "BLOB_NOT_FOUND"


async def test_a_zone_that_is_not_there_is_not_found(wire: Wire) -> None:
    for call in (
        wire.cas.FindMissingBlobs(find(b"x", zone="nowhere")),
        wire.cas.BatchUpdateBlobs(update(b"x", zone="nowhere")),
        wire.cas.BatchReadBlobs(read(b"x", zone="nowhere")),
        wire.cas.SplitBlob(pb.SplitBlobRequest(instance_name="nowhere", blob_digest=digest(b"x"))),
        wire.cas.SpliceBlob(pb.SpliceBlobRequest(instance_name="nowhere", blob_digest=digest(b"x"))),
        wire.cas.GetTree(pb.GetTreeRequest(instance_name="nowhere", root_digest=digest(b""))),
    ):
        got = await failure(call)
        assert got.info is not None
        assert (got.code, got.info.reason) == (CODES.NOT_FOUND, "ZONE_NOT_FOUND")
    assert await wire.blobs.zones() == []


async def test_digests_of_another_function_are_refused(wire: Wire) -> None:
    for call in (
        wire.cas.FindMissingBlobs(pb.FindMissingBlobsRequest(digest_function=SHA1)),
        wire.cas.BatchUpdateBlobs(pb.BatchUpdateBlobsRequest(digest_function=SHA1)),
        wire.cas.BatchReadBlobs(pb.BatchReadBlobsRequest(digest_function=SHA1)),
        wire.cas.GetTree(pb.GetTreeRequest(digest_function=SHA1)),
        wire.cas.SplitBlob(pb.SplitBlobRequest(digest_function=SHA1)),
        wire.cas.SpliceBlob(pb.SpliceBlobRequest(digest_function=SHA1)),
    ):
        got = await failure(call)
        assert (got.code, list(got.violations)) == (CODES.INVALID_ARGUMENT, ["digest_function"])
    assert await wire.cas.FindMissingBlobs(pb.FindMissingBlobsRequest(digest_function=SHA256))


async def test_a_batch_has_a_limit_of_blobs_and_one_of_bytes(wire: Wire) -> None:
    large = digests_pb2.Digest(hash=digest(b"x").hash, size_bytes=BATCH_BYTES // 2 + 1)
    Request = pb.BatchUpdateBlobsRequest.Request  # noqa: N806
    for call in (
        wire.cas.BatchUpdateBlobs(update(*[b"x"] * (BATCH + 1))),
        wire.cas.BatchReadBlobs(read(*[b"x"] * (BATCH + 1))),
        wire.cas.BatchReadBlobs(pb.BatchReadBlobsRequest(digests=[large, large])),
        wire.cas.BatchUpdateBlobs(pb.BatchUpdateBlobsRequest(requests=[Request(digest=large)] * 2)),
        wire.cas.FindMissingBlobs(find(*[b""] * (ASKED + 1))),
        wire.cas.SpliceBlob(pb.SpliceBlobRequest(blob_digest=digest(b"x"), chunk_digests=[digest(b"")] * (ASKED + 1))),
    ):
        got = await failure(call)
        assert got.info is not None
        assert (got.code, got.info.reason) == (CODES.INVALID_ARGUMENT, "REQUEST_TOO_LARGE")


async def test_the_fullest_batches_fit_into_a_message(wire: Wire) -> None:
    large = blob(BATCH_BYTES - BATCH + 1)
    small = [bytes([i % 251]) for i in range(BATCH - 1)]
    stored = await wire.cas.BatchUpdateBlobs(update(large, *small))
    assert {one.status.code for one in stored.responses} == {0}
    names = read(large, *small)
    for one in names.digests[1:]:
        one.hash = one.hash[:-4] + "0000"
    found = await wire.cas.BatchReadBlobs(names)  # the client takes 4 MiB
    assert found.responses[0].data == large
    assert {told(one.status) for one in found.responses[1:]} == {(5, "BLOB_NOT_FOUND")}
    many = pb.FindMissingBlobsRequest(
        instance_name="default",
        blob_digests=[digests_pb2.Digest(hash=f"{i:064x}", size_bytes=1_000_000 + i) for i in range(ASKED)],
    )
    assert len((await wire.cas.FindMissingBlobs(many)).missing_blob_digests) == ASKED


async def test_asking_renews_a_blob_that_waits_to_be_collected(wire: Wire) -> None:
    await wire.cas.BatchUpdateBlobs(update(b"old"))
    every = [info.digest for info in await wire.blobs.scan("default")]
    assert await wire.blobs.condemn("default", every, float("inf")) == every
    await wire.cas.FindMissingBlobs(find(b"old"))
    assert await wire.blobs.sweep("default", every, float("inf")) == []


async def test_batches_and_streams_reach_the_same_blobs(wire: Wire) -> None:
    one, two = blob(100, 1), blob(100, 2)
    await wire.cas.BatchUpdateBlobs(update(one))
    assert await wire.read(read_name(one)) == one
    await wire.write(write_name(two), two)
    assert (await wire.cas.BatchReadBlobs(read(two))).responses[0].data == two
