"""What a node keeps of inodes and entries: it never answers otherwise than one that keeps nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from harness.served import served
from harness.stores import Stores
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from quartet.files.v1 import files_pb2 as pb
from quartet.files.v1 import files_pb2_grpc
from quartet_server.files.cache_metrics import CacheCollector
from quartet_server.files.service import FileService
from quartet_server.meta.recent import Kept, Recent
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.drivers.embedded import EmbeddedMetastore
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Local, Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
DIRECTORY = pb.ENTRY_TYPE_DIRECTORY
SEVERAL = 8
"""What the node keeps: less than the tree has, so that much is given up and read again."""
_now: Callable[[], Timestamp] = lambda: Timestamp(seconds=1)  # noqa: E731


class Pair:
    """Two nodes over one store: one keeps what it reads, the other does not."""

    def __init__(self, keeping: FileServiceAsyncStub, plain: FileServiceAsyncStub, recent: Recent) -> None:
        self.keeping = keeping
        self.plain = plain
        self.recent = recent


async def pair(stack: AsyncExitStack, keeps: Metastore, plain: Metastore, most: int = SEVERAL) -> Pair:
    """Serve both; they end with the stack."""
    assert isinstance(keeps, EmbeddedMetastore)
    recent = Recent(keeps, most)
    stubs: list[FileServiceAsyncStub] = []
    for service in (
        FileService(keeps, _now, MemoryBlobs(time.time), recent=recent),
        FileService(plain, _now, MemoryBlobs(time.time)),
    ):
        address = await stack.enter_async_context(served([service]))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stubs.append(files_pb2_grpc.FileServiceStub(channel))
    return Pair(stubs[0], stubs[1], recent)


@pytest_asyncio.fixture(loop_scope="session")
async def one(stores: Stores) -> AsyncIterator[Pair]:
    """Both over the member in this process, with nothing in it."""
    store = await stores.get("embedded")
    await store.delete_range(rpc_pb2.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
    async with AsyncExitStack() as stack:
        yield await pair(stack, store, store)


async def told(method: Any, request: Any) -> Any:
    """What a call answers, or what it says instead."""
    try:
        return await method(request)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()


_path = st.lists(st.sampled_from("abé"), min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
_step = st.one_of(
    st.tuples(st.just("mkdir"), _path),
    st.tuples(st.just("mkdir"), _path),
    st.tuples(st.just("create"), _path),
    st.tuples(st.just("link"), _path, _path),
    st.tuples(st.just("change"), _path),
    st.tuples(st.just("rename"), _path, _path, st.sampled_from([1, 3])),
    st.tuples(st.just("delete"), _path, st.booleans()),
    st.tuples(st.just("write"), _path),
)


async def carry_out(files: FileServiceAsyncStub, step: Sequence[Any]) -> None:
    """Do one step, which may be refused."""
    kind, path, *rest = step
    if kind == "mkdir":
        await told(files.Mkdir, pb.MkdirRequest(path=path, parents=True))
    elif kind == "create":
        await told(files.CreateFile, pb.CreateFileRequest(path=path))
    elif kind == "link":
        target = pb.Attributes(symlink_target=rest[0])
        await told(files.CreateFile, pb.CreateFileRequest(path=path, type=pb.ENTRY_TYPE_SYMLINK, attributes=target))
    elif kind == "change":
        request = pb.SetAttributesRequest(path=path, update_mask=FieldMask(paths=["mode"]))
        request.attributes.mode = random.randrange(0o777)
        await told(files.SetAttributes, request)
    elif kind == "rename":
        await told(files.Rename, pb.RenameRequest(source=path, destination=rest[0], mode=rest[1]))
    elif kind == "delete":
        await told(files.Delete, pb.DeleteRequest(path=path, recursive=rest[0]))
    else:
        await told(files.BatchWrite, pb.BatchWriteRequest(files=[pb.WriteItem(path=path, data=b"bytes")]))


PATHS = ["/", *(f"/{a}" for a in "abé"), *(f"/{a}/{b}" for a in "abé" for b in "abé"), "/a/a/a", "/b/a/é"]
QUESTIONS: list[tuple[str, Any]] = [
    *(("Stat", pb.StatRequest(path=path, serializable=here)) for path in PATHS for here in (True, False)),
    *(("Stat", pb.StatRequest(path=path, follow=True)) for path in PATHS[:4]),
    ("BatchStat", pb.BatchStatRequest(paths=PATHS)),
    ("BatchStat", pb.BatchStatRequest(paths=PATHS, serializable=True, follow=True)),
    ("List", pb.ListRequest(path="/", detail=True, page_size=1000)),
    ("List", pb.ListRequest(path="/a", detail=True, serializable=True)),
    ("List", pb.ListRequest(path="/", detail=True, recursive=True, page_size=1000)),
    ("List", pb.ListRequest(path="/", detail=True, glob="**/a/*", page_size=1000, serializable=True)),
    ("BatchRead", pb.BatchReadRequest(paths=PATHS)),
]


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.tuples(_step, st.booleans()), min_size=3, max_size=12))
async def test_every_answer_is_that_of_a_node_that_keeps_nothing(
    one: Pair, steps: list[tuple[tuple[Any, ...], bool]]
) -> None:
    for step, here in steps:
        await carry_out(one.keeping if here else one.plain, step)
        for method, request in QUESTIONS:
            if random.random() < 0.5:  # what is kept differs from step to step
                wanted, got = [await told(getattr(stub, method), request) for stub in (one.plain, one.keeping)]
                if method == "BatchRead":  # each has a store of blobs of its own; small files need none
                    assert [result.data for result in got.results] == [result.data for result in wanted.results]
                else:
                    assert got == wanted, (step, method, request)
    assert len(one.recent) <= SEVERAL + 1


async def test_what_is_read_among_changes_is_what_was_there_at_the_revision_of_the_answer(one: Pair) -> None:
    chance = random.Random(1)
    for path in ("/a", "/a/b", "/c"):
        await one.plain.Mkdir(pb.MkdirRequest(path=path))
    for path in ("/a/b/f", "/c/f", "/f"):
        await one.plain.CreateFile(pb.CreateFileRequest(path=path))
    paths = ["/a/b/f", "/a/f", "/c/b/f", "/c/f", "/f", "/a", "/b", "/c"]
    writing = 4

    async def write(number: int) -> None:
        nonlocal writing
        for i in range(25):
            files = one.keeping if (i + number) % 2 else one.plain
            if number == 0:
                change = pb.SetAttributesRequest(path=chance.choice(paths), update_mask=FieldMask(paths=["mode"]))
                change.attributes.mode = i
                await told(files.SetAttributes, change)
            else:
                source, destination = chance.choice([("/a", "/b"), ("/b", "/a"), ("/a/b", "/c/b"), ("/c/b", "/a/b")])
                await told(files.Rename, pb.RenameRequest(source=source, destination=destination))
        writing -= 1

    answers: list[tuple[pb.BatchStatResponse, bool]] = []

    async def look(here: bool) -> None:
        while writing:
            request = pb.BatchStatRequest(paths=chance.sample(paths, 3), serializable=here)
            answer = await one.keeping.BatchStat(request)
            then = await one.plain.BatchStat(pb.BatchStatRequest(paths=request.paths, revision=answer.revision))
            assert answer == then
            answers.append((answer, here))

    await asyncio.gather(*map(write, range(4)), *(look(bool(i % 2)) for i in range(4)))
    for here in (True, False):
        seen = [answer.revision for answer, kind in answers if kind is here]
        assert len(set(seen)) > 5


async def test_a_follower_that_keeps_what_it_read_sees_every_write_acknowledged_elsewhere(stores: Stores) -> None:
    first, *others = [await stores.get(f"three-{i}") for i in range(3)]
    await first.delete_range(rpc_pb2.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
    async with AsyncExitStack() as stack:
        pairs = [await pair(stack, store, first) for store in others]
        await pairs[0].plain.CreateFile(pb.CreateFileRequest(path="/f"))
        for i in range(1, 30):
            change = pb.SetAttributesRequest(path="/f", update_mask=FieldMask(paths=["mode"]))
            change.attributes.mode = i
            entry = await pairs[i % 2].plain.SetAttributes(change)
            for one in pairs:
                found = await one.keeping.Stat(pb.StatRequest(path="/f"))
                assert (found.attributes.mode, found.etag) == (i, entry.etag)
                early = await one.keeping.Stat(pb.StatRequest(path="/f", serializable=True))
                assert early.etag == entry.etag  # not older than what it has told already


async def test_look_ups_that_found_something_are_counted_and_the_others(one: Pair) -> None:
    registry = CollectorRegistry()
    registry.register(CacheCollector(one.recent))
    await one.keeping.Mkdir(pb.MkdirRequest(path="/d"))
    for _ in range(3):
        await one.keeping.Stat(pb.StatRequest(path="/d"))
    hits, misses = (
        registry.get_sample_value("quartet_files_cache_lookups_total", {"result": result}) for result in ("hit", "miss")
    )
    assert (hits, misses) == (one.recent.hits, one.recent.misses)
    assert one.recent.hits >= 4
    assert registry.get_sample_value("quartet_files_cache_entries") == len(one.recent) > 0


class Told:
    """A store that says what the test says."""

    def __init__(self) -> None:
        self.tell: Callable[[int, Sequence[bytes] | None], None]

    def follow(self, listener: Callable[[int, Sequence[bytes] | None], None]) -> Callable[[], None]:
        """Keep the listener."""
        self.tell = listener
        listener(10, None)
        return lambda: None

    async def confirmed(self) -> None:
        """Do nothing."""


async def test_what_was_read_before_a_change_and_arrives_after_it_is_not_kept() -> None:
    store = Told()
    recent = Recent(store, 100)
    store.tell(11, [b"a"])
    recent.keep(b"a", "old", 5, 10)
    recent.keep(b"b", "b", 5, 10)
    assert recent.find(b"a", 11) is None
    assert recent.find(b"b", 11) == Kept(5, "b")
    recent.keep(b"a", "new", 11, 11)
    assert recent.find(b"a", 11) == Kept(11, "new")
    assert recent.find(b"a", 10) is None  # the value of a past that is not known
    store.tell(12, [b"a", b"x"])
    assert recent.find(b"a", 12) is None


async def test_after_more_changes_than_are_remembered_only_what_is_read_later_is_kept() -> None:
    store = Told()
    recent = Recent(store, 100)
    store.tell(11, [b"%d" % i for i in range(10_001)])
    recent.keep(b"a", "a", 5, 10)
    assert recent.find(b"a", 11) is None
    recent.keep(b"a", "a", 5, 11)
    assert recent.find(b"a", 11) == Kept(5, "a")
    store.tell(12, None)
    assert recent.find(b"a", 12) is None
    recent.keep(b"a", "a", 5, 11)
    assert recent.find(b"a", 12) is None


async def test_what_is_looked_up_stays_and_the_rest_goes() -> None:
    store = Told()
    recent = Recent(store, 20)
    for i in range(100):
        recent.keep(b"%d" % i, i, 1, 10)
        recent.keep(b"used", "used", 1, 10) if not i else recent.find(b"used", 10)
        assert len(recent) <= 20
    assert recent.find(b"used", 10) == Kept(1, "used")
    assert recent.find(b"1", 10) is None


async def test_only_a_store_whose_state_is_in_this_process_can_be_followed(stores: Stores) -> None:
    assert isinstance(await stores.get("embedded"), Local)
    assert not isinstance(await stores.get("raftmeta"), Local)
