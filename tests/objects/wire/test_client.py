"""`client.objects`: bytes in, bytes out, and what happens when a node fails in between; `quartet objects` on top of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from grpc import aio
from harness.wire import Wire, blob
from quartet import (
    AsyncClient,
    Client,
    ConfigurationError,
    DataLoss,
    Digest,
    FailedPrecondition,
    NotFound,
    OutOfRange,
    Unavailable,
)
from quartet.objects.v1 import objects_pb2 as pb
from quartet.objects.v1 import objects_pb2_grpc
from quartet.wire.reapi import cas_pb2, cas_pb2_grpc
from quartet_server.cli import main

from raftmeta.serving import Server

T = TypeVar("T")
MISSING = Digest.of(b"nobody put this")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client of a node inside this process."""
    with Client(":memory:") as connected:
        yield connected


@pytest.fixture
def quartet(client: Client, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `quartet objects`; returns its exit code, what it printed and what it said."""
    address = client._transport._options.endpoints[0]

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["objects", *map(str, arguments), "--endpoints", address])
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_bytes_come_back(client: Client, size: int) -> None:
    data = blob(size)
    digest = client.objects.put(data)
    assert digest == Digest.of(data) == Digest.parse(str(digest))
    assert client.objects.put(data) == digest
    assert client.objects.get(digest) == client.objects.get(str(digest)) == data
    assert client.objects.get(digest, offset=size // 3, length=10) == data[size // 3 :][:10]
    assert client.objects.get(digest, length=0) == b""
    assert client.objects.get(digest, offset=size) == b""


def test_files_come_back_and_appear_when_they_are_whole(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(blob(1_000_000))
    digest = client.objects.put_file(source)
    target.write_bytes(b"before")
    client.objects.get_file(digest, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode == source.stat().st_mode
    with pytest.raises(NotFound):
        client.objects.get_file(MISSING, target)
    assert target.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_blobs_are_told_about_held_and_deleted(client: Client) -> None:
    digests = [client.objects.put(bytes([i, 1, 2])) for i in range(3)]
    assert client.objects.stat(digests[0]).stored_bytes > 0
    found, missing = client.objects.stat_many([*digests, MISSING])
    assert [Digest.named(one.digest) for one in found] == digests
    assert missing == [MISSING]
    client.objects.pin("p", digests[:1], seconds=60)
    assert client.objects.unpin("p") is True
    with pytest.raises(FailedPrecondition):  # just put
        client.objects.delete(digests)
    assert client.objects.delete([MISSING]) == 0


def test_what_is_wrong_is_told(client: Client) -> None:
    digest = client.objects.put(b"abc")
    for call, kind in (
        (lambda: client.objects.get(MISSING), NotFound),
        (lambda: client.objects.stat(MISSING), NotFound),
        (lambda: client.objects.get(digest, offset=4), OutOfRange),
        (lambda: client.objects.get("abc/3"), ConfigurationError),
        (lambda: client.objects.get(f"{digest.hash.hex().upper()}/3"), ConfigurationError),
        (lambda: client.objects.get(f"{digest.hash.hex()}/03"), ConfigurationError),
    ):
        with pytest.raises(kind):
            call()


async def test_the_asynchronous_client_does_the_same(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(blob(1_000_000))
    async with AsyncClient(":memory:") as client:
        digest = await client.objects.put_file(source)
        assert await client.objects.put(source.read_bytes()) == digest
        await client.objects.get_file(digest, target)
        assert target.read_bytes() == source.read_bytes() == await client.objects.get(digest)
        assert await client.objects.get(digest, offset=5, length=10) == source.read_bytes()[5:15]
        assert await client.objects.get(digest, length=0) == b""
        assert (await client.objects.stat(digest)).stored_bytes > 0
        assert (await client.objects.stat_many([digest, MISSING]))[1] == [MISSING]
        await client.objects.pin("p", [digest], seconds=60)
        assert await client.objects.unpin("p") is True
        with pytest.raises(FailedPrecondition):  # just put
            await client.objects.delete([digest])
        assert await client.objects.delete([MISSING]) == 0


class Failing(objects_pb2_grpc.ObjectServiceServicer):
    """Serves one blob and fails in the middle, as often as it is told."""

    def __init__(self, data: bytes, failures: int) -> None:
        self.data = data
        self.failures = failures
        self.offsets: list[int] = []
        self.received: list[bytes] = []

    async def GetRange(self, request: pb.GetRangeRequest, context: Any) -> AsyncIterator[pb.GetRangeResponse]:  # noqa: N802
        self.offsets.append(request.offset)
        if self.failures:
            self.failures -= 1
            yield pb.GetRangeResponse(data=self.data[request.offset : request.offset + 10])
            await context.abort(UNAVAILABLE, "gone")
        end = request.offset + request.length if request.length else None
        yield pb.GetRangeResponse(data=self.data[request.offset : end])

    async def PutStream(  # noqa: N802
        self, requests: AsyncIterator[pb.PutStreamRequest], context: Any
    ) -> pb.PutStreamResponse:
        received = b"".join([request.data async for request in requests])
        self.received.append(received)
        if self.failures:
            self.failures -= 1
            await context.abort(UNAVAILABLE, "gone")
        digest = Digest.of(received)
        return pb.PutStreamResponse(digest=digest.message)


class Missing(cas_pb2_grpc.ContentAddressableStorageServicer):
    """Has no blob."""

    async def FindMissingBlobs(  # noqa: N802
        self, request: cas_pb2.FindMissingBlobsRequest, context: Any
    ) -> cas_pb2.FindMissingBlobsResponse:
        return cas_pb2.FindMissingBlobsResponse(missing_blob_digests=request.blob_digests)


def failing(data: bytes, failures: int) -> Failing:
    """Return a server of `data` that fails so often."""
    return Failing(data, failures)  # type: ignore[abstract]  # nobody calls the other methods


async def _either(servicer: Failing, use: Callable[[Any], Any], kind: str) -> Any:
    """Run `use` with the synchronous or the asynchronous client's `objects`."""
    server = Server()
    objects_pb2_grpc.add_ObjectServiceServicer_to_server(servicer, server)
    cas_pb2_grpc.add_ContentAddressableStorageServicer_to_server(Missing(), server)  # type: ignore[abstract]
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        if kind == "async":
            async with AsyncClient(address) as client:
                return await use(client.objects)

        def synchronous() -> Any:
            with Client(address) as client:
                return use(client.objects)

        return await asyncio.to_thread(synchronous)
    finally:
        await server.stop(None)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_read_goes_on_where_it_broke_off(kind: str) -> None:
    servicer = failing(blob(100), failures=3)
    assert await _either(servicer, lambda objects: objects.get(Digest.of(servicer.data)), kind) == servicer.data
    assert servicer.offsets == [0, 10, 20, 30]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_part_that_broke_off_after_its_last_byte_is_whole(kind: str) -> None:
    servicer = failing(blob(100), failures=2)
    got = await _either(servicer, lambda objects: objects.get(Digest.of(servicer.data), offset=5, length=20), kind)
    assert got == servicer.data[5:25]
    assert servicer.offsets == [5, 15]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_read_that_brings_nothing_is_given_up(kind: str) -> None:
    servicer = failing(b"", failures=100)
    with pytest.raises(Unavailable):
        await _either(servicer, lambda objects: objects.get(Digest.of(blob(100))), kind)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_put_is_sent_again_whole(kind: str) -> None:
    data = blob(2_000_000)
    servicer = failing(b"", failures=2)
    assert await _either(servicer, lambda objects: objects.put(data), kind) == Digest.of(data)
    assert servicer.received == [data] * 3


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_other_bytes_than_were_asked_for_are_not_taken(kind: str, tmp_path: Path) -> None:
    servicer = failing(blob(100), failures=0)
    asked = Digest(Digest.of(b"x").hash, 100)
    with pytest.raises(DataLoss):
        await _either(servicer, lambda objects: objects.get(asked), kind)
    with pytest.raises(DataLoss):
        await _either(servicer, lambda objects: objects.get_file(asked, tmp_path / "f"), kind)
    assert list(tmp_path.iterdir()) == []


def test_the_command_stores_reads_and_tells(quartet: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"first\n")
    two.write_bytes(blob(100_000))
    code, out, _ = quartet("put", one, two, "-o", "json")
    digests = [row["digest"] for row in json.loads(out)]
    assert (code, digests) == (0, [str(Digest.of(path.read_bytes())) for path in (one, two)])
    assert quartet("get", digests[0])[:2] == (0, "first\n")
    code, out, _ = quartet("get", digests[1], tmp_path / "copy", "-o", "json")
    assert json.loads(out) == {"digest": digests[1], "path": str(tmp_path / "copy")}
    assert (tmp_path / "copy").read_bytes() == two.read_bytes()
    code, out, _ = quartet("stat", *digests, "-o", "json")
    assert (code, [row["there"] for row in json.loads(out)]) == (0, [True, True])
    code, out, _ = quartet("stat", digests[0], str(MISSING))
    assert code == 1
    assert [line.split()[1] for line in out.splitlines()] == ["THERE", "yes", "no"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["get", str(MISSING)], 1, "BLOB_NOT_FOUND"),
        (["get", "nonsense"], 2, "is no digest"),
        (["put", "/nowhere/at/all"], 1, "cannot read"),
        (["put"], 2, "nothing to store"),
        (["get", str(MISSING), "-o", "json"], 2, "standard output"),
        (["get", str(MISSING), "/nowhere/at/all"], 1, "cannot write"),
    ],
)
def test_the_command_says_what_is_wrong(
    quartet: Callable[..., tuple[int, str, str]], arguments: list[str], code: int, said: str
) -> None:
    got, out, err = quartet(*arguments)
    assert (got, out) == (code, "")
    assert said in err


async def test_a_stub_of_the_wire_and_the_client_reach_the_same_blobs(client: Client) -> None:
    address = client._transport._options.endpoints[0]
    data = blob(1000, 77)
    digest = await asyncio.to_thread(client.objects.put, data)
    async with aio.insecure_channel(address) as channel:
        wire = Wire(address, channel, None, None, None)  # type: ignore[arg-type]  # its store is the node's
        assert await wire.read(f"blobs/{digest}") == data
