"""ObjectService: blobs whose digest the server makes, pins, and deletion that no pin stands in the way of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from harness.rpc import failure
from harness.served import served
from harness.wire import OTHER, PUT, WRITE, Wire, blob, cut
from quartet.objects.v1 import objects_pb2 as pb
from quartet.objects.v1 import objects_pb2_grpc
from quartet_server.objects import pins
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.pins import Pins
from quartet_server.objects.service import BATCH, PIN_SECONDS, SETTLED_SECONDS, Objects
from quartet_server.objects.zones import Zones

from .conftest import NOW

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODES = grpc.StatusCode
IN_OTHER = (("quartet-zone", OTHER),)


def of(data: bytes) -> pb.Digest:
    digest = Digest.of(data)
    return pb.Digest(hash=digest.hash, size=digest.size)


def pieces(data: bytes, size: int = 1000, expected: bytes | None = None) -> Iterator[pb.PutStreamRequest]:
    for i, piece in enumerate(cut(data, size)):
        yield pb.PutStreamRequest(data=piece, expected=of(expected) if expected is not None and i == 0 else None)


async def put(wire: Wire, data: bytes, zone: str = "default") -> pb.Digest:
    return (await wire.send_put(pieces(data), (("quartet-zone", zone),))).digest


async def got(wire: Wire, data: bytes, offset: int = 0, length: int = 0) -> bytes:
    request = pb.GetRangeRequest(digest=of(data), offset=offset, length=length)
    return b"".join([one.data async for one in wire.objects.GetRange(request)])


@pytest.mark.parametrize("size", [0, 1, 999, 300_000])
async def test_the_server_says_the_digest_of_what_was_put(wire: Wire, size: int) -> None:
    data = blob(size)
    answer = await wire.send_put(pieces(data))
    assert (answer.digest, answer.existed) == (of(data), False)
    assert await got(wire, data) == data


async def test_a_stream_without_a_request_is_the_empty_blob(wire: Wire) -> None:
    nothing: list[pb.PutStreamRequest] = []
    assert (await wire.send_put(nothing)).digest == of(b"")


async def test_what_was_expected_is_checked_and_what_is_there_is_answered_early(wire: Wire) -> None:
    data = blob(5000)
    wrong = await failure(wire.send_put(pieces(data, expected=data[:-1] + b"?")))
    assert wrong.info is not None
    assert (wrong.code, wrong.info.reason) == (CODES.INVALID_ARGUMENT, "DIGEST_MISMATCH")
    assert (await wire.send_put(pieces(data, expected=data))).existed is False

    async def halted() -> AsyncIterator[pb.PutStreamRequest]:
        yield pb.PutStreamRequest(expected=of(data))
        await asyncio.Event().wait()

    assert (await asyncio.wait_for(wire.objects.PutStream(halted()), 20)).existed is True


async def test_what_is_expected_is_said_first(wire: Wire) -> None:
    late = [pb.PutStreamRequest(data=b"x"), pb.PutStreamRequest(data=b"y", expected=of(b"xy"))]
    answer = await failure(wire.send_put(late))
    assert (answer.code, list(answer.violations)) == (CODES.INVALID_ARGUMENT, ["expected"])


async def test_a_put_that_breaks_off_leaves_nothing(wire: Wire) -> None:
    sent = asyncio.Event()

    async def halted() -> AsyncIterator[pb.PutStreamRequest]:
        yield pb.PutStreamRequest(data=b"half")
        sent.set()
        await asyncio.Event().wait()

    call = wire.objects.PutStream(halted())
    await sent.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await wire.blobs.zones() == []


@pytest.mark.parametrize(("offset", "length", "part"), [(0, 0, slice(None)), (5, 3, slice(5, 8)), (100, 0, slice(0))])
async def test_a_range_is_read(wire: Wire, offset: int, length: int, part: slice) -> None:
    data = blob(100)
    await put(wire, data)
    assert await got(wire, data, offset, length) == data[part]


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.GetRangeRequest(digest=of(b"there"), offset=6), CODES.OUT_OF_RANGE, "RANGE_INVALID"),
        (pb.GetRangeRequest(digest=of(b"there"), offset=-1), CODES.OUT_OF_RANGE, "RANGE_INVALID"),
        (pb.GetRangeRequest(digest=of(b"there"), length=-1), CODES.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.GetRangeRequest(digest=of(b"nowhere")), CODES.NOT_FOUND, "BLOB_NOT_FOUND"),
        (pb.GetRangeRequest(), CODES.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.GetRangeRequest(digest=pb.Digest(hash=bytes(31))), CODES.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.GetRangeRequest(digest=pb.Digest(hash=bytes(32), size=-1)), CODES.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.GetRangeRequest(digest=pb.Digest(hash=bytes(32), size=1 << 50)), CODES.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.GetRangeRequest(digest=pb.Digest(hash=bytes(32))), CODES.INVALID_ARGUMENT, "FIELD_INVALID"),
    ],
    ids=range(9),
)
async def test_a_range_that_cannot_be_read_is_refused(
    wire: Wire, request_: pb.GetRangeRequest, code: grpc.StatusCode, reason: str
) -> None:
    await put(wire, b"there")
    answer = await failure(wire.objects.GetRange(request_))
    assert answer.info is not None
    assert (answer.code, answer.info.reason) == (code, reason)


async def test_blobs_are_told_about_one_by_one_and_together(wire: Wire) -> None:
    await put(wire, b"there")
    one = await wire.objects.Stat(pb.StatRequest(digest=of(b"there")))
    assert (one.digest, one.stored_bytes, one.touch_time.ToSeconds()) == (of(b"there"), 5, int(NOW))
    assert not one.HasField("condemn_time")
    digest = Digest.of(b"there")
    await wire.blobs.condemn("default", [digest], NOW)
    assert (await wire.objects.Stat(pb.StatRequest(digest=of(b"there")))).condemn_time.ToSeconds() == int(NOW)
    asked = pb.BatchStatRequest(digests=[of(b"two"), of(b"there"), of(b""), of(b"one"), of(b"two")])
    many = await wire.objects.BatchStat(asked)
    assert [found.digest for found in many.blobs] == [of(b"there"), of(b"")]
    assert list(many.missing) == [of(b"two"), of(b"one")]
    assert (await failure(wire.objects.Stat(pb.StatRequest(digest=of(b"two"))))).code is CODES.NOT_FOUND


async def test_calls_take_a_thousand_digests_and_no_more(wire: Wire) -> None:
    many = [of(b"x")] * (BATCH + 1)
    for call in (
        wire.objects.BatchStat(pb.BatchStatRequest(digests=many)),
        wire.objects.Pin(pb.PinRequest(pin_id="p", digests=many)),
        wire.objects.Delete(pb.DeleteRequest(digests=many)),
    ):
        answer = await failure(call)
        assert (answer.code, list(answer.violations)) == (CODES.INVALID_ARGUMENT, ["digests"])


async def test_a_pinned_blob_cannot_be_deleted_until_its_pin_ends(wire: Wire) -> None:
    for data in (b"one", b"two"):
        await put(wire, data)
    both = pb.DeleteRequest(digests=[of(b"one"), of(b"two")])
    pinned = await wire.objects.Pin(pb.PinRequest(pin_id="p", digests=[of(b"one"), of(b"")]))
    assert pinned.expire_time.ToSeconds() == int(NOW) + PIN_SECONDS
    answer = await failure(wire.objects.Delete(both))
    assert answer.info is not None
    assert (answer.code, answer.info.reason) == (CODES.FAILED_PRECONDITION, "BLOB_IN_USE")
    assert await wire.blobs.missing("default", [Digest.of(b"one"), Digest.of(b"two")]) == []
    assert (await wire.blobs.stat("default", Digest.of(b"two"))).condemned is None  # type: ignore[union-attr]
    assert (await wire.objects.Unpin(pb.UnpinRequest(pin_id="p"))).existed is True
    assert (await wire.objects.Unpin(pb.UnpinRequest(pin_id="p"))).existed is False
    assert (await wire.objects.Delete(both)).deleted == 2
    assert (await wire.objects.Delete(both)).deleted == 0


async def test_what_was_put_or_asked_for_lately_is_not_deleted(wire: Wire) -> None:
    digest = Digest.of(b"one")
    blobs = MemoryBlobs(lambda: NOW)
    await blobs.put("default", b"one")
    later = [NOW]
    domain = Objects(blobs, Zones(wire.metastore), Pins(wire.metastore), lambda: later[0])
    async with served([domain]) as address, aio.insecure_channel(address) as channel:
        stub = objects_pb2_grpc.ObjectServiceStub(channel)
        request = pb.DeleteRequest(digests=[of(b"one")])
        later[0] = NOW + SETTLED_SECONDS + blobs.touch_seconds - 1
        answer = await failure(stub.Delete(request))
        assert answer.info is not None
        assert (answer.code, answer.info.reason) == (CODES.FAILED_PRECONDITION, "BLOB_IN_USE")
        assert await blobs.missing("default", [digest]) == []
        later[0] += 1
        assert (await stub.Delete(request)).deleted == 1


async def test_the_same_pin_again_replaces_what_it_holds(wire: Wire) -> None:
    for data in (b"one", b"two"):
        await put(wire, data)
    await wire.objects.Pin(pb.PinRequest(pin_id="p", digests=[of(b"one")]))
    await wire.objects.Pin(pb.PinRequest(pin_id="p", digests=[of(b"two")], pin_ttl=Duration(seconds=60)))
    assert (await wire.objects.Delete(pb.DeleteRequest(digests=[of(b"one")]))).deleted == 1
    assert (
        await failure(wire.objects.Delete(pb.DeleteRequest(digests=[of(b"two")])))
    ).code is CODES.FAILED_PRECONDITION


async def test_a_pin_ends_by_itself(wire: Wire) -> None:
    await put(wire, b"one")
    await wire.objects.Pin(pb.PinRequest(pin_id="p", digests=[of(b"one")], pin_ttl=Duration(seconds=1)))
    async with asyncio.timeout(30):
        while await Pins(wire.metastore).held("default", [Digest.of(b"one")]):
            await asyncio.sleep(0.05)
    assert (await wire.objects.Delete(pb.DeleteRequest(digests=[of(b"one")]))).deleted == 1


async def test_what_is_not_there_cannot_be_pinned(wire: Wire) -> None:
    await put(wire, b"one")
    await wire.objects.Pin(pb.PinRequest(pin_id="p", digests=[of(b"one")]))
    answer = await failure(wire.objects.Pin(pb.PinRequest(pin_id="p", digests=[of(b"one"), of(b"two")])))
    assert answer.info is not None
    assert (answer.code, answer.info.reason) == (CODES.NOT_FOUND, "BLOB_NOT_FOUND")
    assert await Pins(wire.metastore).held("default", [Digest.of(b"one")]) == set()


async def test_who_pins_a_blob_that_was_condemned_saves_it(wire: Wire) -> None:
    await put(wire, b"one")
    digest = Digest.of(b"one")
    await wire.blobs.condemn("default", [digest], float("inf"))
    await wire.objects.Pin(pb.PinRequest(pin_id="p", digests=[of(b"one")]))
    assert await wire.blobs.sweep("default", [digest], float("inf")) == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.PinRequest(digests=[of(b"")]), "pin_id"),
        (pb.PinRequest(pin_id="x" * 129, digests=[of(b"")]), "pin_id"),
        (pb.PinRequest(pin_id="a\0b", digests=[of(b"")]), "pin_id"),
        (pb.PinRequest(pin_id="p"), "digests"),
        (pb.PinRequest(pin_id="p", digests=[pb.Digest()]), "digests[0].hash"),
        (pb.PinRequest(pin_id="p", digests=[of(b"")], pin_ttl=Duration()), "pin_ttl"),
        (pb.PinRequest(pin_id="p", digests=[of(b"")], pin_ttl=Duration(seconds=-5)), "pin_ttl"),
        (pb.PinRequest(pin_id="p", digests=[of(b"")], pin_ttl=Duration(seconds=604_801)), "pin_ttl"),
    ],
    ids=range(8),
)
async def test_a_pin_that_cannot_be_is_refused(wire: Wire, request_: pb.PinRequest, field: str) -> None:
    answer = await failure(wire.objects.Pin(request_))
    assert (answer.code, list(answer.violations)) == (CODES.INVALID_ARGUMENT, [field])


async def test_a_zone_has_a_limit_of_pins(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "MOST", 2)
    for name in ("a", "b", "a"):
        await wire.objects.Pin(pb.PinRequest(pin_id=name, digests=[of(b"")]))
    answer = await failure(wire.objects.Pin(pb.PinRequest(pin_id="c", digests=[of(b"")])))
    assert answer.info is not None
    assert (answer.code, answer.info.reason) == (CODES.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    await wire.objects.Pin(pb.PinRequest(pin_id="c", digests=[of(b"")]), metadata=IN_OTHER)


async def test_pins_of_more_than_a_page_are_all_found(wire: Wire) -> None:
    held = Pins(wire.metastore)
    digests = [Digest.of(bytes([i])) for i in range(70)]
    for i, digest in enumerate(digests):
        await held.pin("default", f"pin-{i:03}", [digest], 60)
    assert await held.held("default", digests) == set(digests)
    assert await held.held(OTHER, digests) == set()


async def test_each_zone_has_its_own_blobs_and_pins(wire: Wire) -> None:
    await put(wire, b"one", OTHER)
    assert (await failure(wire.objects.Stat(pb.StatRequest(digest=of(b"one"))))).code is CODES.NOT_FOUND
    assert (await wire.objects.Delete(pb.DeleteRequest(digests=[of(b"one")]))).deleted == 0
    await wire.objects.Pin(pb.PinRequest(pin_id="p", digests=[of(b"one")]), metadata=IN_OTHER)
    await put(wire, b"one")
    assert (await wire.objects.Delete(pb.DeleteRequest(digests=[of(b"one")]))).deleted == 1
    assert (await wire.objects.Stat(pb.StatRequest(digest=of(b"one")), metadata=IN_OTHER)).digest == of(b"one")


async def test_the_empty_blob_is_everywhere_and_cannot_be_deleted(wire: Wire) -> None:
    assert (await wire.objects.Stat(pb.StatRequest(digest=of(b"")))).digest == of(b"")
    assert (await wire.objects.Delete(pb.DeleteRequest(digests=[of(b"")]))).deleted == 0
    assert await wire.blobs.missing("default", [EMPTY]) == []


async def test_a_zone_that_was_never_created_is_not_found(wire: Wire) -> None:
    nowhere = (("quartet-zone", "nowhere"),)
    for call in (
        wire.send_put(pieces(b"x"), nowhere),
        wire.objects.Stat(pb.StatRequest(digest=of(b"")), metadata=nowhere),
        wire.objects.Delete(pb.DeleteRequest(), metadata=nowhere),
        wire.objects.Unpin(pb.UnpinRequest(pin_id="p"), metadata=nowhere),
    ):
        answer = await failure(call)
        assert answer.info is not None
        assert (answer.code, answer.info.reason) == (CODES.NOT_FOUND, "ZONE_NOT_FOUND")
    assert await wire.blobs.zones() == []


async def test_a_piece_that_is_no_message_is_refused_and_leaves_nothing(wire: Wire) -> None:
    for path in (PUT, WRITE):
        answer = await failure(wire.send(path, [b"", b"\x0a\xff"]))
        assert answer.code is CODES.INVALID_ARGUMENT
        assert answer.info is not None
        assert answer.info.reason == "FIELD_INVALID"
    assert await wire.blobs.zones() == []
