"""Range: keys in order at one revision, filtered, sorted and cut the way etcd 3.4 does it."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2 as kv
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine.wire import varint
from raftmeta.store.view import View

_SORT_KEYS: dict[int, Callable[[kv.KeyValue], Any]] = {
    pb.RangeRequest.KEY: lambda item: item.key,
    pb.RangeRequest.VERSION: lambda item: item.version,
    pb.RangeRequest.CREATE: lambda item: item.create_revision,
    pb.RangeRequest.MOD: lambda item: item.mod_revision,
    pb.RangeRequest.VALUE: lambda item: item.value,
}


class Found(NamedTuple):
    """What a Range answers.

    Attributes:
        records: KeyValue bytes, in the order asked for.
        total: Keys in the range, whatever the limit.
        more: The limit left some out.
    """

    records: list[bytes]
    total: int
    more: bool


def span_end(range_end: bytes) -> bytes | None:
    """Return the exclusive end of a span that is not a single key; None for all keys from the start on."""
    return None if range_end == b"\0" else range_end


def revisions(view: View, space: int, key: bytes, range_end: bytes, main: int) -> Iterator[bytes]:
    """Yield the encoded revisions of the puts alive at `main` in a request's range, in key order."""
    if not range_end:
        found = view.key_at(space, key, main)
        if found is not None:
            yield found
        return
    for _, revision in view.alive(space, key, span_end(range_end), main):
        yield revision


def read_range(view: View, space: int, request: pb.RangeRequest, current: int, compacted: int) -> pb.RangeResponse:
    """Answer a Range (etcdserverpb.KV.Range) at the request's revision.

    Everything is fetched before the limit applies only where a filter or a sort order asks for it, and then no more is
    kept than the limit; `count` is always that of the whole range.

    Raises:
        MetastoreError: FUTURE_REVISION, COMPACTED.
    """
    found = find(view, space, request, current, compacted)
    assert found is not None
    return as_message(found, current)


def as_message(found: Found, current: int) -> pb.RangeResponse:
    """Return the RangeResponse of what was found; its header has the current revision only."""
    response = pb.RangeResponse(more=found.more, count=found.total)
    response.header.revision = current
    if found.records:
        response.MergeFromString(_repeated(found.records))
    return response


def encode_range(found: Found, header: bytes) -> bytes:
    """Encode a RangeResponse from what was found, without a message per key; `header` is an encoded ResponseHeader."""
    more = b"\x18\x01" if found.more else b""
    count = b"\x20" + varint(found.total) if found.total else b""
    return b"".join((b"\x0a", varint(len(header)), header, _repeated(found.records), more, count))


def _repeated(records: Sequence[bytes]) -> bytes:
    """Encode KeyValue bytes as the repeated field `kvs`."""
    parts: list[bytes] = []
    for record in records:
        size = len(record)
        # a call would double the cost of the sizes that most records have
        parts += (
            bytes((0x12, size & 0x7F | 0x80, size >> 7)) if 0x80 <= size < 0x4000 else b"\x12" + varint(size),
            record,
        )
    return b"".join(parts)


def find(
    view: View, space: int, request: pb.RangeRequest, current: int, compacted: int, most: int = sys.maxsize
) -> Found | None:
    """Find what a Range answers; None when more than `most` keys would have to be looked at.

    Raises:
        MetastoreError: FUTURE_REVISION, COMPACTED.
        StepPassed: The range must be counted, and a later step than this view's has been applied.
    """
    main = request.revision
    if main > current:
        raise MetastoreError(Fault.FUTURE_REVISION)
    if main <= 0:
        main = current
    if main < compacted:
        raise MetastoreError(Fault.COMPACTED)
    if main < current and request.range_end and most < sys.maxsize:
        return None
    if request.count_only:
        return Found([], _count(view, space, request, main), more=False)
    limit = max(request.limit, 0)
    order, target = request.sort_order, request.sort_target
    filtered = (
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )
    if order == pb.RangeRequest.NONE and target == pb.RangeRequest.KEY and not filtered:
        if request.range_end:
            chosen = view.items(space, request.key, span_end(request.range_end), main, limit, most)
        else:
            item = view.item(space, request.key, main)
            chosen = [] if item is None else [item]
        if chosen is None:
            return None
        full = limit and len(chosen) == limit
        count = _count(view, space, request, main) if full else len(chosen)
        if request.keys_only:
            chosen = [_without_value(record) for record in chosen]
        return Found(chosen, count, more=count > len(chosen))
    if most < sys.maxsize:
        return None
    counted = _Counted(revisions(view, space, request.key, request.range_end, main))
    chosen, more = _arranged(view, space, request, counted, limit)
    return Found(chosen, counted.count, more=more)


def _count(view: View, space: int, request: pb.RangeRequest, main: int) -> int:
    if not request.range_end:
        return int(view.key_at(space, request.key, main) is not None)
    return view.count(space, request.key, span_end(request.range_end), main)


def _arranged(
    view: View, space: int, request: pb.RangeRequest, counted: _Counted, limit: int
) -> tuple[list[bytes], bool]:
    """Return the records of a range that is filtered or sorted, and whether there are more."""
    order, target = request.sort_order, request.sort_target
    filters = _filters(request)
    # without a filter or an order only the first limit + 1 keys, by key, take part in the sort
    fetched: Iterator[bytes] = counted
    if order == pb.RangeRequest.NONE and not filters and limit:
        fetched = islice(counted, limit + 1)
    passed = 0

    def items() -> Iterator[kv.KeyValue]:
        nonlocal passed
        for revision in fetched:
            item = kv.KeyValue.FromString(view.record(space, revision))
            if all(keep(item) for keep in filters):
                passed += 1
                yield item

    if target != pb.RangeRequest.KEY and order == pb.RangeRequest.NONE:
        order = pb.RangeRequest.ASCEND
    if order == pb.RangeRequest.ASCEND and target != pb.RangeRequest.KEY:
        sort_key = _SORT_KEYS[target]
        chosen = heapq.nsmallest(limit, items(), key=sort_key) if limit else sorted(items(), key=sort_key)
    elif order == pb.RangeRequest.DESCEND:
        sort_key = _SORT_KEYS[target]
        chosen = heapq.nlargest(limit, items(), key=sort_key) if limit else sorted(items(), key=sort_key, reverse=True)
    else:
        source = items()
        chosen = list(islice(source, limit)) if limit else list(source)
        for _ in source:
            pass
    counted.exhaust()
    if request.keys_only:
        for item in chosen:
            item.ClearField("value")
    return [item.SerializeToString() for item in chosen], passed > len(chosen)


def _filters(request: pb.RangeRequest) -> list[Callable[[kv.KeyValue], bool]]:
    max_mod, min_mod = request.max_mod_revision, request.min_mod_revision
    max_create, min_create = request.max_create_revision, request.min_create_revision
    filters: list[Callable[[kv.KeyValue], bool]] = []
    if max_mod:
        filters.append(lambda item: item.mod_revision <= max_mod)
    if min_mod:
        filters.append(lambda item: item.mod_revision >= min_mod)
    if max_create:
        filters.append(lambda item: item.create_revision <= max_create)
    if min_create:
        filters.append(lambda item: item.create_revision >= min_create)
    return filters


def _without_value(record: bytes) -> bytes:
    item = kv.KeyValue.FromString(record)
    item.ClearField("value")
    return item.SerializeToString()


class _Counted:
    """An iterator that counts what passes, to the end even when the caller stops early."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self.count = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> bytes:
        item = next(self._source)
        self.count += 1
        return item

    def exhaust(self) -> None:
        """Count the rest."""
        self.count += sum(1 for _ in self._source)
