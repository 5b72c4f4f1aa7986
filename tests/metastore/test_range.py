"""Range: intervals, limits, sorting, filters, revisions and refusals."""

from __future__ import annotations

import grpc
import pytest

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")

R = pb.RangeRequest


async def _fill(store: Metastore) -> int:
    """Keys a to e in the order c, a, e, b, d; a is written three times. Returns the revision before."""
    before = (await store.range(R(key=b"none"))).header.revision
    for key, value in (
        (b"c", b"5"),
        (b"a", b"1"),
        (b"e", b"2"),
        (b"b", b"4"),
        (b"d", b"3"),
        (b"a", b"9"),
        (b"a", b"0"),
    ):
        await store.put(pb.PutRequest(key=key, value=value))
    return before


def _keys(answer: pb.RangeResponse) -> bytes:
    return b"".join(kv.key for kv in answer.kvs)


INTERVALS = [
    (b"a", b"", b"a"),
    (b"x", b"", b""),
    (b"a", b"c", b"ab"),
    (b"b", b"\0", b"bcde"),
    (b"\0", b"\0", b"abcde"),
    (b"\0", b"c", b"ab"),
    (b"c", b"c", b""),
    (b"d", b"a", b""),
    (b"aa", b"dd", b"bcd"),
    (b"d", b"d\0", b"d"),
    (b"\xff", b"\0", b""),
]


@pytest.mark.parametrize(("key", "end", "expected"), INTERVALS)
async def test_a_range_returns_the_keys_of_its_interval_in_order(
    metastore: Metastore, key: bytes, end: bytes, expected: bytes
) -> None:
    await _fill(metastore)
    answer = await metastore.range(R(key=key, range_end=end))
    assert (_keys(answer), answer.count, answer.more) == (expected, len(expected), False)


OPTIONS = [
    (R(limit=2), b"ab", 5, True),
    (R(limit=5), b"abcde", 5, False),
    (R(limit=-1), b"abcde", 5, False),
    (R(count_only=True), b"", 5, False),
    (R(count_only=True, limit=2), b"", 5, False),
    (R(sort_order=R.DESCEND), b"edcba", 5, False),
    (R(sort_order=R.ASCEND, sort_target=R.VERSION), b"bcdea", 5, False),
    (R(sort_order=R.ASCEND, sort_target=R.CREATE), b"caebd", 5, False),
    (R(sort_order=R.DESCEND, sort_target=R.CREATE, limit=1), b"d", 5, True),
    (R(sort_order=R.ASCEND, sort_target=R.MOD), b"cebda", 5, False),
    (R(sort_order=R.DESCEND, sort_target=R.MOD, limit=2), b"ad", 5, True),
    (R(sort_order=R.ASCEND, sort_target=R.VALUE), b"aedbc", 5, False),
    (R(sort_order=R.NONE, sort_target=R.MOD), b"cebda", 5, False),
    (R(sort_order=R.NONE, sort_target=R.VALUE, limit=2), b"ab", 5, True),
    (R(serializable=True), b"abcde", 5, False),
]


@pytest.mark.parametrize(("options", "keys", "count", "more"), OPTIONS)
async def test_a_range_sorts_and_limits(
    metastore: Metastore, options: pb.RangeRequest, keys: bytes, count: int, more: bool
) -> None:
    await _fill(metastore)
    request = R(key=b"a", range_end=b"f")
    request.MergeFrom(options)
    if options.serializable:
        await metastore.range(R(key=b"a"))
    answer = await metastore.range(request)
    assert (_keys(answer), answer.count, answer.more) == (keys, count, more)


async def test_keys_only_leaves_the_values_out(metastore: Metastore) -> None:
    before = await _fill(metastore)
    answer = await metastore.range(R(key=b"a", range_end=b"c", keys_only=True))
    assert [(kv.key, kv.value, kv.version, kv.mod_revision - before) for kv in answer.kvs] == [
        (b"a", b"", 3, 7),
        (b"b", b"", 1, 4),
    ]


FILTERS = [
    ("min_mod_revision", 5, b"ad"),
    ("max_mod_revision", 4, b"bce"),
    ("min_create_revision", 4, b"bd"),
    ("max_create_revision", 2, b"ac"),
]


@pytest.mark.parametrize(("name", "revision", "keys"), FILTERS)
async def test_revision_filters_choose_keys_but_do_not_change_the_count(
    metastore: Metastore, name: str, revision: int, keys: bytes
) -> None:
    before = await _fill(metastore)
    request = R(key=b"a", range_end=b"f")
    setattr(request, name, before + revision)
    answer = await metastore.range(request)
    assert (_keys(answer), answer.count) == (keys, 5)
    request.limit = 1
    answer = await metastore.range(request)
    assert (_keys(answer), answer.count, answer.more) == (keys[:1], 5, True)


async def test_the_past_is_readable_at_each_revision(metastore: Metastore) -> None:
    before = await _fill(metastore)
    await metastore.delete_range(pb.DeleteRangeRequest(key=b"c"))
    seen = []
    for revision in range(before + 1, before + 9):
        answer = await metastore.range(R(key=b"a", range_end=b"f", revision=revision))
        seen.append(_keys(answer))
        assert answer.header.revision == before + 8
    assert seen == [b"c", b"ac", b"ace", b"abce", b"abcde", b"abcde", b"abcde", b"abde"]
    old = await metastore.range(R(key=b"a", revision=before + 6))
    assert (old.kvs[0].value, old.kvs[0].version) == (b"9", 2)


async def test_a_negative_revision_means_the_latest(metastore: Metastore) -> None:
    await _fill(metastore)
    assert _keys(await metastore.range(R(key=b"a", range_end=b"f", revision=-7))) == b"abcde"


async def test_a_future_revision_is_refused(metastore: Metastore) -> None:
    before = await _fill(metastore)
    with pytest.raises(MetastoreError) as refused:
        await metastore.range(R(key=b"a", revision=before + 8))
    assert (refused.value.code, refused.value.text, refused.value.fault) == (
        grpc.StatusCode.OUT_OF_RANGE,
        "etcdserver: mvcc: required revision is a future revision",
        Fault.FUTURE_REVISION,
    )


@pytest.mark.parametrize("end", [b"", b"x"])
async def test_an_empty_key_is_refused(metastore: Metastore, end: bytes) -> None:
    with pytest.raises(MetastoreError) as refused:
        await metastore.range(R(key=b"", range_end=end))
    assert (refused.value.code, refused.value.text) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: key is not provided",
    )


async def test_keys_are_bytes_of_any_length_and_value(metastore: Metastore) -> None:
    keys = [
        b"\x00",
        b"\x00\x00",
        b"k" * 511,
        b"k" * 512,
        b"k" * 4000,
        b"k" * 4000 + b"\0",
        "ключ".encode(),
        b"\xff",
        b"\xff\xff",
    ]
    for i, key in enumerate(keys):
        await metastore.put(pb.PutRequest(key=key, value=b"%d" % i))
    answer = await metastore.range(R(key=b"\0", range_end=b"\0"))
    assert [kv.key for kv in answer.kvs] == sorted(keys)
    for i, key in enumerate(keys):
        assert (await metastore.range(R(key=key))).kvs[0].value == b"%d" % i


async def test_every_answer_carries_a_full_header(metastore: Metastore) -> None:
    put = await metastore.put(pb.PutRequest(key=b"h"))
    got = await metastore.range(R(key=b"h"))
    assert put.header.cluster_id == got.header.cluster_id != 0
    assert put.header.member_id == got.header.member_id != 0
    assert got.header.raft_term >= 1
    assert put.header.revision == got.header.revision == got.kvs[0].mod_revision
