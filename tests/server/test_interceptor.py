"""What every call passes through, over real grpc.aio servers and channels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any, TypeAlias

import grpc
import pytest
import structlog
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from harness.rpc import FOREIGN, SERVICE, Failure, Rpc, failure, serving
from quartet_server import errors, logs
from quartet_server.config import Limits
from quartet_server.rpc import current_call, current_zone
from quartet_server.rpc.deadlines import Deadlines

from raftmeta.errors import Fault, MetastoreError

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
CODES = grpc.StatusCode
LEAVES = list(errors.leaves())
SHAPES = ("unary", "server", "client", "bidi")
METADATA = (("quartet-request-id", "mine"),)


def _raising(error: BaseException) -> dict[str, tuple[str, Any]]:
    """One method of each shape that raises `error` after it has read what it was sent."""

    async def unary(request: StringValue, context: Context) -> StringValue:
        raise error

    async def server(request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        raise error

    async def client(requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        async for _ in requests:
            pass
        raise error

    async def bidi(requests: AsyncIterator[StringValue], context: Context) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield request
        raise error

    return {
        "Unary": ("unary", unary),
        "Server": ("server", server),
        "Client": ("client", client),
        "Bidi": ("bidi", bidi),
    }


async def _fail(rpc: Rpc, shape: str, service: str = SERVICE) -> Failure:
    async def requests() -> AsyncIterator[StringValue]:
        yield StringValue(value="x")

    if shape == "unary":
        return await failure(rpc.unary(f"{service}/Unary")(StringValue(), metadata=METADATA))
    if shape == "server":
        return await failure(rpc.server_stream(f"{service}/Server")(StringValue(), metadata=METADATA))
    if shape == "client":
        return await failure(rpc.client_stream(f"{service}/Client")(requests(), metadata=METADATA))
    return await failure(rpc.bidi(f"{service}/Bidi")(requests(), metadata=METADATA))


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
async def test_every_class_of_the_tree_reaches_the_caller_whole(leaf: type[errors.QuartetError]) -> None:
    error = leaf("näher beschrieben\nin zwei Zeilen", violations={"f": "v"}, retry_after=0.25, fact="x")
    async with serving(_raising(error)) as rpc:
        got = await _fail(rpc, "unary")
    assert (got.code, got.message) == (leaf.code, error.message)
    assert got.info is not None
    assert (got.info.reason, got.info.metadata["fact"]) == (leaf.reason, "x")
    assert got.info.metadata.get("hint", "") == leaf.default_hint
    assert (got.violations, got.retry_after, got.request_id) == ({"f": "v"}, 0.25, "mine")


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_error_of_any_shape_is_translated_and_counted_once(shape: str) -> None:
    async with serving(_raising(errors.FileNotFound("nothing at /a", path="/a"))) as rpc:
        got = await _fail(rpc, shape)
        assert got.code is CODES.NOT_FOUND
        assert got.info is not None
        assert got.info.reason == "FILE_NOT_FOUND"
        assert got.request_id == "mine"
        labels = {
            "grpc_type": {"unary": "unary", "server": "server_stream", "client": "client_stream"}.get(
                shape, "bidi_stream"
            ),
            "grpc_service": SERVICE,
            "grpc_method": shape.title(),
        }
        assert await rpc.sample("grpc_server_started_total", **labels) == 1
        assert await rpc.sample("grpc_server_handled_total", **labels, grpc_code="NotFound") == 1
        assert await rpc.sample("grpc_server_handled_total", **labels, grpc_code="OK") == 0
        assert await rpc.sample("grpc_server_handling_seconds_count", **labels) == 1


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_unforeseen_exception_is_internal_names_its_request_and_is_logged_once(shape: str) -> None:
    out = StringIO()
    logs.configure("json", "info", out)
    async with serving(_raising(ZeroDivisionError("private detail"))) as rpc:
        got = await _fail(rpc, shape)
    assert got.code is CODES.INTERNAL
    assert got.info is not None
    assert (got.info.reason, got.info.metadata["request_id"]) == ("INTERNAL_FAULT", "mine")
    assert "private detail" not in got.message
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["event"], line["request_id"], line["level"]) for line in lines] == [("call failed", "mine", "error")]
    assert "private detail" in json.dumps(lines[0]["exception"])


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_store_s_fault_passes_through_a_service_as_its_leaf(shape: str) -> None:
    async with serving(_raising(MetastoreError(Fault.NO_LEADER))) as rpc:
        got = await _fail(rpc, shape)
    assert got.code is CODES.UNAVAILABLE
    assert got.info is not None
    assert got.info.reason == "NO_LEADER"
    assert got.retry_after is not None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", [Fault.NO_LEADER, Fault.COMPACTED])
async def test_the_etcd_api_answers_with_etcd_s_code_and_text_and_nothing_else(shape: str, fault: Fault) -> None:
    async with serving({}, foreign=_raising(MetastoreError(fault))) as rpc:
        got = await _fail(rpc, shape, FOREIGN)
    assert (got.code, got.message, got.info, got.request_id) == (fault.code, fault.text, None, None)


@pytest.mark.parametrize("service", [SERVICE, FOREIGN])
async def test_an_abort_of_a_service_itself_is_left_alone_and_counted(service: str) -> None:
    async def abort(request: StringValue, context: Context) -> StringValue:
        await context.abort(CODES.ABORTED, "as I say", (("mine", "1"),))

    table = {"Unary": ("unary", abort)}
    async with serving(table, foreign=table) as rpc:
        with pytest.raises(aio.AioRpcError) as caught:
            await rpc.unary(f"{service}/Unary")(StringValue())
        assert (caught.value.code(), caught.value.details()) == (CODES.ABORTED, "as I say")
        assert dict(caught.value.trailing_metadata() or ())["mine"] == "1"
        labels = {"grpc_type": "unary", "grpc_service": service, "grpc_method": "Unary"}
        assert await rpc.sample("grpc_server_handled_total", **labels, grpc_code="Aborted") == 1


async def test_a_declared_method_without_a_body_is_unimplemented() -> None:
    async with serving(_raising(NotImplementedError("Method not implemented!"))) as rpc:
        got = await _fail(rpc, "unary")
    assert got.code is CODES.UNIMPLEMENTED
    assert got.info is not None
    assert got.info.metadata["method"] == f"/{SERVICE}/Unary"


async def test_an_unknown_method_is_unimplemented_and_makes_no_metric() -> None:
    async with serving({}) as rpc:
        got = await failure(rpc.unary(f"{SERVICE}/Nothing")(StringValue()))
        assert got.code is CODES.UNIMPLEMENTED
        assert [s for m in rpc.registry.collect() for s in m.samples] == []


async def _echo_call(request: StringValue, context: Context) -> StringValue:
    call = current_call()
    return StringValue(value=f"{call.zone} {call.request_id} {call.method}")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("abc-1", "abc-1"),
        ("x" * 128, "x" * 128),
        ("x" * 129, "drawn-0"),
        ("with space", "drawn-0"),
        ("", "drawn-0"),
        (None, "drawn-0"),
    ],
)
async def test_a_request_id_is_taken_or_drawn_and_comes_back(sent: str | None, expected: str) -> None:
    async with serving({"Unary": ("unary", _echo_call)}) as rpc:
        metadata = (("quartet-request-id", sent),) if sent is not None else ()
        call = rpc.unary(f"{SERVICE}/Unary")(StringValue(), metadata=metadata)
        assert (await call).value == f"default {expected} /{SERVICE}/Unary"
        assert dict(await call.trailing_metadata())["quartet-request-id"] == expected


async def test_a_log_line_written_while_a_call_is_served_bears_its_request_id() -> None:
    out = StringIO()
    logs.configure("json", "info", out)

    async def talk(request: StringValue, context: Context) -> StringValue:
        structlog.get_logger().info("hello")
        return request

    async with serving({"Unary": ("unary", talk)}) as rpc:
        await asyncio.gather(
            *(
                rpc.unary(f"{SERVICE}/Unary")(StringValue(), metadata=(("quartet-request-id", f"r{i}"),))
                for i in range(8)
            )
        )
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert sorted(line["request_id"] for line in lines) == [f"r{i}" for i in range(8)]


@pytest.mark.parametrize("zone", ["a", "team-a", "z" * 63, "default"])
async def test_a_call_acts_in_the_zone_that_it_names(zone: str) -> None:
    async def tell(request: StringValue, context: Context) -> StringValue:
        return StringValue(value=current_zone())

    async with serving({"Unary": ("unary", tell)}) as rpc:
        answer = await rpc.unary(f"{SERVICE}/Unary")(StringValue(), metadata=(("quartet-zone", zone),))
    assert answer.value == zone


@pytest.mark.parametrize("zone", ["", "A", "1a", "-a", "a/b", "a_b", "z" * 64, "a b", "*"])
async def test_a_malformed_zone_is_the_caller_s_mistake(zone: str) -> None:
    async with serving({"Unary": ("unary", _echo_call)}) as rpc:
        got = await failure(rpc.unary(f"{SERVICE}/Unary")(StringValue(), metadata=(("quartet-zone", zone),)))
    assert got.code is CODES.INVALID_ARGUMENT
    assert got.info is not None
    assert got.info.reason == "ZONE_INVALID"


def test_outside_of_a_call_there_is_no_zone() -> None:
    with pytest.raises(LookupError):
        current_zone()


async def _wait_for_ever(request: StringValue, context: Context) -> StringValue:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("limits", "timeout"), [(Deadlines(default=0.05), None), (Deadlines(default=60, maximum=0.05), 60)]
)
async def test_a_unary_call_ends_at_the_server_s_deadline_at_the_latest(
    limits: Deadlines, timeout: float | None
) -> None:
    async with serving({"Unary": ("unary", _wait_for_ever)}, deadlines=limits) as rpc:
        got = await failure(rpc.unary(f"{SERVICE}/Unary")(StringValue(), timeout=timeout))
    assert got.code is CODES.DEADLINE_EXCEEDED
    assert got.info is not None
    assert (got.info.reason, got.info.metadata["seconds"]) == ("DEADLINE_PASSED", "0.05")


async def test_a_timeout_inside_a_service_is_not_mistaken_for_the_call_s_deadline() -> None:
    async with serving(_raising(TimeoutError("of something else"))) as rpc:
        assert (await _fail(rpc, "unary")).code is CODES.INTERNAL


async def test_streams_and_foreign_services_get_no_deadline_of_ours() -> None:
    release = asyncio.Event()

    async def server(request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        await release.wait()
        yield request

    async def unary(request: StringValue, context: Context) -> StringValue:
        await release.wait()
        return request

    limits = Deadlines(default=0.02, maximum=0.02)
    async with serving({"Server": ("server", server)}, foreign={"Unary": ("unary", unary)}, deadlines=limits) as rpc:
        stream = rpc.server_stream(f"{SERVICE}/Server")(StringValue(value="s"))
        call = rpc.unary(f"{FOREIGN}/Unary")(StringValue(value="u"))
        done, _ = await asyncio.wait({asyncio.ensure_future(call.code())}, timeout=0.1)
        assert not done
        release.set()
        assert [response.value async for response in stream] == ["s"]
        assert (await call).value == "u"


@pytest.mark.parametrize(("cancel", "code"), [(True, "Cancelled"), (False, "DeadlineExceeded")])
async def test_a_caller_that_goes_away_closes_its_stream_and_is_counted(cancel: bool, code: str) -> None:
    closed = asyncio.Event()

    async def server(request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        try:
            yield request
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving({"Server": ("server", server)}) as rpc:
        call = rpc.server_stream(f"{SERVICE}/Server")(StringValue(), timeout=None if cancel else 0.3)
        await call.read()
        if cancel:
            call.cancel()
        await asyncio.wait_for(closed.wait(), 5)
        labels = {"grpc_type": "server_stream", "grpc_service": SERVICE, "grpc_method": "Server"}
        counts = {
            one: await rpc.sample("grpc_server_handled_total", **labels, grpc_code=one)
            for one in ("OK", "Internal", "Cancelled", "DeadlineExceeded")
        }
        if not cancel:  # on a busy machine a caller may take its call back long before the server's deadline
            counts[code] = (counts[code] or 0) + (counts.pop("Cancelled") or 0)
        assert {one for one, count in counts.items() if count} == {code}
        assert counts[code] == 1


async def _one() -> AsyncIterator[StringValue]:
    yield StringValue(value="x")


async def _ending(stream: Any) -> Failure:
    try:
        while await stream.read() is not aio.EOF:
            pass
    except aio.AioRpcError as error:
        return Failure.of(error)
    raise AssertionError("the stream ended well")


async def test_draining_sends_new_calls_and_streams_elsewhere_and_lets_unary_calls_finish() -> None:
    release, began = asyncio.Event(), asyncio.Event()

    async def bidi(requests: AsyncIterator[StringValue], context: Context) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield request

    async def unary(request: StringValue, context: Context) -> StringValue:
        began.set()
        await release.wait()
        return request

    table: dict[str, tuple[str, Any]] = {"Bidi": ("bidi", bidi), "Unary": ("unary", unary)}
    async with serving(table, foreign=table) as rpc:
        streams = [rpc.bidi(f"{service}/Bidi")() for service in (SERVICE, FOREIGN)]
        for stream in streams:
            await stream.write(StringValue(value="x"))
            assert (await stream.read()).value == "x"
        call = rpc.unary(f"{SERVICE}/Unary")(StringValue(value="u"))
        await began.wait()
        drained = asyncio.create_task(rpc.interceptor.drain(20))
        ours, foreign = [await _ending(stream) for stream in streams]
        late = await failure(rpc.bidi(f"{SERVICE}/Bidi")(_one()))
        assert (await failure(rpc.unary(f"{FOREIGN}/Unary")(StringValue()))).code is CODES.UNAVAILABLE
        assert not drained.done()
        release.set()
        assert (await call).value == "u"
        await asyncio.wait_for(drained, 5)
    assert ours.code is foreign.code is late.code is CODES.UNAVAILABLE
    assert ours.info is not None
    assert ours.info.reason == "NODE_STOPPING"
    assert foreign.info is None


async def test_draining_does_not_wait_longer_than_it_is_told() -> None:
    began = asyncio.Event()

    async def unary(request: StringValue, context: Context) -> StringValue:
        began.set()
        return await _wait_for_ever(request, context)

    async with serving({"Unary": ("unary", unary)}) as rpc:
        call = rpc.unary(f"{SERVICE}/Unary")(StringValue())
        await began.wait()
        await asyncio.wait_for(rpc.interceptor.drain(0.05), 5)
        assert not call.done()
        call.cancel()


async def test_draining_sends_uploads_elsewhere_that_do_not_end_in_time() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def upload(requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        try:
            async for _ in requests:
                began.set()
        finally:
            ended.set()
        return StringValue(value="done")

    async def halted() -> AsyncIterator[StringValue]:
        yield StringValue(value="x")
        await asyncio.Event().wait()

    async with serving({"Upload": ("client", upload)}) as rpc:
        whole = rpc.client_stream(f"{SERVICE}/Upload")(_one())
        assert (await whole).value == "done"
        began.clear()
        ended.clear()
        call = rpc.client_stream(f"{SERVICE}/Upload")(halted())
        await began.wait()
        await asyncio.wait_for(rpc.interceptor.drain(0.5), 20)
        assert ended.is_set()
        got = await failure(call)
    assert got.code is CODES.UNAVAILABLE
    assert got.info is not None
    assert got.info.reason == "NODE_STOPPING"


async def test_a_message_above_the_limit_is_refused_before_a_service_sees_it() -> None:
    seen: list[int] = []

    async def unary(request: StringValue, context: Context) -> StringValue:
        seen.append(len(request.value))
        return StringValue()

    async with serving({"Unary": ("unary", unary)}, limits=Limits(message_bytes=4096)) as rpc:
        await rpc.unary(f"{SERVICE}/Unary")(StringValue(value="x" * 4000))
        got = await failure(rpc.unary(f"{SERVICE}/Unary")(StringValue(value="x" * 5000)))
    assert got.code is CODES.RESOURCE_EXHAUSTED
    assert seen == [4000]


async def test_calls_above_the_limit_of_calls_in_flight_are_refused() -> None:
    release, began = asyncio.Event(), asyncio.Event()

    async def unary(request: StringValue, context: Context) -> StringValue:
        began.set()
        await release.wait()
        return request

    async with serving({"Unary": ("unary", unary)}, limits=Limits(concurrent_calls=1)) as rpc:
        first = rpc.unary(f"{SERVICE}/Unary")(StringValue(value="1"))
        await began.wait()
        got = await failure(rpc.unary(f"{SERVICE}/Unary")(StringValue()))
        release.set()
        assert (await first).value == "1"
    assert got.code is CODES.RESOURCE_EXHAUSTED
