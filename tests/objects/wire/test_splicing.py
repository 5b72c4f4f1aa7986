"""SplitBlob and SpliceBlob: a large blob by its chunks."""

from __future__ import annotations

import grpc
import pytest
from harness.rpc import failure
from harness.wire import OTHER, Wire, blob, digest, read_name
from quartet.wire.reapi import capabilities_pb2, digests_pb2
from quartet.wire.reapi import cas_pb2 as pb
from quartet_server.objects.chunking import STANDARD, cut
from quartet_server.objects.digest import Digest
from quartet_server.objects.wire.batches import ASKED

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODES = grpc.StatusCode


async def test_a_blob_is_cut_where_its_content_says_and_its_chunks_are_kept(wire: Wire) -> None:
    data = blob(9 << 20)
    await wire.blobs.put("default", data)
    answer = await wire.cas.SplitBlob(pb.SplitBlobRequest(blob_digest=digest(data)))
    assert list(answer.chunk_digests) == [digest(bytes(chunk)) for chunk in cut(data)]
    assert answer.chunking_function == digests_pb2.ChunkingFunction.FAST_CDC_2020
    kept = [await wire.read(f"blobs/{one.hash}/{one.size_bytes}") for one in answer.chunk_digests]
    assert b"".join(kept) == data


@pytest.mark.parametrize("size", [0, 1, STANDARD.largest])
async def test_a_short_blob_is_its_own_chunk(wire: Wire, size: int) -> None:
    data = blob(size)
    await wire.blobs.put("default", data)
    answer = await wire.cas.SplitBlob(pb.SplitBlobRequest(blob_digest=digest(data)))
    assert list(answer.chunk_digests) == ([digest(data)] if size else [])


async def test_what_is_not_there_cannot_be_cut(wire: Wire) -> None:
    huge = digests_pb2.Digest(hash=digest(b"x").hash, size_bytes=1 << 40)
    for one in (digest(b"nothing"), huge):
        got = await failure(wire.cas.SplitBlob(pb.SplitBlobRequest(blob_digest=one)))
        assert got.info is not None
        assert (got.code, got.info.reason) == (CODES.NOT_FOUND, "BLOB_NOT_FOUND")
    assert ASKED * STANDARD.average < (1 << 40)


async def test_chunks_become_a_blob(wire: Wire) -> None:
    chunks = [blob(100_000, seed) for seed in range(5)] + [blob(100_000, 0)]
    for chunk in chunks:
        await wire.blobs.put("default", chunk)
    data = b"".join(chunks)
    request = pb.SpliceBlobRequest(blob_digest=digest(data), chunk_digests=map(digest, chunks))
    for _ in range(2):  # the second time the blob is there
        assert (await wire.cas.SpliceBlob(request)).blob_digest == digest(data)
    assert await wire.read(read_name(data)) == data


@pytest.mark.parametrize(
    ("named", "chunks", "code", "reason"),
    [
        (b"abcd", [b"ab", b"xx"], CODES.INVALID_ARGUMENT, "DIGEST_MISMATCH"),
        (b"abcd", [b"cd", b"ab"], CODES.INVALID_ARGUMENT, "DIGEST_MISMATCH"),
        (b"abcd", [b"ab"], CODES.INVALID_ARGUMENT, "FIELD_INVALID"),
        (b"abcd", [], CODES.INVALID_ARGUMENT, "FIELD_INVALID"),
        (b"abzz", [b"ab", b"zz"], CODES.NOT_FOUND, "BLOB_NOT_FOUND"),
    ],
)
async def test_chunks_that_are_not_the_blob_make_none(
    wire: Wire, named: bytes, chunks: list[bytes], code: grpc.StatusCode, reason: str
) -> None:
    for chunk in (b"ab", b"cd", b"xx"):
        await wire.blobs.put("default", chunk)
    got = await failure(
        wire.cas.SpliceBlob(pb.SpliceBlobRequest(blob_digest=digest(named), chunk_digests=map(digest, chunks)))
    )
    assert got.info is not None
    assert (got.code, got.info.reason) == (code, reason)
    assert await wire.blobs.stat("default", Digest.of(named)) is None


async def test_chunks_of_another_zone_are_not_there(wire: Wire) -> None:
    for chunk in (b"ab", b"cd"):
        await wire.blobs.put("default", chunk)
    got = await failure(
        wire.cas.SpliceBlob(
            pb.SpliceBlobRequest(
                instance_name=OTHER, blob_digest=digest(b"abcd"), chunk_digests=[digest(b"ab"), digest(b"cd")]
            )
        )
    )
    assert got.code is CODES.NOT_FOUND
    assert await wire.blobs.zones() == ["default"]


async def test_capabilities_say_what_is_offered(wire: Wire) -> None:
    said = await wire.capabilities.GetCapabilities(capabilities_pb2.GetCapabilitiesRequest())
    cache = said.cache_capabilities
    assert list(cache.digest_functions) == [digests_pb2.DigestFunction.SHA256]
    assert list(cache.supported_compressors) == [digests_pb2.Compressor.ZSTD]
    assert list(cache.supported_batch_update_compressors) == [digests_pb2.Compressor.ZSTD]
    assert 3_500_000 < cache.max_batch_total_size_bytes < 4 << 20
    assert (cache.split_blob_support, cache.splice_blob_support) == (True, True)
    assert cache.fast_cdc_2020_params.avg_chunk_size_bytes * 4 == STANDARD.largest
    assert (said.low_api_version.major, said.high_api_version.major) == (2, 2)
    got = await failure(wire.capabilities.GetCapabilities(capabilities_pb2.GetCapabilitiesRequest(instance_name="no")))
    assert got.code is CODES.NOT_FOUND
