"""The bytes of files through both clients: every source, every verb, and nodes that fail in the middle."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness.contents import MIB, noise
from quartet import AsyncClient, Client, NotFound, Unavailable
from quartet._contents import Reading, Sending, packed
from quartet._memory import MemoryNode
from quartet.files.v1 import files_pb2 as pb


@pytest.fixture(scope="module")
def node() -> Iterator[MemoryNode]:
    """One node for all tests of this file."""
    memory = MemoryNode()
    yield memory
    memory.close()


@pytest.fixture
def client(node: MemoryNode) -> Iterator[Client]:
    """A client of the node."""
    with Client(node.address) as opened:
        yield opened


def test_files_are_written_from_every_source_and_read_back(client: Client, tmp_path: Path) -> None:
    data = noise(3 * MIB)
    path = tmp_path / "f"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources: list[Any] = [data, path, file, io.BytesIO(data), iter([data[:5], data[5:]]), [data[:9], b"", data[9:]]]
        for source in sources:
            entry = client.files.write_stream("/f", source)
            assert entry.attributes.size == len(data)
            assert client.files.read("/f") == data
    assert client.files.read("/f", offset=MIB, length=10) == data[MIB : MIB + 10]
    assert client.files.write("/f", b"", mode="overwrite").attributes.size == 0
    assert client.files.read("/f") == b""
    with pytest.raises(NotFound):
        client.files.write("/no", b"x", mode="overwrite")
    with pytest.raises(FileNotFoundError):
        client.files.write_stream("/f", tmp_path / "missing")


def test_files_are_extended_cut_and_copied(client: Client) -> None:
    client.files.append("/log", b"one\n", create=True)
    assert client.files.append("/log", b"two\n").offset == 4
    assert client.files.truncate("/log", 6).attributes.size == 6
    client.files.copy("/log", "/copy")
    assert client.files.read("/copy") == b"one\ntw"


def test_any_number_of_files_is_written_and_read_in_as_many_calls_as_it_takes(client: Client) -> None:
    client.files.mkdir("/many", parents=True)
    contents = {f"/many/{i}": noise(i % 7 * 100, i) for i in range(1200)} | {"/many/big": noise(3 * MIB), "/x/y": b""}
    results = client.files.write_many(contents)
    assert [result.failure.reason for result in results] == [""] * 1201 + ["FILE_NOT_FOUND"]
    client.files.write("/many/large", noise(5 * MIB))
    paths = [*contents, "/many/large", "/many/0"]
    read = client.files.read_many(paths)
    assert [result.failure.reason for result in read] == [""] * 1201 + ["FILE_NOT_FOUND", "", ""]
    assert {path: result.data for path, result in zip(paths[:1201], read, strict=False)} == {
        path: contents[path] for path in paths[:1201]
    }
    assert read[1202].data == noise(5 * MIB)
    assert read[1202].entry.path == "/many/large"


@pytest.mark.asyncio(loop_scope="function")
async def test_the_asynchronous_client_does_the_same(node: MemoryNode, tmp_path: Path) -> None:
    data = noise(2 * MIB)
    (tmp_path / "f").write_bytes(data)

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:100]
        yield data[100:]

    async with AsyncClient(node.address) as client:
        sources: list[Any] = [data, tmp_path / "f", pieces(), iter([data])]
        for source in sources:
            await client.files.write_stream("/aio", source)
            assert await client.files.read("/aio") == data
        assert b"".join([piece async for piece in client.files.read_stream("/aio", offset=5, length=3)]) == data[5:8]
        with pytest.raises(FileNotFoundError):
            await client.files.write_stream("/aio", tmp_path / "missing")
        await client.files.append("/aio", b"end")
        await client.files.truncate("/aio", 3)
        await client.files.copy("/aio", "/aio2")
        assert (await client.files.write_many({"/aio3": b"x"}))[0].ino
        await client.files.write("/aio4", noise(5 * MIB))
        read = await client.files.read_many(["/aio2", "/aio3", "/aio4", "/none"])
        assert [result.data for result in read[:3]] == [data[:3], b"x", noise(5 * MIB)]
        assert read[3].failure.reason == "FILE_NOT_FOUND"


def test_a_read_that_broke_off_goes_on_where_it_stopped_with_the_same_content() -> None:
    request = pb.ReadStreamRequest(path="/f", offset=10, length=8)
    reading = Reading(request)
    assert reading.resume()
    assert request == pb.ReadStreamRequest(path="/f", offset=10, length=8)
    reading.take(pb.ReadStreamResponse(entry=pb.Entry(revision=7), data=b"12345"))
    assert reading.resume()
    assert request == pb.ReadStreamRequest(path="/f", offset=15, length=3, revision=7)


def test_a_source_is_sent_again_only_when_it_can_be_read_again() -> None:
    header = pb.WriteHeader(path="/f")
    again = Sending(header, b"bytes")
    assert list(again.begin()) == list(again.begin())
    once = Sending(header, iter([b"bytes"]))
    list(zip(range(1), once.begin(), strict=False))  # the header alone takes nothing
    list(once.begin())
    with pytest.raises(Unavailable) as caught:
        once.begin()
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "SOURCE_SPENT")


def test_files_are_packed_into_calls_by_number_and_by_size() -> None:
    many = {f"/{i}": b"" for i in range(2500)}
    assert [len(group) for group in packed(many)] == [1000, 1000, 500]
    assert [len(group) for group in packed({f"/{i}": noise(MIB, i) for i in range(7)})] == [3, 3, 1]
    assert [len(group) for group in packed({"/a": noise(5 * MIB), "/b": b""})] == [1, 1]
