"""Plain puts take a short way through the machine: it must lead exactly where the general one does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.machines import MAP_SIZE, Feed, command
from harness.operations import Operations

from raftmeta.consensus.contract import Entry
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine, checks, plain
from raftmeta.machine.writes import SpaceWriter
from raftmeta.store import Store
from raftmeta.store.buffer import Buffer
from raftmeta.store.layout import PREFIX
from raftmeta.store.plain import PlainPut
from raftmeta.v1 import command_pb2

KEYS = [b"k%d" % number for number in range(30)] + [b"k" * 127, b"k" * 128, b"k" * PREFIX, b"k" * (PREFIX + 1), b"\0"]
VALUES = (b"", b"v", b"v" * 127, b"v" * 128, b"v" * 900, b"v" * 1_100, b"v" * 16_383, b"v" * 16_384)
LEASE, LARGE = 5, (1 << 63) - 1


def put_request(dice: random.Random, key: bytes) -> pb.PutRequest:
    """Draw a put, mostly a plain one."""
    request = pb.PutRequest(key=key, value=dice.choice(VALUES[:3] if dice.random() < 0.8 else VALUES))
    if dice.random() < 0.04:
        request.lease = dice.choice((LEASE, 6))
    if dice.random() < 0.02:
        request.prev_kv = True
    if dice.random() < 0.01:
        request.ignore_lease = True
    if dice.random() < 0.01:
        request.MergeFromString(b"\xa0\x06\x01")  # a field that nobody knows
    return request


def txn(dice: random.Random) -> pb.TxnRequest:
    """Draw a transaction, mostly of plain puts of different keys."""
    keys = dice.sample(KEYS, dice.choice((1, 2, 5, 20)))
    if dice.random() < 0.05:
        keys.append(dice.choice(keys))
    request = pb.TxnRequest(success=[pb.RequestOp(request_put=put_request(dice, key)) for key in keys])
    if dice.random() < 0.05:
        request.failure.add().request_put.key = b"k1"
    if dice.random() < 0.05:
        request.compare.add(key=b"k1", target=pb.Compare.VERSION, version=1)
    if dice.random() < 0.05:
        request.success.add().request_delete_range.key = b"k2"
    if dice.random() < 0.05:
        request.success.add()
    return request


def guard(dice: random.Random, request: pb.TxnRequest) -> None:
    """Have a transaction compare something first, mostly as a service of files does, and read what it compared else."""
    for _ in range(dice.choice((1, 1, 2))):
        key = dice.choice((*KEYS, *KEYS, b"none", b"none", b"none", b"")) if dice.random() < 0.3 else b"none"
        compare = request.compare.add(key=key, target=dice.choice((pb.Compare.CREATE, pb.Compare.MOD)))
        if dice.random() < 0.1:
            compare.result = pb.Compare.GREATER
        if dice.random() < 0.05:
            compare.range_end = b"z"
        if dice.random() < 0.5:
            request.failure.add().request_range.key = compare.key
    if dice.random() < 0.05:
        request.failure.add().request_range.sort_target = 77  # type: ignore[assignment]
    if dice.random() < 0.4:  # what such a service writes, and the record of a request id
        del request.success[:]
        for key in dice.sample(KEYS[:30], 3):
            request.success.add(request_put=pb.PutRequest(key=key, value=b"v"))
        request.success[2].request_put.lease = dice.choice((LEASE, LEASE, LEASE, LEASE, LARGE, 6, -1))


def batch(dice: random.Random, operations: Operations) -> list[command_pb2.Command]:
    """Draw the commands of an entry."""
    commands = []
    for _ in range(dice.choice((1, 2, 6))):
        draw = dice.random()
        if draw < 0.35:
            request_ = txn(dice)
            if dice.random() < 0.7:
                guard(dice, request_)
            one = command(request_)
        elif draw < 0.6:
            one = command(put_request(dice, dice.choice(KEYS)))
        elif draw < 0.65:
            lease = dice.choice((LEASE, LEASE, LARGE))
            one = command(pb.LeaseGrantRequest(ID=lease, TTL=1000) if draw < 0.645 else pb.LeaseRevokeRequest(ID=lease))
        elif draw < 0.69:
            action = pb.AlarmRequest.ACTIVATE if draw < 0.654 else pb.AlarmRequest.DEACTIVATE
            one = command(pb.AlarmRequest(action=action, memberID=1, alarm=pb.NOSPACE))
        elif draw < 0.71:
            one = command(pb.CompactionRequest(revision=max(operations.current - 5, 1)))
        elif draw < 0.75:
            one = command(pb.DeleteRangeRequest(key=dice.choice(KEYS), range_end=dice.choice((b"", b"k2"))))
        else:
            request = operations()
            if isinstance(request, pb.RangeRequest | pb.HashKVRequest):
                continue
            one = command(request)
        one.space = int(dice.random() < 0.1)
        commands.append(one)
    return commands


@contextmanager
def opened(directory: Path) -> Iterator[Machine]:
    """Open a machine whose store writes to its file when it is told to."""
    under_test = Machine(Store(directory, map_size=MAP_SIZE, interval=3600.0))
    try:
        yield under_test
    finally:
        under_test.close()


def tables(under_test: Machine) -> list[list[tuple[bytes, bytes]]]:
    """Return every row of every table, those in LMDB and those that are not there yet."""
    with under_test._store.read() as view:
        return [list(view.rows(table, b"\0")) for table in view.tables.all]


def memory(under_test: Machine) -> list[int]:
    """Return how much memory the buffers of its store believe to take."""
    return [buffer.size for buffer in under_test._store._environment._front[1]]


def begin_flush(under_test: Machine) -> None:
    """Leave the store as it is while a flush goes on: with an older buffer, whose rows are not in LMDB yet."""
    environment = under_test._store._environment
    step, buffers = environment._front
    environment._front = step, (Buffer(buffers[0].generation + 1, len(environment.tables.all)), *buffers)


def rows_in_file(under_test: Machine) -> list[list[tuple[bytes, bytes]]]:
    """Return every row that LMDB has."""
    with under_test._store.read() as view:
        return [list(view.txn.cursor(table.handle)) for table in view.tables.all]


@pytest.mark.parametrize("seed", range(6))
def test_the_short_way_leaves_the_same_bytes_and_tells_the_same_as_the_general_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice, operations = random.Random(seed), Operations(seed)
    taken = guarded = leased = 0

    def counted_guards(request: pb.TxnRequest, way: object = plain.guarded_puts) -> object:
        nonlocal guarded
        found = way(request)  # type: ignore[operator]
        guarded += found is not None
        return found

    def counted(writer: SpaceWriter, puts: list[PlainPut], way: object = plain.run_plain) -> object:
        nonlocal taken, leased
        taken += 1
        leased += any(put[3] for put in puts)
        return way(writer, puts)  # type: ignore[operator]

    with opened(tmp_path / "short") as short, opened(tmp_path / "general") as general:
        quick, slow = Feed(short), Feed(general)
        index = 0
        for number in range(100):
            entries: list[Entry] = []
            for _ in range(dice.choice((1, 1, 3))):
                index += 1
                commands = batch(dice, operations)
                entries.append(
                    Entry(index, 1, command_pb2.Batch(client=7, sequence=index, commands=commands).SerializeToString())
                )
            with monkeypatch.context() as patched:
                patched.setattr(plain, "run_plain", counted)
                patched.setattr(plain, "guarded_puts", counted_guards)
                short.apply(entries)
            with monkeypatch.context() as patched:
                patched.setattr(plain, "plain_put", lambda _: None)
                patched.setattr(plain, "plain_puts", lambda _: None)
                patched.setattr(plain, "guarded_puts", lambda _: None)
                general.apply(entries)
            operations.current, operations.compacted = short.revisions(0)
            assert quick.steps[-1] == slow.steps[-1]
            assert short._window._index == general._window._index
            if dice.random() < 0.3:
                assert tables(short) == tables(general)
                assert memory(short) == memory(general)
            if number % 7 == 3:
                begin_flush(short)
                begin_flush(general)
            elif number % 7 == 6:
                short._store.flush()
                general._store.flush()
                assert rows_in_file(short) == rows_in_file(general)
            for space in (0, 1):
                everything = pb.RangeRequest(key=b"\0", range_end=b"\0", count_only=True)
                assert short.range(space, everything) == general.range(space, everything)
        assert taken > 50, "few went the short way: that proves little"
        assert guarded > 10, "few of them compared anything"
        assert leased > 5, "few of them had leases"
        assert short.hash_kv(0, 0) == general.hash_kv(0, 0)


@pytest.mark.parametrize(
    "request_",
    [
        pb.PutRequest(),
        pb.PutRequest(key=b"k"),
        pb.PutRequest(key=b"k" * (PREFIX + 1), value=b"v"),
        pb.PutRequest(key=b"k" * 20_000, value=b"v"),
        pb.PutRequest(key=b"k", value=b"v" * 16_384),
        pb.PutRequest(key=b"k", value=b"v", lease=1),
        pb.PutRequest(key=b"k", value=b"v", prev_kv=True),
        pb.PutRequest(key=b"k", value=b"v", ignore_value=True),
        pb.PutRequest(key=b"k", ignore_value=True),
        pb.PutRequest(key=b"k", value=b"v", ignore_lease=True),
        pb.PutRequest.FromString(b"\x0a\x01k\x12\x01v\xa0\x06\x01"),
    ],
)
def test_whatever_is_unusual_is_left_to_the_general_way(request_: pb.PutRequest) -> None:
    assert plain.plain_put(request_) is None
    usual = pb.RequestOp(request_put=pb.PutRequest(key=b"usual", value=b"v"))
    assert plain.plain_puts(pb.TxnRequest(success=[usual])) is not None
    assert plain.plain_puts(pb.TxnRequest(success=[usual, pb.RequestOp(request_put=request_)])) is None


@pytest.mark.parametrize("length", [1, 126, 127, 128, 300, PREFIX])
@pytest.mark.parametrize("size", [1, 127, 128, 16_383])
def test_plain_puts_of_any_usual_length_are_read_as_their_message_reads_them(length: int, size: int) -> None:
    requests = [pb.PutRequest(key=b"%c" % first + b"k" * (length - 1), value=b"v" * size) for first in b"ab"]
    puts = plain.plain_puts(pb.TxnRequest(success=[pb.RequestOp(request_put=one) for one in requests]))
    if size > 16_000:
        assert puts is None or len(puts) == 2  # with its key such an operation may be longer than the short way reads
    else:
        assert puts is not None
        assert puts == [plain.plain_put(one) for one in requests]
    for request in requests:
        put = plain.plain_put(request)
        assert put is not None
        key, key_field, value, lease = put
        assert (key, lease) == (request.key, 0)
        assert pb.PutRequest.FromString(key_field + b"\x12" + value) == request


@pytest.mark.parametrize(
    "request_",
    [
        pb.TxnRequest(),
        pb.TxnRequest(success=[pb.RequestOp()]),
        pb.TxnRequest(success=[pb.RequestOp(request_range=pb.RangeRequest(key=b"k"))]),
        pb.TxnRequest.FromString(
            pb.TxnRequest(success=[pb.RequestOp(request_put=pb.PutRequest(key=b"k", value=b"v"))]).SerializeToString()
            + b"\xa0\x06\x01"
        ),
        pb.TxnRequest(success=[pb.RequestOp(request_put=pb.PutRequest(key=b"k", value=b"v"))] * 2),
        pb.TxnRequest(
            success=[pb.RequestOp(request_put=pb.PutRequest(key=b"k%d" % n, value=b"v")) for n in range(129)]
        ),
    ],
)
def test_a_transaction_of_anything_but_plain_puts_is_left_to_the_general_way(request_: pb.TxnRequest) -> None:
    assert plain.plain_puts(request_) is None


@pytest.mark.parametrize("revision", [2, 127, 128, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize("puts", [1, 2, 100, 128])
def test_the_answer_is_the_one_the_general_way_builds(revision: int, puts: int) -> None:
    wanted = pb.TxnResponse(succeeded=True)
    wanted.header.revision = revision
    for _ in range(puts):
        wanted.responses.add().response_put.header.revision = revision
    assert plain.txn_answer(revision, puts) == wanted
    assert plain.txn_answer(revision, puts).SerializeToString() == wanted.SerializeToString()


def test_bytes_taken_for_a_plain_put_are_one_whatever_they_are() -> None:
    dice = random.Random(20)
    taken = 0
    for _ in range(20_000):
        whole = put_request(dice, dice.choice([*KEYS, b""])).SerializeToString()
        data = bytearray(whole[: dice.choice((len(whole), len(whole), dice.randrange(len(whole) + 1)))])
        for _ in range(dice.choice((0, 0, 1, 2))):
            if data:
                data[dice.randrange(min(len(data), 8))] = dice.choice((0, 1, 0x0A, 0x12, 0x7F, 0x80, 0xFF))
        if plain.is_plain_put(bytes(data)):
            taken += 1
            request = pb.PutRequest.FromString(bytes(data))
            assert request == pb.PutRequest(key=request.key, value=request.value)
            assert 0 < len(request.key) <= PREFIX
    assert 2_000 < taken < 18_000


def test_bytes_taken_for_plain_puts_are_a_transaction_of_them_whatever_they_are() -> None:
    dice = random.Random(21)
    taken = 0
    for _ in range(20_000):
        data = bytearray(txn(dice).SerializeToString())
        if dice.random() < 0.2:
            del data[dice.randrange(len(data) + 1) :]
        for _ in range(dice.choice((0, 0, 1, 2))):
            if data:
                data[dice.randrange(min(len(data), 30))] = dice.choice((0, 1, 0x0A, 0x12, 0x1A, 0x7F, 0x80, 0xFF))
        puts = plain.read_puts(bytes(data))
        if puts is not None:
            taken += 1
            request = pb.TxnRequest.FromString(bytes(data))
            checks.check_txn(request)
            again = [pb.RequestOp(request_put=op.request_put) for op in request.success]
            assert request == pb.TxnRequest(success=again)
            assert [put[0] for put in puts] == [op.request_put.key for op in request.success]
            values = [op.request_put.value for op in request.success]
            assert again == [
                pb.RequestOp(request_put=pb.PutRequest(key=put[0], value=value))
                for put, value in zip(puts, values, strict=True)
            ]
            assert all(
                put[2].endswith(value) and put[1].endswith(put[0]) for put, value in zip(puts, values, strict=True)
            )
    assert 2_000 < taken < 18_000
