"""A call that comes to a node which is not its zone's home: as if it had come to the home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from harness.homes import SERVICE, Homes, Methods, called, homes, retried
from harness.rpc import Failure, failure
from quartet.cluster.peers.v1.peers_pb2 import ForwardedCall
from quartet_server import placement_errors as errors
from quartet_server.rpc import current_call, current_zone

from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODES = grpc.StatusCode
SHAPES = ("unary", "server", "client", "bidi")
RED = (("quartet-zone", "red"),)
PATIENCE = 20.0


async def _tell(request: StringValue, context: Any) -> StringValue:
    """Say what the home knows of the call."""
    told = dict(context.invocation_metadata())
    context.set_trailing_metadata(((("x-trailing", "t")), ("x-bin", b"\0\xff")))
    await context.send_initial_metadata((("x-initial", "i"),))
    remaining = context.time_remaining()
    limited = "none" if remaining is None else str(0 < remaining <= PATIENCE)
    return StringValue(
        value=f"{request.value} {current_zone()} {current_call().request_id} {told.get('x-mine')} {limited}"
    )


async def _count(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
    for i in range(int(request.value)):
        yield StringValue(value=str(i))


async def _join(requests: AsyncIterator[StringValue], context: Any) -> StringValue:
    return StringValue(value=",".join([request.value async for request in requests]))


async def _echo(requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
    async for request in requests:
        yield StringValue(value=request.value.upper())


METHODS: Methods = {
    "Tell": ("unary", _tell),
    "Count": ("server", _count),
    "Join": ("client", _join),
    "Echo": ("bidi", _echo),
}


async def words(*values: str) -> AsyncIterator[StringValue]:
    for value in values:
        yield StringValue(value=value)


async def settle(cluster: Homes, name: str = "n1") -> None:
    """Let zone red live on a node."""
    async with cluster.nodes[name].channel() as channel:
        await called(channel, "unary", "Tell")(StringValue(), metadata=RED)


async def test_every_shape_of_call_is_answered_by_the_home(store: Metastore, tmp_path: Path) -> None:
    async with homes(store, tmp_path, "n1", "n2", methods=METHODS) as cluster:
        await settle(cluster)
        async with cluster.nodes["n2"].channel() as channel:
            metadata = (*RED, ("quartet-request-id", "mine"), ("x-mine", "m"))
            call = called(channel, "unary", "Tell")(StringValue(value="a"), metadata=metadata, timeout=PATIENCE)
            assert (await call).value == "a red mine m True"
            assert dict(await call.initial_metadata())["x-initial"] == "i"
            trailing = dict(await call.trailing_metadata())
            assert (trailing["x-trailing"], trailing["x-bin"]) == ("t", b"\0\xff")
            counted = called(channel, "server", "Count")(StringValue(value="500"), metadata=RED)
            assert [one.value async for one in counted] == [str(i) for i in range(500)]
            assert (await called(channel, "client", "Join")(words("a", "b", "c"), metadata=RED)).value == "a,b,c"
            echo = called(channel, "bidi", "Echo")(metadata=RED)
            for word in ("x", "y"):  # one by one: nothing waits for the end of the stream
                await echo.write(StringValue(value=word))
                assert (await echo.read()).value == word.upper()
            await echo.done_writing()
            assert await echo.read() is aio.EOF


async def test_a_zone_lives_where_it_was_first_asked_for_whoever_asks_at_once(store: Metastore, tmp_path: Path) -> None:
    async def where(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=str(id(context.stream.connection._server)))

    async with homes(store, tmp_path, "n1", "n2", "n3", methods={"Where": ("unary", where)}) as cluster:
        channels = [node.channel() for node in cluster.nodes.values()]
        for zone in ("default", "red"):
            asked = [
                called(channel, "unary", "Where")(StringValue(), metadata=(("quartet-zone", zone),))
                for channel in channels * 3
            ]
            assert len({(await call).value for call in asked}) == 1
        for channel in channels:
            await channel.close()


def _failing(error: Exception) -> Methods:
    async def unary(request: StringValue, context: Any) -> StringValue:
        raise error

    async def server(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        raise error

    async def client(requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        await anext(aiter(requests))
        raise error

    async def bidi(requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield request
            raise error

    return {
        "unary": ("unary", unary),
        "server": ("server", server),
        "client": ("client", client),
        "bidi": ("bidi", bidi),
        "Tell": METHODS["Tell"],
    }


async def test_a_status_reaches_the_caller_with_its_details_in_every_shape(store: Metastore, tmp_path: Path) -> None:
    error = errors.RowsDamaged("näher beschrieben", violations={"f": "v"}, retry_after=0.25, fact="x")
    async with homes(store, tmp_path, "n1", "n2", methods=_failing(error)) as cluster:
        await settle(cluster)
        async with cluster.nodes["n1"].channel() as near, cluster.nodes["n2"].channel() as far:
            for shape in SHAPES:
                told: list[Failure] = []
                for channel in (near, far):
                    request: Any = words("w") if shape in ("client", "bidi") else StringValue()
                    metadata = (*RED, ("quartet-request-id", "mine"))
                    told.append(await failure(called(channel, shape, shape)(request, metadata=metadata)))
                assert told[0] == told[1]
                assert told[1].info is not None
                assert (told[1].info.reason, told[1].info.metadata["fact"]) == ("ROWS_DAMAGED", "x")
                assert told[1].retry_after == 0.25


async def test_a_status_that_comes_while_requests_are_sent_is_the_home_s(store: Metastore, tmp_path: Path) -> None:
    """The caller is gRPC's synchronous client: aio's own may lose such a status, with or without a node in between."""
    async with homes(store, tmp_path, "n1", "n2", methods=_failing(errors.RowsDamaged("x"))) as cluster:
        await settle(cluster)

        def pour(address: str) -> None:
            with grpc.insecure_channel(address) as channel:
                for _ in range(20):
                    call: Any = channel.stream_stream(f"/{SERVICE}/bidi")
                    with pytest.raises(grpc.RpcError) as ended:
                        list(call(iter([StringValue(value="w" * 1000).SerializeToString()] * 200), metadata=RED))
                    assert ended.value.code() is CODES.DATA_LOSS

        await asyncio.to_thread(pour, cluster.nodes["n2"].address)


async def test_bytes_that_are_no_request_get_the_same_answer_everywhere(store: Metastore, tmp_path: Path) -> None:
    async with homes(store, tmp_path, "n1", "n2", methods=METHODS) as cluster:
        await settle(cluster)
        for node in cluster.nodes.values():
            async with node.channel() as channel:
                unary: Any = channel.unary_unary(f"/{SERVICE}/Tell")
                assert (await failure(unary(b"\xff\xff", metadata=RED))).code is CODES.INVALID_ARGUMENT
                stream: Any = channel.stream_unary(f"/{SERVICE}/Join")
                assert (await failure(stream(iter([b"\xff"]), metadata=RED))).code is CODES.INVALID_ARGUMENT


class Held:
    """A method that is under way until it is cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def hold(self, *_: Any) -> StringValue:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError

    async def stream(self, *_: Any) -> AsyncIterator[StringValue]:
        yield await self.hold()

    def methods(self) -> Methods:
        return {
            "unary": ("unary", self.hold),
            "server": ("server", self.stream),
            "client": ("client", self.hold),
            "bidi": ("bidi", self.stream),
            "Tell": METHODS["Tell"],
        }


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_caller_who_leaves_ends_the_call_at_the_home(store: Metastore, tmp_path: Path, shape: str) -> None:
    held = Held()
    async with homes(store, tmp_path, "n1", "n2", methods=held.methods()) as cluster:
        await settle(cluster)
        async with cluster.nodes["n2"].channel() as channel:
            request = StringValue() if shape in ("unary", "server") else None
            call = called(channel, shape, shape)(*([request] if request is not None else []), metadata=RED)
            if shape in ("server", "bidi"):
                reading = asyncio.ensure_future(call.read())
            async with asyncio.timeout(PATIENCE):
                await held.began.wait()
                call.cancel()
                await held.cancelled.wait()
            if shape in ("server", "bidi"):
                await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize("shape", ["unary", "server"])
async def test_a_deadline_ends_the_call_at_the_home_too(store: Metastore, tmp_path: Path, shape: str) -> None:
    held = Held()
    async with homes(store, tmp_path, "n1", "n2", methods=held.methods()) as cluster:
        await settle(cluster)
        async with cluster.nodes["n2"].channel() as channel:
            call = called(channel, shape, shape)(StringValue(), metadata=RED, timeout=0.3)
            assert (await failure(call)).code is CODES.DEADLINE_EXCEEDED
        async with asyncio.timeout(PATIENCE):
            await held.cancelled.wait()


async def test_nothing_piles_up_behind_an_end_that_does_not_read(store: Metastore, tmp_path: Path) -> None:
    """A megabyte a message: more than a few of them under way would be kept by somebody."""
    sent, go = [0], asyncio.Event()

    async def pour(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        for _ in range(100):
            sent[0] += 1
            yield StringValue(value="x" * 1_000_000)

    async def swallow(requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        await go.wait()
        return StringValue(value=str(len([one async for one in requests])))

    methods: Methods = {"Pour": ("server", pour), "Swallow": ("client", swallow), "Tell": METHODS["Tell"]}
    async with homes(store, tmp_path, "n1", "n2", methods=methods) as cluster:
        await settle(cluster)
        async with cluster.nodes["n2"].channel() as channel:
            call = called(channel, "server", "Pour")(StringValue(), metadata=RED)
            await call.read()
            assert await _still(lambda: sent[0]) < 60
            call.cancel()
            upload, written = called(channel, "client", "Swallow")(metadata=RED), [0]

            async def write() -> None:
                for _ in range(100):
                    await upload.write(StringValue(value="x" * 1_000_000))
                    written[0] += 1
                await upload.done_writing()

            writing = asyncio.create_task(write())
            assert await _still(lambda: written[0]) < 60
            go.set()
            await writing
            assert (await upload).value == "100"


async def _still(number: Any) -> int:
    """Return a number once it has not changed for a while."""
    before, same = -1, 0
    async with asyncio.timeout(PATIENCE):
        while same < 10:
            same = same + 1 if number() == before else 0
            before = number()
            await asyncio.sleep(0.02)
    return int(before)


async def test_a_home_that_is_down_is_named_and_comes_back(store: Metastore, tmp_path: Path) -> None:
    async with homes(store, tmp_path, "n1", "n2", methods=METHODS) as cluster:
        await settle(cluster)
        port = int(cluster.nodes["n1"].address.rpartition(":")[2])
        await cluster.stop("n1")
        async with cluster.nodes["n2"].channel() as channel:
            for shape, method in (("unary", "Tell"), ("server", "Count"), ("client", "Join"), ("bidi", "Echo")):
                request: Any = words("1") if shape in ("client", "bidi") else StringValue(value="1")
                got = await failure(called(channel, shape, method)(request, metadata=RED))
                assert got.code is CODES.UNAVAILABLE
                assert got.info is not None
                assert (got.info.reason, got.info.metadata["node"]) == ("ZONE_HOME_DOWN", "n1")
                assert got.retry_after
            await cluster.start("n1", METHODS, port)
            await retried(called(channel, "unary", "Tell"), StringValue(), RED)


async def test_a_home_that_ends_in_the_middle_of_a_call_is_down(store: Metastore, tmp_path: Path) -> None:
    held = Held()
    async with homes(store, tmp_path, "n1", "n2", methods=held.methods()) as cluster:
        await settle(cluster)
        async with cluster.nodes["n2"].channel() as channel:
            call = asyncio.ensure_future(failure(called(channel, "unary", "unary")(StringValue(), metadata=RED)))
            async with asyncio.timeout(PATIENCE):
                await held.began.wait()
                await cluster.stop("n1")
                got = await call
        assert got.code is CODES.UNAVAILABLE
        assert got.info is not None
        assert (got.info.reason, got.info.metadata["node"]) == ("ZONE_HOME_DOWN", "n1")


async def test_a_call_that_was_passed_on_goes_no_further(store: Metastore, tmp_path: Path) -> None:
    async with homes(store, tmp_path, "n1", "n2", methods=METHODS) as cluster:
        await settle(cluster)
        mark = ForwardedCall(by="n3", home="n2", moves=0)
        async with cluster.nodes["n2"].channel() as channel:
            metadata = (*RED, ("quartet-forwarded-bin", mark.SerializeToString()))
            got = await failure(called(channel, "unary", "Tell")(StringValue(), metadata=metadata))
            assert got.code is CODES.UNAVAILABLE
            assert got.info is not None
            assert (got.info.reason, got.info.metadata["node"]) == ("ZONE_MOVED", "n1")
            assert got.retry_after
            mark.home = "n9"
            metadata = (*RED, ("quartet-forwarded-bin", mark.SerializeToString()))
            got = await failure(called(channel, "unary", "Tell")(StringValue(), metadata=metadata))
            assert got.info is not None
            assert got.info.reason == "ZONE_MOVED"
            metadata = (*RED, ("quartet-forwarded-bin", b"\xff\xff"))
            got = await failure(called(channel, "unary", "Tell")(StringValue(), metadata=metadata))
            assert got.code is CODES.INVALID_ARGUMENT


async def test_a_node_that_lost_its_disk_does_not_answer_for_what_was_on_it(store: Metastore, tmp_path: Path) -> None:
    async with homes(store, tmp_path, "n1", "n2", methods=METHODS) as cluster:
        await settle(cluster)
        await cluster.stop("n1")
        del cluster.disks["n1"]
        await cluster.start("n1", METHODS)
        for node in cluster.nodes.values():
            async with node.channel() as channel:
                got = await failure(called(channel, "unary", "Tell")(StringValue(), metadata=RED))
            assert got.code is CODES.UNAVAILABLE
            assert got.info is not None
            assert (got.info.reason, got.info.metadata["node"]) == ("ZONE_HOME_DOWN", "n1")
