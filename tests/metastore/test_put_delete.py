"""Put, DeleteRange and Compact."""

from __future__ import annotations

import pytest

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")

P, D, R = pb.PutRequest, pb.DeleteRangeRequest, pb.RangeRequest


async def test_revisions_and_versions_count_changes(metastore: Metastore) -> None:
    first = await metastore.put(P(key=b"k", value=b"1"))
    base = first.header.revision
    second = await metastore.put(P(key=b"k", value=b"2", prev_kv=True))
    assert not first.HasField("prev_kv")
    assert (second.prev_kv.value, second.prev_kv.version, second.prev_kv.mod_revision) == (b"1", 1, base)
    kv = (await metastore.range(R(key=b"k"))).kvs[0]
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.value) == (base, base + 1, 2, b"2")
    gone = await metastore.delete_range(D(key=b"k", prev_kv=True))
    assert (gone.deleted, gone.header.revision, gone.prev_kvs[0].value) == (1, base + 2, b"2")
    nothing = await metastore.delete_range(D(key=b"k", prev_kv=True))
    assert (nothing.deleted, nothing.header.revision, len(nothing.prev_kvs)) == (0, base + 2, 0)
    await metastore.put(P(key=b"k"))
    kv = (await metastore.range(R(key=b"k"))).kvs[0]
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.value) == (base + 3, base + 3, 1, b"")


async def test_a_delete_of_an_interval_is_one_revision(metastore: Metastore) -> None:
    for key in (b"a", b"b", b"c", b"d"):
        last = await metastore.put(P(key=key, value=key))
    answer = await metastore.delete_range(D(key=b"b", range_end=b"d", prev_kv=True))
    assert (answer.deleted, answer.header.revision) == (2, last.header.revision + 1)
    assert [kv.key for kv in answer.prev_kvs] == [b"b", b"c"]
    rest = await metastore.delete_range(D(key=b"\0", range_end=b"\0"))
    assert (rest.deleted, len(rest.prev_kvs)) == (2, 0)


async def test_ignore_value_and_ignore_lease_keep_what_is_there(metastore: Metastore) -> None:
    lease = (await metastore.lease_grant(pb.LeaseGrantRequest(TTL=60))).ID
    await metastore.put(P(key=b"k", value=b"v", lease=lease))
    await metastore.put(P(key=b"k", ignore_value=True, lease=lease))
    await metastore.put(P(key=b"k", value=b"w", ignore_lease=True))
    kv = (await metastore.range(R(key=b"k"))).kvs[0]
    assert (kv.value, kv.lease, kv.version) == (b"w", lease, 3)
    await metastore.put(P(key=b"k", value=b"x"))
    assert (await metastore.range(R(key=b"k"))).kvs[0].lease == 0
    await metastore.lease_revoke(pb.LeaseRevokeRequest(ID=lease))
    assert (await metastore.range(R(key=b"k"))).kvs[0].value == b"x"


REFUSED = [
    (P(key=b""), Fault.EMPTY_KEY),
    (P(key=b"k", ignore_value=True, value=b"v"), Fault.VALUE_PROVIDED),
    (P(key=b"k", ignore_lease=True, lease=5), Fault.LEASE_PROVIDED),
    (P(key=b"k", ignore_value=True), Fault.KEY_NOT_FOUND),
    (P(key=b"k", ignore_lease=True), Fault.KEY_NOT_FOUND),
    (P(key=b"k", lease=123456789), Fault.LEASE_NOT_FOUND),
    (P(key=b"k", value=b"x" * 1_600_000), Fault.REQUEST_TOO_LARGE),
]


@pytest.mark.parametrize(("request_", "fault"), REFUSED, ids=lambda v: v.name if isinstance(v, Fault) else "")
async def test_a_refused_put_changes_nothing(metastore: Metastore, request_: pb.PutRequest, fault: Fault) -> None:
    before = (await metastore.range(R(key=b"k"))).header.revision
    with pytest.raises(MetastoreError) as refused:
        await metastore.put(request_)
    assert (refused.value.fault, refused.value.code, refused.value.text) == (fault, fault.code, fault.text)
    after = await metastore.range(R(key=b"k"))
    assert (after.header.revision, after.count) == (before, 0)


async def test_a_delete_without_a_key_is_refused(metastore: Metastore) -> None:
    with pytest.raises(MetastoreError) as refused:
        await metastore.delete_range(D(range_end=b"\0"))
    assert refused.value.fault is Fault.EMPTY_KEY


async def test_a_request_of_a_megabyte_and_a_half_less_a_little_is_taken(metastore: Metastore) -> None:
    value = b"v" * (1536 * 1024 - 4096)
    await metastore.put(P(key=b"big", value=value))
    assert (await metastore.range(R(key=b"big"))).kvs[0].value == value


async def test_compaction_forgets_superseded_versions_only(metastore: Metastore) -> None:
    one = (await metastore.put(P(key=b"k", value=b"1"))).header.revision
    two = (await metastore.put(P(key=b"k", value=b"2"))).header.revision
    three = (await metastore.put(P(key=b"k", value=b"3"))).header.revision
    answer = await metastore.compact(pb.CompactionRequest(revision=two, physical=True))
    assert answer.header.revision == three
    assert (await metastore.range(R(key=b"k", revision=two))).kvs[0].value == b"2"
    assert (await metastore.range(R(key=b"k", revision=three))).kvs[0].value == b"3"
    for call, fault in (
        (metastore.range(R(key=b"k", revision=one)), Fault.COMPACTED),
        (metastore.compact(pb.CompactionRequest(revision=two)), Fault.COMPACTED),
        (metastore.compact(pb.CompactionRequest(revision=one)), Fault.COMPACTED),
        (metastore.compact(pb.CompactionRequest(revision=three + 1)), Fault.FUTURE_REVISION),
    ):
        with pytest.raises(MetastoreError) as refused:
            await call
        assert (refused.value.fault, refused.value.text) == (fault, fault.text)
