"""Failover and repetition: which calls are sent where, and how often, against servers that misbehave on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest
import quartet
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from harness.ports import free_ports
from quartet import AsyncClient, Client, ConfigurationError, NotFound, OutOfRange, Unavailable
from quartet._options import ENDPOINTS, endpoints_of
from quartet._retry import Backoff, repeatable
from quartet.cluster.v1 import cluster_pb2, cluster_pb2_grpc
from quartet.files.v1 import files_pb2, files_pb2_grpc

_FilesBase: Any = files_pb2_grpc.FileServiceServicer  # its stub wants every method; a servicer need not have it
_ClusterBase: Any = cluster_pb2_grpc.ClusterServiceServicer


class Moody(_FilesBase, _ClusterBase):  # type: ignore[misc]
    """Answers calls, after as many refusals as it was told; remembers the request ids and zones it saw."""

    def __init__(self, refusals: int = 0, reason: str = "OUTCOME_UNKNOWN") -> None:
        self.left = refusals
        self.reason = reason
        self.seen: list[str] = []
        self.zones: list[Any] = []

    def _enter(self, name: str, context: grpc.ServicerContext) -> None:
        self.seen.append(name)
        self.zones.append(dict(context.invocation_metadata()).get("quartet-zone"))
        if self.left:
            self.left -= 1
            code = (
                grpc.StatusCode.RESOURCE_EXHAUSTED
                if self.reason == "TOO_MANY_REQUESTS"
                else grpc.StatusCode.UNAVAILABLE
            )
            packed = Packed()
            packed.Pack(ErrorInfo(reason=self.reason, domain="quartet.dev", metadata={"hint": "try"}))
            status = Status(code=code.value[0], message="moody", details=[packed])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(code, "moody")

    def Stat(self, request: files_pb2.StatRequest, context: grpc.ServicerContext) -> files_pb2.Entry:  # noqa: N802
        self._enter(request.path, context)
        return files_pb2.Entry(path=request.path)

    def Mkdir(self, request: files_pb2.MkdirRequest, context: grpc.ServicerContext) -> files_pb2.Entry:  # noqa: N802
        self._enter(request.request_id, context)
        return files_pb2.Entry(path=request.path)

    def CreateZone(  # noqa: N802
        self, request: cluster_pb2.CreateZoneRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.Zone:
        self._enter(request.name, context)
        return cluster_pb2.Zone(name=request.name)

    def Watch(  # noqa: N802
        self, request: files_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[files_pb2.WatchResponse]:
        at = request.start_revision or 5
        if at > 8:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "gone")
        yield files_pb2.WatchResponse(revision=at)
        yield files_pb2.WatchResponse(revision=at + 1)
        self.left = 1
        self._enter(f"watch {at}", context)


@contextmanager
def serving(servicer: Moody) -> Iterator[str]:
    """Serve on loopback; yields HOST:PORT."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        files_pb2_grpc.add_FileServiceServicer_to_server(servicer, server)
        cluster_pb2_grpc.add_ClusterServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def dead() -> str:
    """An address at which nobody listens."""
    return f"127.0.0.1:{free_ports(1)[0]}"


def test_a_read_is_repeated_until_a_node_answers() -> None:
    moody = Moody(refusals=3)
    with serving(moody) as address, Client(address) as client:
        assert client.files.stat("/f").path == "/f"
    assert moody.seen == ["/f"] * 4


def test_a_write_is_repeated_under_the_same_request_id() -> None:
    moody = Moody(refusals=2)
    with serving(moody) as address, Client(address) as client:
        client.files.mkdir("/d")
        client.files.mkdir("/d")
        client.files.mkdir("/d", request_id="mine")
    assert len(moody.seen) == 5
    assert len(set(moody.seen[:3])) == 1
    assert moody.seen[3] not in ("", moody.seen[0])
    assert moody.seen[4] == "mine"


def test_a_write_without_an_id_is_sent_once_when_it_may_have_happened() -> None:
    moody = Moody(refusals=1)
    with serving(moody) as address, Client([address, address]) as client, pytest.raises(Unavailable) as caught:
        client.cluster.create_zone("red")
    assert moody.seen == ["red"]
    assert (caught.value.reason, caught.value.hint) == ("OUTCOME_UNKNOWN", "try")


def test_a_write_that_was_not_begun_is_sent_again_in_any_case() -> None:
    moody = Moody(refusals=2, reason="TOO_MANY_REQUESTS")
    with serving(moody) as address, Client(address) as client:
        client.cluster.create_zone("red")
    assert moody.seen == ["red"] * 3


def test_any_call_goes_past_nodes_that_do_not_listen() -> None:
    moody = Moody()
    with serving(moody) as address, Client([dead(), dead(), address]) as client:
        client.cluster.create_zone("red")
        client.files.stat("/f")
    assert moody.seen == ["red", "/f"]


def test_a_node_that_ends_is_left_for_the_next() -> None:
    first, second = Moody(), Moody()
    with ExitStack() as stack:
        two = stack.enter_context(serving(second))
        with serving(first) as one:
            client = stack.enter_context(Client([one, two]))
            client.files.stat("/1")
        client.files.stat("/2")
        client.cluster.create_zone("red")
    assert (first.seen, second.seen) == (["/1"], ["/2", "red"])


def test_no_node_at_all_is_said_with_a_hint() -> None:
    with Client([dead(), dead()], connect_timeout=0.3) as client, pytest.raises(Unavailable) as caught:
        client.files.stat("/f")
    assert caught.value.reason == "NO_ENDPOINT"
    assert "QUARTET_CLIENT_ENDPOINTS" in caught.value.hint


def test_the_zone_goes_with_every_call() -> None:
    moody = Moody()
    with serving(moody) as address:
        with Client(address, zone="red") as client:
            client.files.stat("/f")
        with Client(address) as client:
            client.files.stat("/f")
    assert moody.zones == ["red", None]


def test_a_watch_goes_on_after_a_lost_node_from_where_it_was() -> None:
    seen: list[int] = []
    with serving(Moody()) as address, Client(address) as client, pytest.raises(OutOfRange):
        seen.extend(response.revision for response in client.files.watch("/"))
    assert seen == [5, 6, 7, 8]


def test_a_watch_is_resumed_with_pauses_and_not_in_a_busy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    moody = Moody()

    def refuse(self: Moody, request: Any, context: grpc.ServicerContext) -> Iterator[files_pb2.WatchResponse]:
        if len(waits) >= 4:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "enough")
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        yield files_pb2.WatchResponse()

    monkeypatch.setattr(Moody, "Watch", refuse)
    with serving(moody) as address, Client(address) as client:
        monkeypatch.setattr(client._transport, "_sleep", waits.append)
        with pytest.raises(OutOfRange):
            next(client.files.watch("/", start_revision=3))
    assert len(waits) == 4
    assert all(wait > 0 for wait in waits)
    assert waits[3] > waits[0]


async def test_the_asyncio_client_repeats_fails_over_and_resumes_alike() -> None:
    moody = Moody(refusals=2)
    with serving(moody) as address:
        async with AsyncClient([dead(), address], zone="red") as client:
            await client.files.stat("/f")
            moody.left = 1
            with pytest.raises(Unavailable):
                await client.cluster.create_zone("z")
            moody.left = 0
            seen: list[int] = []
            with pytest.raises(OutOfRange):
                await _watched(client, seen)
    assert moody.seen[:4] == ["/f", "/f", "/f", "z"]
    assert set(moody.zones) == {"red"}
    assert seen == [5, 6, 7, 8]


async def _watched(client: AsyncClient, seen: list[int]) -> None:
    """Put the revisions into `seen` as they come, until the watch fails."""
    async for response in client.files.watch("/"):
        seen += [response.revision]


@pytest.mark.parametrize(
    ("given", "endpoints"),
    [("a:1", ("a:1",)), ("a:1, b:2,", ("a:1", "b:2")), (["[::1]:3"], ("[::1]:3",))],
)
def test_endpoints_are_a_list_or_text(given: str | list[str], endpoints: tuple[str, ...]) -> None:
    assert endpoints_of(given) == endpoints


@pytest.mark.parametrize("given", ["", ",", [], "host", "host:", ["a:1", "b"]])
def test_what_is_no_endpoint_is_refused(given: str | list[str]) -> None:
    with pytest.raises(ConfigurationError):
        endpoints_of(given)


def test_endpoints_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINTS, "x:1,y:2")
    assert endpoints_of(None) == ("x:1", "y:2")
    monkeypatch.delenv(ENDPOINTS)
    assert endpoints_of(None) == ("127.0.0.1:7400",)


def test_a_certificate_that_is_not_there_is_a_mistake_of_configuration() -> None:
    with pytest.raises(ConfigurationError):
        Client("127.0.0.1:1", tls=quartet.TLS(ca="/nowhere/ca.crt"))


def test_waits_double_up_to_a_limit_and_obey_the_server() -> None:
    backoff = Backoff(jitter=lambda: 0.5)
    error = Unavailable(grpc.StatusCode.UNAVAILABLE, "no")
    waits = [backoff.after(error) for _ in range(7)]
    assert waits == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5]
    asked = Unavailable(grpc.StatusCode.UNAVAILABLE, "no", retry_after=0.3)
    assert Backoff(jitter=lambda: 0.5).after(asked) == 0.3
    assert not repeatable(NotFound(grpc.StatusCode.NOT_FOUND, "no"), safe=True)
