"""Txn: compares of the whole tree first, then the checks, then the operations in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2 as kv
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine.ranges import encode_range, find, read_range, revisions
from raftmeta.machine.wire import varint
from raftmeta.machine.writes import SpaceWriter
from raftmeta.store.layout import Slot
from raftmeta.store.view import SpaceState, View

_ABSENT = kv.KeyValue()


class Path(NamedTuple):
    """Which way a transaction goes.

    Attributes:
        succeeded: Its compares held.
        ops: The operations of that branch, each with its kind.
        nested: The paths of the transactions among them, in order.
    """

    succeeded: bool
    ops: Sequence[tuple[str | None, pb.RequestOp]]
    nested: list[Path]


def holds(view: View, space: int, request: pb.TxnRequest, current: int) -> bool:
    """Tell whether all compares of a transaction hold, those of nested ones aside."""
    return all(_holds(view, space, compare, current) for compare in request.compare)


def choose(view: View, space: int, request: pb.TxnRequest, current: int) -> Path:
    """Evaluate the compares of a transaction and of the nested ones it will run, all against the same state."""
    succeeded = holds(view, space, request, current)
    ops = [(op.WhichOneof("request"), op) for op in (request.success if succeeded else request.failure)]
    nested = [choose(view, space, op.request_txn, current) for kind, op in ops if kind == "request_txn"]
    return Path(succeeded, ops, nested)


def check_puts(view: View, space: int, path: Path) -> None:
    """Raise KEY_NOT_FOUND or LEASE_NOT_FOUND for a put on the path that cannot be done."""
    for kind, op in _operations(path):
        if kind == "request_put":
            put = op.request_put
            if put.ignore_value or put.ignore_lease:
                slot = view.slot(space, put.key)
                if slot is None or not slot.alive:
                    raise MetastoreError(Fault.KEY_NOT_FOUND)
            if put.lease and view.lease(space, put.lease) is None:
                raise MetastoreError(Fault.LEASE_NOT_FOUND)


def check_ranges(path: Path, state: SpaceState) -> None:
    """Raise FUTURE_REVISION or COMPACTED for a range on the path; stricter about negative revisions than Range is."""
    for kind, op in _operations(path):
        if kind == "request_range":
            revision = op.request_range.revision
            if revision > state.current:
                raise MetastoreError(Fault.FUTURE_REVISION)
            if revision != 0 and revision < state.compacted:
                raise MetastoreError(Fault.COMPACTED)


def run(writer: SpaceWriter, path: Path) -> pb.TxnResponse:
    """Run the operations of a checked path; nested answers have an empty header, the caller fills the outer one."""
    response = pb.TxnResponse(succeeded=path.succeeded)
    response.header.SetInParent()
    nested = iter(path.nested)
    main = writer.state.current + 1
    for kind, op in path.ops:
        answer = response.responses.add()
        if kind == "request_put":
            previous = writer.put(op.request_put)
            done = answer.response_put
            done.header.revision = main
            if previous is not None:
                done.prev_kv.MergeFromString(previous)
        elif kind == "request_range":
            state = writer.state
            found = read_range(writer.view, writer.space, op.request_range, writer.revision, state.compacted)
            answer.response_range.CopyFrom(found)
        elif kind == "request_delete_range":
            answer.response_delete_range.CopyFrom(writer.delete_range(op.request_delete_range))
        else:
            answer.response_txn.CopyFrom(run(writer, next(nested)))
    return response


def read(view: View, space: int, request: pb.TxnRequest, state: SpaceState) -> pb.TxnResponse:
    """Answer a transaction that only reads.

    Raises:
        MetastoreError: FUTURE_REVISION, COMPACTED.
    """
    path = choose(view, space, request, state.current)
    check_ranges(path, state)
    header = pb.ResponseHeader(revision=state.current)
    response = pb.TxnResponse(header=header, succeeded=path.succeeded)
    encoded, parts = header.SerializeToString(), list[bytes]()
    for _, op in path.ops:  # in bytes that are read at once: a message for each would cost more than looking it up
        found = find(view, space, op.request_range, state.current, state.compacted)
        assert found is not None
        body = encode_range(found, encoded)
        answer = b"\x0a" + varint(len(body)) + body  # of a ResponseOp the field response_range
        parts += b"\x1a", varint(len(answer)), answer  # of the TxnResponse the repeated field responses
    response.MergeFromString(b"".join(parts))
    return response


def puts_something(request: pb.TxnRequest) -> bool:
    """Tell whether any branch, at any depth, holds a put."""
    return any(
        op.WhichOneof("request") == "request_put"
        or (op.WhichOneof("request") == "request_txn" and puts_something(op.request_txn))
        for branch in (request.success, request.failure)
        for op in branch
    )


def _operations(path: Path) -> Iterator[tuple[str | None, pb.RequestOp]]:
    nested = iter(path.nested)
    for kind, op in path.ops:
        if kind == "request_txn":
            yield from _operations(next(nested))
        else:
            yield kind, op


def _holds(view: View, space: int, compare: pb.Compare, current: int) -> bool:
    """Compare every key of the range, stopping at the first that does not hold; an absent key counts as all zeros."""
    if not compare.range_end and compare.target in _IN_SLOT:  # of one key the index has all but the value
        slot = view.slot(space, compare.key)
        if slot is None or slot.main <= current:
            has, wanted = _IN_SLOT[compare.target]
            left = has(slot) if slot is not None and slot.alive else 0
            return _stands(compare.result, left, wanted(compare))
    empty = True
    for revision in revisions(view, space, compare.key, compare.range_end, current):
        empty = False
        if not _holds_for(compare, kv.KeyValue.FromString(view.record(space, revision))):
            return False
    if empty:
        # no value is not the empty value: it equals nothing and differs from nothing
        return compare.target != pb.Compare.VALUE and _holds_for(compare, _ABSENT)
    return True


def _holds_for(compare: pb.Compare, item: kv.KeyValue) -> bool:
    target = compare.target
    left: int | bytes
    right: int | bytes
    if target == pb.Compare.VALUE:
        left, right = item.value, compare.value
        sign = (left > right) - (left < right)
    else:
        if target == pb.Compare.VERSION:
            left, right = item.version, compare.version
        elif target == pb.Compare.CREATE:
            left, right = item.create_revision, compare.create_revision
        elif target == pb.Compare.MOD:
            left, right = item.mod_revision, compare.mod_revision
        elif target == pb.Compare.LEASE:
            left, right = item.lease, compare.lease
        else:
            left = right = 0  # a target nobody knows equals whatever it is compared with
        sign = (left > right) - (left < right)
    return _stands(compare.result, sign, 0)


def _stands(result: pb.Compare.CompareResult.ValueType, left: int, right: int) -> bool:
    """Tell whether `left` compares with `right` as demanded; a demand that nobody knows is met."""
    if result == pb.Compare.EQUAL:
        return left == right
    if result == pb.Compare.NOT_EQUAL:
        return left != right
    if result == pb.Compare.GREATER:
        return left > right
    if result == pb.Compare.LESS:
        return left < right
    return True


_IN_SLOT: dict[int, tuple[Callable[[Slot], int], Callable[[pb.Compare], int]]] = {
    pb.Compare.VERSION: (attrgetter("version"), attrgetter("version")),
    pb.Compare.CREATE: (attrgetter("created"), attrgetter("create_revision")),
    pb.Compare.MOD: (attrgetter("main"), attrgetter("mod_revision")),
    pb.Compare.LEASE: (attrgetter("lease"), attrgetter("lease")),
}
"""What is compared of a key that its index row has: where it is there, and where what it is compared with is."""
