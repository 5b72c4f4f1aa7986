"""The same 10,000 generated requests over gRPC to real etcd and to three members: every answer equal, and HashKV."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from google.protobuf.message import Message
from grpc import aio
from harness.etcd import EtcdCluster
from harness.ops import requests
from harness.raftmeta import RaftmetaCluster

from raftmeta.drivers.remote import RemoteMetastore
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

pytestmark = [pytest.mark.peer, pytest.mark.slow]


async def _answer(store: RemoteMetastore, request: Message) -> str | Message:
    """Return a request's answer without what names the cluster; the error's text when it is refused."""
    try:
        answer: pb.PutResponse | pb.DeleteRangeResponse | pb.TxnResponse | pb.RangeResponse
        if isinstance(request, pb.PutRequest):
            answer = await store.put(request)
        elif isinstance(request, pb.DeleteRangeRequest):
            answer = await store.delete_range(request)
        elif isinstance(request, pb.TxnRequest):
            answer = await store.txn(request)
        else:
            assert isinstance(request, pb.RangeRequest)
            answer = await store.range(request)
    except MetastoreError as error:
        return f"{error.code} {error.text}"
    revision = answer.header.revision
    answer.header.Clear()
    answer.header.revision = revision
    return answer


async def _hash(endpoint: str) -> tuple[int, int]:
    async with aio.insecure_channel(endpoint) as channel:
        # a linearizable read brings the member up to date before its hash is taken
        await rpc.KVStub(channel).Range(pb.RangeRequest(key=b"x"))
        answer = await rpc.MaintenanceStub(channel).HashKV(pb.HashKVRequest())
        return answer.hash, answer.header.revision


@pytest.mark.timeout(600)
async def test_ten_thousand_requests_are_answered_alike_and_leave_the_same_hash(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", 1) as etcd, RaftmetaCluster(tmp_path / "ours", 3) as ours:
        theirs = RemoteMetastore(etcd.endpoints)
        mine = [RemoteMetastore([endpoint]) for endpoint in ours.endpoints]
        seed = 20250101
        for number, request in enumerate(requests(seed, 10_000)):
            expected, got = await asyncio.gather(_answer(theirs, request), _answer(mine[number % 3], request))
            assert got == expected, f"request {number} of seed {seed}: {request}"
        assert {await _hash(endpoint) for endpoint in ours.endpoints} == {await _hash(etcd.endpoints[0])}
        for store in (theirs, *mine):
            await store.close()
