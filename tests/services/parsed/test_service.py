"""ParsedService: whoever puts an entry must have the bytes, zones know nothing of each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from harness.contents import noise, write
from harness.failures import fails
from quartet import AsyncClient, Client, Digest
from quartet.files.v1 import files_pb2, files_pb2_grpc
from quartet.objects.v1 import objects_pb2
from quartet.parsed.v1 import parsed_pb2 as pb
from quartet.parsed.v1 import parsed_pb2_grpc
from quartet_server.config import Config, Objects, Serve
from quartet_server.node import RunningNode

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODES = grpc.StatusCode


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningNode]:
    """A node with every service."""
    serve = Serve(data_dir=tmp_path_factory.mktemp("node"), listen="127.0.0.1:0", listen_http="")
    async with await RunningNode.start(Config(serve=serve, objects=Objects(url="memory://"))) as running:
        await running.wait_ready()
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def channel(node: RunningNode) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to it."""
    async with grpc.aio.insecure_channel(str(node.address)) as opened:
        yield opened


def key(data: bytes, parser: str = "markdown", version: str = "1.2") -> pb.ParsedKey:
    """The name of an entry."""
    return pb.ParsedKey(digest=Digest.of(data).message, parser=parser, parser_version=version)


async def test_an_entry_is_put_by_whoever_has_the_bytes_and_read_with_all_its_notes(channel: grpc.aio.Channel) -> None:
    parsed, files = parsed_pb2_grpc.ParsedServiceStub(channel), files_pb2_grpc.FileServiceStub(channel)
    small, large = b"# small", noise(3 << 20)
    for path, data in (("/small", small), ("/large", large)):
        with fails(CODES.NOT_FOUND, "BLOB_NOT_FOUND"):
            await parsed.PutParsed(pb.PutParsedRequest(key=key(data), data=b"x"))
        with fails(CODES.NOT_FOUND, "FILE_NOT_FOUND"):
            await parsed.PutParsed(pb.PutParsedRequest(key=key(data), data=b"x", path=path))
        await write(files, path, data)
        put = pb.PutParsedRequest(
            key=key(data), data=b"parsed " + path.encode(), media_type="text/plain", metadata={"pages": "3"}, path=path
        )
        put.parsed_ttl.seconds = 100
        kept = await parsed.PutParsed(put)
        assert kept.stored
        found = await parsed.GetParsed(pb.GetParsedRequest(key=key(data)))
        assert (found.hit, found.data, found.media_type) == (True, put.data, "text/plain")
        assert dict(found.metadata) == {"pages": "3"}
        assert found.expire_time == kept.expire_time
        assert abs(found.expire_time.seconds - time.time() - 100) < 50
    with fails(CODES.INVALID_ARGUMENT, "DIGEST_MISMATCH"):
        await parsed.PutParsed(pb.PutParsedRequest(key=key(b"other"), data=b"x", path="/small"))
    assert not (await parsed.GetParsed(pb.GetParsedRequest(key=key(b"other")))).hit
    assert (await parsed.DeleteParsed(pb.DeleteParsedRequest(key=key(small)))).deleted == 1
    assert not (await parsed.GetParsed(pb.GetParsedRequest(key=key(small)))).hit


async def test_a_zone_has_its_own_entries_and_must_have_the_bytes_itself(node: RunningNode) -> None:
    async with AsyncClient(str(node.address)) as client, AsyncClient(str(node.address), zone="red") as red:
        await client.cluster.create_zone("red")
        digest = await client.objects.put(b"shared bytes")
        assert await client.parsed.put(digest, "p", "1", b"mine", metadata={"a": "b"}, ttl=50)
        assert await red.parsed.get(digest, "p", "1") is None
        with pytest.raises(Exception, match="BLOB_NOT_FOUND"):
            await red.parsed.put(digest, "p", "1", b"theirs")
        await red.objects.put(b"shared bytes")
        assert await red.parsed.put(str(digest), "p", "1", b"theirs")
        for zone, data in ((client, b"mine"), (red, b"theirs")):
            found = await zone.parsed.get(digest, "p", "1")
            assert found is not None
            assert found.data == data
        assert await client.parsed.delete(digest) == 1
        assert await red.parsed.get(digest, "p", "1") is not None
    async with AsyncClient(str(node.address), zone="nowhere") as lost:
        with pytest.raises(Exception, match="ZONE_NOT_FOUND"):
            await lost.parsed.get(digest, "p", "1")


async def test_a_principal_names_files_below_its_root_and_no_others(channel: grpc.aio.Channel) -> None:
    parsed, files = parsed_pb2_grpc.ParsedServiceStub(channel), files_pb2_grpc.FileServiceStub(channel)
    await files.Mkdir(files_pb2.MkdirRequest(path="/agents/7", parents=True))
    await write(files, "/secret", b"not for 7")
    await write(files, "/agents/7/own", b"for 7")
    await files.SetPrincipalRoot(files_pb2.SetPrincipalRootRequest(principal="7", path="/agents/7"))
    seven = (("quartet-principal", "7"),)
    with fails(CODES.NOT_FOUND, "FILE_NOT_FOUND"):
        await parsed.PutParsed(pb.PutParsedRequest(key=key(b"not for 7"), path="/secret"), metadata=seven)
    assert (await parsed.PutParsed(pb.PutParsedRequest(key=key(b"for 7"), path="/own"), metadata=seven)).stored


@pytest.mark.parametrize(
    "change",
    [
        {"key": pb.ParsedKey(parser="p", parser_version="1")},
        {"key": key(b"", parser="")},
        {"key": key(b"", parser="a b")},
        {"key": key(b"", version="x" * 129)},
        {"data": bytes((3 << 20) + 1)},
        {"media_type": "x" * 256},
        {"metadata": {str(i): "" for i in range(65)}},
        {"metadata": {"a": "x" * 17_000}},
        {"parsed_ttl": Duration(seconds=0)},
        {"parsed_ttl": Duration(seconds=31 * 86_400)},
        {"key": pb.ParsedKey(digest=objects_pb2.Digest(hash=bytes(32), size=-1), parser="p", parser_version="1")},
    ],
)
async def test_what_breaks_a_rule_is_named(channel: grpc.aio.Channel, change: dict[str, Any]) -> None:
    parsed = parsed_pb2_grpc.ParsedServiceStub(channel)
    with fails(CODES.INVALID_ARGUMENT, "FIELD_INVALID"):
        await parsed.PutParsed(pb.PutParsedRequest(**{"key": key(b""), "data": b"x", **change}))


async def test_entries_outlive_the_node_and_show_in_its_metrics(tmp_path: Path) -> None:
    def use(address: str, first: bool) -> None:
        with Client(address) as client:
            digest = client.objects.put(b"bytes")
            if first:
                assert client.parsed.get(digest, "p", "1") is None
                assert client.parsed.put(digest, "p", "1", b"data")
            found = client.parsed.get(digest, "p", "1")
            assert found is not None
            assert found.data == b"data"

    for first in (True, False):
        serve = Serve(data_dir=tmp_path, listen="127.0.0.1:0", listen_http="")
        async with await RunningNode.start(Config(serve=serve)) as running:
            await running.wait_ready()
            await asyncio.to_thread(use, str(running.address), first)
            shown = {one.name: one.value for family in running.registry.collect() for one in family.samples}
            assert shown["quartet_parsed_hits_total"] == 1
            assert shown["quartet_parsed_misses_total"] == (1 if first else 0)
            assert shown["quartet_parsed_entries"] == 1
            assert shown["quartet_parsed_bytes"] > 4
