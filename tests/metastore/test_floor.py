"""Floors: a store that knows them keeps history for who needs it, one that does not says so."""

from __future__ import annotations

import pytest

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _value(metastore: Metastore, key: bytes, revision: int) -> bytes:
    return (await metastore.range(pb.RangeRequest(key=key, revision=revision))).kvs[0].value


async def test_history_is_kept_from_a_floor_on_or_the_store_says_that_it_is_not(metastore: Metastore) -> None:
    key = b"floor"
    revisions = [(await metastore.put(pb.PutRequest(key=key, value=b"%d" % at))).header.revision for at in range(4)]
    holds = await metastore.set_floor("test", revisions[1])
    await metastore.compact(pb.CompactionRequest(revision=revisions[3]))
    if not holds:
        with pytest.raises(MetastoreError) as caught:
            await _value(metastore, key, revisions[1])
        assert caught.value.fault is Fault.COMPACTED
        return
    assert await _value(metastore, key, revisions[1]) == b"1"
    with pytest.raises(MetastoreError) as caught:
        await metastore.set_floor("late", revisions[0])
    assert caught.value.fault is Fault.COMPACTED
    await metastore.set_floor("test", 0)
    await metastore.compact(pb.CompactionRequest(revision=revisions[3]))
    with pytest.raises(MetastoreError):
        await _value(metastore, key, revisions[1])
