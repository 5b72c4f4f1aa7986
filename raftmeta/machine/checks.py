"""Checks that need only the request: made before proposing and again when applying, with etcd's answers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb

MAX_TXN_OPS = 128
MAX_TXN_DEPTH = 32

_KNOWN_ORDERS = frozenset(pb.RangeRequest.SortOrder.values())
_KNOWN_TARGETS = frozenset(pb.RangeRequest.SortTarget.values())


def check_range(request: pb.RangeRequest) -> None:
    """Raise EMPTY_KEY, or INVALID_SORT_OPTION where a sort is asked for by a target that does not exist.

    An unknown sort *order* is accepted and sorts nothing, as etcd 3.4 does; an unknown target with a known order crashes
    etcd 3.4 and is refused by later versions.
    """
    if not request.key:
        raise MetastoreError(Fault.EMPTY_KEY)
    if request.sort_target not in _KNOWN_TARGETS and request.sort_order in _KNOWN_ORDERS:
        raise MetastoreError(Fault.INVALID_SORT_OPTION)


def check_put(request: pb.PutRequest) -> None:
    """Raise EMPTY_KEY, VALUE_PROVIDED, LEASE_PROVIDED."""
    if not request.key:
        raise MetastoreError(Fault.EMPTY_KEY)
    if request.ignore_value and request.value:
        raise MetastoreError(Fault.VALUE_PROVIDED)
    if request.ignore_lease and request.lease:
        raise MetastoreError(Fault.LEASE_PROVIDED)


def check_delete_range(request: pb.DeleteRangeRequest) -> None:
    """Raise EMPTY_KEY."""
    if not request.key:
        raise MetastoreError(Fault.EMPTY_KEY)


def check_txn(request: pb.TxnRequest, max_ops: int = MAX_TXN_OPS) -> None:
    """Raise TOO_MANY_OPS, EMPTY_KEY, DUPLICATE_KEY, KEY_NOT_FOUND (an empty operation), and what the operations raise.

    Nested transactions are charged against what their parents left of `max_ops`. More than MAX_TXN_DEPTH levels are too
    many operations, too: protobuf reads messages only 100 levels deep, and a log entry must always be readable.
    """
    _check_ops(request, max_ops, MAX_TXN_DEPTH)
    _written(request.success)
    _written(request.failure)


def is_read_only(request: pb.TxnRequest) -> bool:
    """Tell whether both branches hold ranges only; a nested transaction counts as a write, whatever it does."""
    return all(op.WhichOneof("request") == "request_range" for op in request.success) and all(
        op.WhichOneof("request") == "request_range" for op in request.failure
    )


def is_serializable(request: pb.TxnRequest) -> bool:
    """Tell whether every operation is a serializable range, so that any member may answer from what it has."""
    return is_read_only(request) and all(
        op.request_range.serializable for branch in (request.success, request.failure) for op in branch
    )


def is_small(request: pb.TxnRequest) -> bool:
    """Tell whether a transaction that only reads looks at single keys only, which takes a millisecond at most."""
    return not any(compare.range_end for compare in request.compare) and not any(
        op.request_range.range_end for branch in (request.success, request.failure) for op in branch
    )


def _check_ops(request: pb.TxnRequest, left: int, levels: int) -> None:
    count = max(len(request.compare), len(request.success), len(request.failure))
    if count > left or not levels:
        raise MetastoreError(Fault.TOO_MANY_OPS)
    for compare in request.compare:
        if not compare.key:
            raise MetastoreError(Fault.EMPTY_KEY)
    for branch in (request.success, request.failure):
        for op in branch:
            kind = op.WhichOneof("request")
            if kind == "request_put":
                check_put(op.request_put)
            elif kind == "request_range":
                check_range(op.request_range)
            elif kind == "request_delete_range":
                check_delete_range(op.request_delete_range)
            elif kind == "request_txn":
                _check_ops(op.request_txn, left - count, levels - 1)
            else:
                raise MetastoreError(Fault.KEY_NOT_FOUND)


class _Spans:
    """A union of half-open key intervals that answers whether it holds a key."""

    def __init__(self) -> None:
        self._starts: list[bytes] = []
        self._ends: list[bytes] = []

    def add(self, start: bytes, end: bytes) -> None:
        """Add [start, end); nothing when empty."""
        if end <= start:
            return
        low, high = bisect_right(self._starts, start), bisect_right(self._starts, end)
        if low and self._ends[low - 1] >= start:
            low -= 1
            start = self._starts[low]
        if high > low:
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def update(self, other: _Spans) -> None:
        """Add every interval of `other`."""
        for start, end in zip(other._starts, other._ends, strict=True):
            self.add(start, end)

    def __contains__(self, key: bytes) -> bool:
        at = bisect_right(self._starts, key)
        return at > 0 and key < self._ends[at - 1]


def _written(ops: Iterable[pb.RequestOp]) -> tuple[set[bytes], _Spans]:
    """Return the keys put and the spans deleted by one branch; raise DUPLICATE_KEY when a put meets either.

    A delete to the end of the key space (range_end of one zero byte) meets nothing, in etcd and so here.
    """
    puts: set[bytes] = set()
    deleted = _Spans()
    nested: list[pb.TxnRequest] = []
    own: list[bytes] = []
    for op in ops:
        kind = op.WhichOneof("request")
        if kind == "request_put":
            own.append(op.request_put.key)
        elif kind == "request_delete_range":
            request = op.request_delete_range
            deleted.add(request.key, request.range_end or request.key + b"\0")
        elif kind == "request_txn":
            nested.append(op.request_txn)
    for txn in nested:
        then_puts, then_deleted = _written(txn.success)
        else_puts, else_deleted = _written(txn.failure)
        if puts & then_puts or puts & else_puts:
            raise MetastoreError(Fault.DUPLICATE_KEY)
        both = then_puts | else_puts
        if any(key in deleted for key in both):
            raise MetastoreError(Fault.DUPLICATE_KEY)
        puts |= both
        deleted.update(then_deleted)
        deleted.update(else_deleted)
    for key in own:
        if key in puts or key in deleted:
            raise MetastoreError(Fault.DUPLICATE_KEY)
        puts.add(key)
    return puts, deleted
