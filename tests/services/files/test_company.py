"""Writes that come at the same time share transactions, and each is still carried out, or refused, by itself."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from harness.failures import reason_of
from quartet.files.v1 import files_pb2 as pb
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.together import Together, Waiting

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
TOGETHER = 60


async def revision(files: FileServiceAsyncStub) -> int:
    return (await files.Stat(pb.StatRequest(path="/"))).revision


async def outcomes(*calls: Any) -> list[Any]:
    """What calls that are made at once answer, or why they fail."""
    return [
        reason_of(one) if isinstance(one, grpc.aio.AioRpcError) else one
        for one in await asyncio.gather(*calls, return_exceptions=True)
    ]


async def test_creates_that_come_together_share_transactions_and_are_told_each_its_own(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    await files.CreateFile(pb.CreateFileRequest(path="/d/first"))  # and what a node does only once
    before = await revision(files)
    requests = [pb.CreateFileRequest(path=f"/d/{i}", request_id=f"r{i}") for i in range(TOGETHER)]
    made = await asyncio.gather(*map(files.CreateFile, requests))
    assert await revision(files) - before < TOGETHER // 2
    assert [one.path for one in made] == [request.path for request in requests]
    assert len({one.ino for one in made}) == TOGETHER
    assert len({one.revision for one in made}) < TOGETHER // 2
    assert await asyncio.gather(*map(files.CreateFile, requests)) == made  # each id has its own record
    listed = await files.List(pb.ListRequest(path="/d"))
    assert {(one.path, one.ino) for one in listed.entries} >= {(one.path, one.ino) for one in made}


async def test_one_that_is_refused_takes_no_other_along(files: FileServiceAsyncStub) -> None:
    for path in ("/a", "/b"):
        await files.Mkdir(pb.MkdirRequest(path=path))
    await files.CreateFile(pb.CreateFileRequest(path="/a/taken"))
    told = await outcomes(
        *(files.CreateFile(pb.CreateFileRequest(path=f"/a/{i}")) for i in range(12)),
        files.CreateFile(pb.CreateFileRequest(path="/a/taken")),
        files.CreateFile(pb.CreateFileRequest(path="/no/f")),
        files.CreateFile(pb.CreateFileRequest(path="/a/taken", overwrite=True, if_match="1.1")),
        *(files.CreateFile(pb.CreateFileRequest(path="/b/same")) for _ in range(6)),
        *(files.Mkdir(pb.MkdirRequest(path=f"/b/x/y/{i}", parents=True)) for i in range(4)),
    )
    assert all(isinstance(one, pb.Entry) for one in told[:12])
    assert told[12:15] == ["FILE_EXISTS", "FILE_NOT_FOUND", "ETAG_STALE"]
    assert Counter("made" if isinstance(one, pb.Entry) else one for one in told[15:21]) == {"made": 1, "FILE_EXISTS": 5}
    assert all(isinstance(one, pb.Entry) for one in told[21:])


async def test_names_that_are_the_same_to_people_are_so_in_one_transaction_too(files: FileServiceAsyncStub) -> None:
    spellings = ["/caf\u00e9", "/cafe\u0301"] * 4
    told = await outcomes(*(files.CreateFile(pb.CreateFileRequest(path=path)) for path in spellings))
    assert Counter("made" if isinstance(one, pb.Entry) else one for one in told) == {"made": 1, "FILE_EXISTS": 7}


async def test_a_watcher_is_told_of_each(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/w"))
    watching = files.Watch(pb.WatchRequest(path="/w", recursive=True))
    await watching.read()
    paths = {f"/w/{i}" for i in range(20)}
    await asyncio.gather(*(files.CreateFile(pb.CreateFileRequest(path=path)) for path in paths))
    seen: list[str] = []
    async with asyncio.timeout(30):
        while len(seen) < len(paths):
            response = await watching.read()
            assert isinstance(response, pb.WatchResponse)
            seen += [event.path for event in response.events]
    watching.cancel()
    assert sorted(seen) == sorted(paths)


async def test_a_directory_that_goes_meanwhile_gets_nothing(files: FileServiceAsyncStub, store: Metastore) -> None:
    dice = random.Random(5)
    for number in range(6):
        top = f"/gone-{number}"
        await files.Mkdir(pb.MkdirRequest(path=top))
        calls: list[Any] = [files.CreateFile(pb.CreateFileRequest(path=f"{top}/{i}")) for i in range(8)]
        calls += [files.CreateFile(pb.CreateFileRequest(path=f"/beside-{number}-{i}")) for i in range(4)]
        calls.append(files.Rename(pb.RenameRequest(source=top, destination=f"/moved-{number}")))
        dice.shuffle(calls)
        told = await outcomes(*calls)
        made = {one.ino for one in told if isinstance(one, pb.Entry)}
        listed = [*(await files.List(pb.ListRequest(path=f"/moved-{number}"))).entries]
        listed += [one for one in (await files.List(pb.ListRequest(path="/"))).entries if one.name.startswith("beside")]
        assert made <= {one.ino for one in listed}
        assert sum(one.name.startswith(f"beside-{number}-") for one in listed) == 4
        assert {one for one in told if isinstance(one, str)} <= {"FILE_NOT_FOUND"}
    entries = await store.range(rpc_pb2.RangeRequest(key=b"default\0d", range_end=b"default\0e", count_only=True))
    pointers = await store.range(rpc_pb2.RangeRequest(key=b"default\0p", range_end=b"default\0q", count_only=True))
    assert entries.count == pointers.count


def plan(
    writes: tuple[rpc_pb2.RequestOp, ...] = (), compares: tuple[rpc_pb2.Compare, ...] = (), claim: bytes = b""
) -> Waiting:
    claimed = Claim("r", claim, b"f") if claim else None
    return Waiting(Plan(pb.Entry(), list(compares), list(writes)), claimed)


PUT, CHECK = ops.put(b"k", b"v"), ops.unchanged(b"k", 3)


@pytest.mark.parametrize(
    ("first", "second", "goes"),
    [
        (((PUT,),), ((ops.put(b"l", b"v"),),), True),
        (((PUT,),), ((PUT,),), False),
        (((PUT,), (CHECK,)), ((ops.put(b"l", b"v"),), (CHECK,)), False),  # one writes what the other compares
        (((ops.put(b"m", b"v"),), (CHECK,)), ((ops.put(b"l", b"v"),), (CHECK,)), True),
        (((ops.put(b"l", b"v"),), (CHECK,)), ((PUT,),), False),
        (((PUT,),), ((ops.put(b"l", b"v"),), (ops.none_below(b"k"),)), False),
        (((ops.put(b"l", b"v"),), (ops.none_below(b"k"),)), ((ops.put(b"kk", b"v"),),), False),
        (((PUT,),), ((ops.delete(b"k"),),), False),
        (((PUT,),), ((ops.delete(b"l"),),), True),
        (((PUT,),), ((ops.delete_prefix(b"l"),),), False),
        (((PUT,),), ((ops.put(b"l", b"v", 7),),), False),  # whose lease may have ended, which would refuse all
        (((PUT,), (), b"r1"), ((ops.put(b"l", b"v"),), (), b"r2"), True),
        (((PUT,), (), b"r1"), ((ops.put(b"l", b"v"),), (), b"r1"), False),
        (((PUT,) * 100,), (tuple(ops.put(b"l%d" % i, b"v") for i in range(40)),), False),
        (((ops.put(b"k", b"v" * (1 << 20)),),), ((ops.put(b"l", b"v"),),), False),
    ],
)
async def test_only_what_is_in_nobodys_way_goes_together(
    first: tuple[Any, ...], second: tuple[Any, ...], goes: bool
) -> None:
    together = Together(0)
    assert together.takes(plan(*first))
    assert together.takes(plan(*second)) is goes
