"""Txn: compares, branches, nesting and the checks before anything happens."""

from __future__ import annotations

import pytest

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")

C, Op = pb.Compare, pb.RequestOp
R = pb.RangeRequest


def _put(key: bytes, value: bytes = b"", **options: int | bool) -> pb.RequestOp:
    return Op(request_put=pb.PutRequest(key=key, value=value, **options))  # type: ignore[arg-type]


def _get(key: bytes, end: bytes = b"", **options: int | bool) -> pb.RequestOp:
    return Op(request_range=R(key=key, range_end=end, **options))  # type: ignore[arg-type]


def _delete(key: bytes, end: bytes = b"", prev_kv: bool = False) -> pb.RequestOp:
    return Op(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end, prev_kv=prev_kv))


def _nested(*compare: pb.Compare, then: list[pb.RequestOp], orelse: list[pb.RequestOp] | None = None) -> pb.RequestOp:
    return Op(request_txn=pb.TxnRequest(compare=compare, success=then, failure=orelse or []))


COMPARES = [
    (C(key=b"k", target=C.VERSION, result=C.EQUAL, version=2), True),
    (C(key=b"k", target=C.VERSION, result=C.GREATER, version=1), True),
    (C(key=b"k", target=C.VERSION, result=C.LESS, version=2), False),
    (C(key=b"k", target=C.VERSION, result=C.NOT_EQUAL, version=2), False),
    (C(key=b"k", target=C.VALUE, result=C.EQUAL, value=b"v2"), True),
    (C(key=b"k", target=C.VALUE, result=C.GREATER, value=b"v1"), True),
    (C(key=b"k", target=C.VALUE, result=C.LESS, value=b"v1"), False),
    (C(key=b"k", target=C.VALUE, result=C.NOT_EQUAL, value=b"x"), True),
    (C(key=b"k", target=C.LEASE, result=C.EQUAL, lease=0), True),
    (C(key=b"k", target=C.CREATE, result=C.GREATER, create_revision=0), True),
    (C(key=b"k", target=C.MOD, result=C.EQUAL, mod_revision=0), False),
    (C(key=b"k", target=C.CREATE, result=C.EQUAL), False),
    (C(key=b"no", target=C.CREATE, result=C.EQUAL, create_revision=0), True),
    (C(key=b"no", target=C.VERSION, result=C.LESS, version=1), True),
    (C(key=b"no", target=C.MOD, result=C.GREATER, mod_revision=0), False),
    (C(key=b"no", target=C.LEASE, result=C.EQUAL, lease=0), True),
    (C(key=b"no", target=C.VALUE, result=C.NOT_EQUAL, value=b"x"), False),
    (C(key=b"no", target=C.VALUE, result=C.EQUAL, value=b""), False),
    (C(key=b"k", range_end=b"m", target=C.VALUE, result=C.GREATER, value=b"a"), True),
    (C(key=b"k", range_end=b"m", target=C.VERSION, result=C.EQUAL, version=2), False),
    (C(key=b"k", range_end=b"\0", target=C.VERSION, result=C.GREATER, version=0), True),
    (C(key=b"\0", range_end=b"\0", target=C.VERSION, result=C.GREATER, version=1), False),
    (C(key=b"x", range_end=b"z", target=C.VERSION, result=C.EQUAL, version=0), True),
    (C(key=b"x", range_end=b"z", target=C.VALUE, result=C.NOT_EQUAL, value=b"q"), False),
]


@pytest.mark.parametrize(("compare", "holds"), COMPARES, ids=range(len(COMPARES)))
async def test_a_compare_decides_the_branch(metastore: Metastore, compare: pb.Compare, holds: bool) -> None:
    for key, value in ((b"k", b"v1"), (b"k", b"v2"), (b"l", b"w")):
        await metastore.put(pb.PutRequest(key=key, value=value))
    answer = await metastore.txn(pb.TxnRequest(compare=[compare], success=[_put(b"yes")], failure=[_put(b"no")]))
    assert answer.succeeded is holds
    assert (await metastore.range(R(key=b"yes"))).count == int(holds)
    assert (await metastore.range(R(key=b"no"))).count == int(not holds)


async def test_operations_run_in_order_and_see_earlier_ones_in_one_revision(metastore: Metastore) -> None:
    await metastore.put(pb.PutRequest(key=b"z", value=b"last"))
    before = (await metastore.put(pb.PutRequest(key=b"a", value=b"old"))).header.revision
    answer = await metastore.txn(
        pb.TxnRequest(
            success=[
                _put(b"a", b"new", prev_kv=True),
                _get(b"a"),
                _delete(b"z", prev_kv=True),
                _get(b"z"),
                _put(b"b", b"1"),
                _get(b"\0", b"\0", revision=before),
            ]
        )
    )
    put, got, gone, missing, _, past = answer.responses
    assert put.response_put.prev_kv.value == b"old"
    assert (got.response_range.kvs[0].value, got.response_range.kvs[0].mod_revision) == (b"new", before + 1)
    assert (gone.response_delete_range.deleted, gone.response_delete_range.prev_kvs[0].value) == (1, b"last")
    assert missing.response_range.count == 0
    assert [kv.key for kv in past.response_range.kvs] == [b"a", b"z"]
    assert answer.header.revision == before + 1
    inner = got.response_range.header
    assert (inner.cluster_id, inner.member_id, inner.raft_term, inner.revision) == (0, 0, 0, before + 1)


async def test_every_compare_is_evaluated_before_any_operation(metastore: Metastore) -> None:
    absent = C(key=b"a", target=C.VERSION, result=C.EQUAL, version=0)
    answer = await metastore.txn(
        pb.TxnRequest(success=[_put(b"a"), _nested(absent, then=[_put(b"inner")], orelse=[_get(b"a")])])
    )
    inner = answer.responses[1].response_txn
    assert inner.succeeded
    assert inner.responses[0].WhichOneof("response") == "response_put"
    assert (await metastore.range(R(key=b"inner"))).kvs[0].mod_revision == answer.header.revision


async def test_a_txn_that_only_reads_makes_no_revision(metastore: Metastore) -> None:
    before = (await metastore.put(pb.PutRequest(key=b"a", value=b"1"))).header.revision
    for serializable in (False, True):
        answer = await metastore.txn(pb.TxnRequest(success=[_get(b"a", serializable=serializable)]))
        assert answer.header.revision == before
        assert answer.responses[0].response_range.kvs[0].value == b"1"
    empty = await metastore.txn(pb.TxnRequest())
    assert (empty.succeeded, len(empty.responses), empty.header.revision) == (True, 0, before)


async def test_a_branch_that_changes_nothing_makes_no_revision(metastore: Metastore) -> None:
    before = (await metastore.put(pb.PutRequest(key=b"a"))).header.revision
    answer = await metastore.txn(pb.TxnRequest(success=[_delete(b"x", b"z")], failure=[_put(b"a")]))
    assert answer.header.revision == before
    assert answer.responses[0].response_delete_range.deleted == 0


REFUSED = [
    ("two puts of a key", pb.TxnRequest(success=[_put(b"a"), _put(b"a")]), Fault.DUPLICATE_KEY),
    ("a put under a delete", pb.TxnRequest(success=[_delete(b"a", b"c"), _put(b"b")]), Fault.DUPLICATE_KEY),
    ("a put under a nested put", pb.TxnRequest(failure=[_put(b"a"), _nested(then=[_put(b"a")])]), Fault.DUPLICATE_KEY),
    ("a put under a nested delete", pb.TxnRequest(success=[_put(b"a"), _nested(then=[], orelse=[_delete(b"a")])]), Fault.DUPLICATE_KEY),
    ("129 operations", pb.TxnRequest(success=[_put(b"%d" % i) for i in range(129)]), Fault.TOO_MANY_OPS),
    ("129 compares", pb.TxnRequest(compare=[C(key=b"a", target=C.VERSION, version=0)] * 129), Fault.TOO_MANY_OPS),
    ("127 and two nested", pb.TxnRequest(success=[*[_put(b"%d" % i) for i in range(127)], _nested(then=[_put(b"x"), _put(b"y")])]), Fault.TOO_MANY_OPS),
    ("an empty key", pb.TxnRequest(success=[_put(b"")]), Fault.EMPTY_KEY),
    ("an empty compare", pb.TxnRequest(compare=[C(target=C.VERSION)]), Fault.EMPTY_KEY),
    ("an empty nested range", pb.TxnRequest(success=[_nested(then=[_get(b"")])]), Fault.EMPTY_KEY),
    ("a value to ignore", pb.TxnRequest(success=[_put(b"a", b"v", ignore_value=True)]), Fault.VALUE_PROVIDED),
    ("a lease to ignore", pb.TxnRequest(success=[_put(b"a", lease=7, ignore_lease=True)]), Fault.LEASE_PROVIDED),
    ("a missing lease", pb.TxnRequest(success=[_put(b"a"), _put(b"b", lease=987654321)]), Fault.LEASE_NOT_FOUND),
    ("a missing key", pb.TxnRequest(success=[_put(b"a"), _put(b"b", ignore_value=True)]), Fault.KEY_NOT_FOUND),
    ("a future revision", pb.TxnRequest(success=[_put(b"a"), _get(b"b", revision=1 << 60)]), Fault.FUTURE_REVISION),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "fault"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_a_refused_txn_changes_nothing(metastore: Metastore, request_: pb.TxnRequest, fault: Fault) -> None:
    before = (await metastore.range(R(key=b"a"))).header.revision
    with pytest.raises(MetastoreError) as refused:
        await metastore.txn(request_)
    assert (refused.value.fault, refused.value.code, refused.value.text) == (fault, fault.code, fault.text)
    after = await metastore.range(R(key=b"\0", range_end=b"\0"))
    assert (after.header.revision, after.count) == (before, 0)


async def test_128_operations_and_overlapping_deletes_are_taken(metastore: Metastore) -> None:
    answer = await metastore.txn(pb.TxnRequest(success=[_put(b"%03d" % i) for i in range(128)]))
    assert len(answer.responses) == 128
    answer = await metastore.txn(
        pb.TxnRequest(success=[_delete(b"0", b"1"), _delete(b"0", b"2")], failure=[_put(b"0")])
    )
    assert [r.response_delete_range.deleted for r in answer.responses] == [100, 28]


async def test_the_branch_not_taken_may_name_a_missing_lease(metastore: Metastore) -> None:
    answer = await metastore.txn(pb.TxnRequest(success=[_put(b"a")], failure=[_put(b"a", lease=987654321)]))
    assert answer.succeeded
