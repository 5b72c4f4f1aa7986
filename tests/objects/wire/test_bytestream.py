"""ByteStream: blobs of any size in pieces, as the Remote Execution API wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import zstandard
from grpc import aio
from harness.rpc import Failure, failure
from harness.wire import OTHER, Wire, blob, cut, hashed, read_name, requests, write_name
from quartet.wire.reapi import bytestream_pb2 as pb
from quartet_server.objects.digest import Digest
from quartet_server.objects.wire.flow import PIECE

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODES = grpc.StatusCode


async def status(wire: Wire, name: str) -> tuple[int, bool]:
    answer = await wire.bytes.QueryWriteStatus(pb.QueryWriteStatusRequest(resource_name=name))
    return answer.committed_size, answer.complete


async def refused(wire: Wire, *sent: pb.WriteRequest) -> Failure:
    return await failure(wire.send_write(sent))


async def broken_off(wire: Wire, name: str, data: bytes) -> None:
    """Send a piece and hang up once it has arrived."""

    async def halted() -> AsyncIterator[pb.WriteRequest]:
        yield pb.WriteRequest(resource_name=name, data=data)
        await asyncio.Event().wait()

    async with aio.insecure_channel(wire.address) as channel:
        call = Wire(wire.address, channel, wire.blocking, wire.blobs, wire.metastore).bytes.Write(halted())
        await arrived(wire, name, len(data))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def arrived(wire: Wire, name: str, size: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                if await status(wire, name) == (size, False):
                    return
            except aio.AioRpcError as error:
                if error.code() is not CODES.NOT_FOUND:
                    raise
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("size", [1, 1000, 3 << 20])
@pytest.mark.parametrize("packed", [False, True])
async def test_what_was_written_is_read_plain_and_compressed(wire: Wire, size: int, packed: bool) -> None:
    data = blob(size)
    sent = zstandard.compress(data) if packed else data
    assert await wire.write(write_name(data, packed=packed), sent, 700_000) == size
    assert await wire.read(read_name(data)) == data
    frame = await wire.read(read_name(data, packed=True))
    assert zstandard.ZstdDecompressor().decompressobj().decompress(frame) == data


async def test_a_blob_of_many_zstd_frames_is_one_blob(wire: Wire) -> None:
    data = blob(100_000) + bytes(400_000)
    frames = b"".join(zstandard.compress(piece) for piece in cut(data, 90_000))
    assert await wire.write(write_name(data, packed=True), frames, 10_000) == len(data)
    assert await wire.read(read_name(data)) == data


async def test_a_blob_is_sent_in_pieces_that_suit_the_wire(wire: Wire) -> None:
    data = blob(3 * PIECE + 1)
    await wire.write(write_name(data), data)
    pieces = [one.data async for one in wire.bytes.Read(pb.ReadRequest(resource_name=read_name(data)))]
    assert [len(piece) for piece in pieces] == [PIECE, PIECE, PIECE, 1]


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [(0, 0, slice(None)), (7, 0, slice(7, None)), (7, 5, slice(7, 12)), (0, 999, slice(None))],
)
async def test_a_part_of_a_blob_is_read(wire: Wire, offset: int, limit: int, expected: slice) -> None:
    data = blob(100)
    await wire.write(write_name(data), data)
    assert await wire.read(read_name(data), offset, limit) == data[expected]


async def test_a_compressed_read_begins_at_an_offset_of_the_plain_bytes(wire: Wire) -> None:
    data = blob(1000)
    await wire.write(write_name(data), data)
    frame = await wire.read(read_name(data, packed=True), 990)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(frame) == data[990:]


async def test_the_end_of_a_blob_can_be_read_and_what_lies_beyond_cannot(wire: Wire) -> None:
    data = blob(100)
    await wire.write(write_name(data), data)
    assert await wire.read(read_name(data), 100) == b""
    for offset in (101, -1):
        got = await failure(wire.bytes.Read(pb.ReadRequest(resource_name=read_name(data), read_offset=offset)))
        assert got.code is CODES.OUT_OF_RANGE
        assert got.info is not None
        assert got.info.reason == "RANGE_INVALID"


@pytest.mark.parametrize(("packed", "limit"), [(True, 1), (False, -1), (True, -1)])
async def test_a_limit_is_not_negative_and_not_for_compressed_reads(wire: Wire, packed: bool, limit: int) -> None:
    data = blob(100)
    await wire.write(write_name(data), data)
    name = read_name(data, packed=packed)
    got = await failure(wire.bytes.Read(pb.ReadRequest(resource_name=name, read_limit=limit)))
    assert got.code is CODES.INVALID_ARGUMENT
    assert list(got.violations) == ["read_limit"]


@pytest.mark.parametrize("packed", [False, True])
async def test_a_blob_that_is_not_there_is_not_found(wire: Wire, packed: bool) -> None:
    got = await failure(wire.bytes.Read(pb.ReadRequest(resource_name=read_name(b"nobody", packed=packed))))
    assert got.code is CODES.NOT_FOUND
    assert got.info is not None
    assert got.info.reason == "BLOB_NOT_FOUND"


async def test_the_empty_blob_is_always_there(wire: Wire) -> None:
    assert await wire.read(read_name(b"")) == b""
    assert zstandard.decompress(await wire.read(read_name(b"", packed=True))) == b""
    assert await wire.write(write_name(b""), b"") == 0
    assert await status(wire, write_name(b"")) == (0, True)


@pytest.mark.parametrize(("packed", "expected"), [(False, 2 << 20), (True, -1)])
async def test_a_blob_that_is_there_is_answered_early(wire: Wire, packed: bool, expected: int) -> None:
    data = blob(2 << 20)
    await wire.write(write_name(data), data)

    async def halted() -> AsyncIterator[pb.WriteRequest]:
        yield pb.WriteRequest(resource_name=write_name(data, packed=packed), data=bytes(1000))
        await asyncio.Event().wait()

    answer = await asyncio.wait_for(wire.bytes.Write(halted()), 20)
    assert answer.committed_size == expected


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("wrong", ["hash", "short", "long"])
async def test_bytes_of_another_digest_are_refused_and_leave_nothing(wire: Wire, packed: bool, wrong: str) -> None:
    data = blob(5000)
    sent = {"hash": blob(5000, 2), "short": data[:-1], "long": data + b"x"}[wrong]
    name = write_name(data, packed=packed)
    got = await failure(wire.send_write(requests(name, zstandard.compress(sent) if packed else sent, 1000)))
    assert got.code is CODES.INVALID_ARGUMENT
    assert got.info is not None
    assert got.info.reason in ("DIGEST_MISMATCH", "FIELD_INVALID")
    assert (
        await failure(wire.bytes.QueryWriteStatus(pb.QueryWriteStatusRequest(resource_name=name)))
    ).code is CODES.NOT_FOUND
    assert await wire.blobs.missing("default", [Digest.of(data)]) == [Digest.of(data)]
    assert await wire.blobs.zones() == []
    assert await wire.write(write_name(data), data) == len(data)  # the name is not spoiled


async def test_what_is_no_zstd_is_refused(wire: Wire) -> None:
    data = blob(5000)
    got = await failure(wire.send_write(requests(write_name(data, packed=True), data, 1000)))
    assert (got.code, list(got.violations)) == (CODES.INVALID_ARGUMENT, ["data"])


async def test_a_bomb_is_stopped_at_the_size_that_was_declared(wire: Wire) -> None:
    data = blob(1000)
    bomb = zstandard.compress(bytes(1 << 26))
    got = await failure(wire.send_write(requests(write_name(data, packed=True), bomb, 10_000)))
    assert (got.code, list(got.violations)) == (CODES.INVALID_ARGUMENT, ["data"])


async def test_an_upload_that_broke_off_goes_on_where_it_was(wire: Wire) -> None:
    data = blob(3000)
    name = write_name(data)
    await broken_off(wire, name, data[:1000])
    assert await wire.write(name, data[1000:2000], at=1000, finish=False) == 2000
    assert await status(wire, name) == (2000, False)
    assert await wire.write(name, data[2000:], at=2000) == 3000
    assert await status(wire, name) == (3000, True)
    assert await wire.read(read_name(data)) == data


async def test_an_upload_that_broke_off_may_begin_anew(wire: Wire) -> None:
    data = blob(3000)
    await broken_off(wire, write_name(data), blob(1000, 2))
    assert await wire.write(write_name(data), data) == 3000


async def test_a_compressed_upload_begins_anew_always(wire: Wire) -> None:
    data = blob(3000)
    name, frame = write_name(data, packed=True), zstandard.compress(data)
    assert await wire.write(name, frame[:1000], finish=False) == 0
    got = await refused(wire, pb.WriteRequest(resource_name=name, write_offset=1000, data=frame[1000:]))
    assert (got.code, list(got.violations)) == (CODES.INVALID_ARGUMENT, ["write_offset"])
    assert await wire.write(name, frame) == 3000


@pytest.mark.parametrize("offset", [999, 1001, 5, -1])
async def test_an_upload_does_not_go_on_elsewhere(wire: Wire, offset: int) -> None:
    data = blob(3000)
    name = write_name(data)
    await wire.write(name, data[:1000], finish=False)
    got = await refused(wire, pb.WriteRequest(resource_name=name, write_offset=offset, data=b"x"))
    assert (got.code, list(got.violations)) == (CODES.INVALID_ARGUMENT, ["write_offset"])
    assert got.info is not None
    assert offset < 0 or got.info.metadata["committed_size"] == "1000"
    assert await status(wire, name) == (1000, False)


async def test_uploads_of_one_blob_under_two_names_do_not_meet(wire: Wire) -> None:
    data = blob(3000)
    one, two = write_name(data, upload="one"), write_name(data, upload="two")
    await wire.write(one, data[:1000], finish=False)
    await wire.write(two, data[:2000], finish=False)
    assert (await status(wire, one), await status(wire, two)) == ((1000, False), (2000, False))
    assert await wire.write(two, data[2000:], at=2000) == 3000
    assert await wire.write(one, data[1000:], at=1000) == 3000


async def test_who_goes_on_with_an_upload_ends_the_call_before(wire: Wire) -> None:
    data = blob(3000)
    name = write_name(data)
    more = asyncio.Event()

    async def slow() -> AsyncIterator[pb.WriteRequest]:
        yield pb.WriteRequest(resource_name=name, data=data[:1000])
        await more.wait()
        yield pb.WriteRequest(write_offset=1000, data=b"late", finish_write=True)
        await asyncio.Event().wait()

    first = asyncio.ensure_future(failure(wire.bytes.Write(slow())))
    await arrived(wire, name, 1000)
    assert await wire.write(name, data[1000:2000], at=1000, finish=False) == 2000
    more.set()
    got = await first
    assert got.code is CODES.ABORTED
    assert got.info is not None
    assert got.info.reason == "CONTENTION"
    assert await wire.write(name, data[2000:], at=2000) == 3000


@pytest.mark.parametrize(
    ("second", "field"),
    [
        (pb.WriteRequest(write_offset=9, data=b"x"), "write_offset"),
        (pb.WriteRequest(write_offset=11, data=b"x"), "write_offset"),
        (pb.WriteRequest(resource_name="blobs/x/1", write_offset=10, data=b"x"), "resource_name"),
    ],
)
async def test_pieces_of_a_call_follow_one_another(wire: Wire, second: pb.WriteRequest, field: str) -> None:
    name = write_name(blob(3000))
    got = await refused(wire, pb.WriteRequest(resource_name=name, data=bytes(10)), second)
    assert (got.code, list(got.violations)) == (CODES.INVALID_ARGUMENT, [field])


async def test_a_call_without_a_request_is_refused(wire: Wire) -> None:
    got = await refused(wire)
    assert (got.code, list(got.violations)) == (CODES.INVALID_ARGUMENT, ["resource_name"])


async def test_empty_pieces_do_no_harm(wire: Wire) -> None:
    data = blob(10)
    name = write_name(data)
    pieces = [
        pb.WriteRequest(resource_name=name),
        pb.WriteRequest(resource_name=name, data=data),
        pb.WriteRequest(write_offset=10),
        pb.WriteRequest(write_offset=10, finish_write=True),
    ]
    assert (await wire.send_write(pieces)).committed_size == 10


async def test_a_blob_of_one_zone_is_in_no_other(wire: Wire) -> None:
    data = blob(100)
    await wire.write(write_name(data, zone=OTHER), data)
    assert await wire.read(read_name(data, zone=OTHER)) == data
    got = await failure(wire.bytes.Read(pb.ReadRequest(resource_name=read_name(data))))
    assert got.code is CODES.NOT_FOUND
    got = await failure(wire.bytes.QueryWriteStatus(pb.QueryWriteStatusRequest(resource_name=write_name(data))))
    assert got.code is CODES.NOT_FOUND
    assert await wire.write(write_name(data), data[:50], finish=False) == 50  # it is not told by being early
    assert await wire.blobs.zones() == [OTHER]


async def test_an_upload_of_one_zone_cannot_be_gone_on_with_in_another(wire: Wire) -> None:
    data = blob(100)
    await wire.write(write_name(data, zone=OTHER), data[:50], finish=False)
    assert await status(wire, write_name(data, zone=OTHER)) == (50, False)
    got = await refused(wire, pb.WriteRequest(resource_name=write_name(data), write_offset=50, data=data[50:]))
    assert got.code is CODES.INVALID_ARGUMENT
    assert got.info is not None
    assert got.info.metadata["committed_size"] == "0"


@pytest.mark.parametrize(
    ("instance", "metadata", "code", "reason"),
    [
        ("nowhere", None, CODES.NOT_FOUND, "ZONE_NOT_FOUND"),
        ("Not A Zone", None, CODES.INVALID_ARGUMENT, "ZONE_INVALID"),
        ("a/b", None, CODES.INVALID_ARGUMENT, "ZONE_INVALID"),
        (OTHER, "default", CODES.PERMISSION_DENIED, "ZONE_DENIED"),
        ("", "nowhere", CODES.NOT_FOUND, "ZONE_NOT_FOUND"),
    ],
)
async def test_an_instance_is_a_zone(
    wire: Wire, instance: str, metadata: str | None, code: grpc.StatusCode, reason: str
) -> None:
    named = (("quartet-zone", metadata),) if metadata else ()
    data = blob(100)
    read = wire.bytes.Read(pb.ReadRequest(resource_name=read_name(data, zone=instance)), metadata=named)
    write = wire.send_write(requests(write_name(data, zone=instance), data, 100), named)
    for call in (read, write):
        got = await failure(call)
        assert got.code is code
        assert got.info is not None
        assert got.info.reason == reason


async def test_the_zone_of_the_metadata_serves_names_without_an_instance(wire: Wire) -> None:
    data = blob(100)
    assert await wire.write(write_name(data), data, zone=OTHER) == 100
    assert await wire.read(read_name(data, zone=OTHER)) == data


async def test_many_uploads_at_once_end_right(wire: Wire) -> None:
    blobs = [blob(200_000, seed) for seed in range(30)]
    sizes = await asyncio.gather(*(wire.write(write_name(data), data, 10_000) for data in blobs))
    assert sizes == [200_000] * 30
    for data in blobs:
        assert hashed(await wire.read(read_name(data))) == hashed(data)


async def test_many_uploads_of_one_name_end_right_or_are_told_of_the_other(wire: Wire) -> None:
    data = blob(200_000)

    async def one() -> int | grpc.StatusCode:
        try:
            return await wire.write(write_name(data), data, 10_000)
        except aio.AioRpcError as error:
            return error.code()

    answers = await asyncio.gather(*(one() for _ in range(10)))
    assert set(answers) <= {200_000, CODES.ABORTED}
    assert 200_000 in answers
    assert await wire.read(read_name(data)) == data
