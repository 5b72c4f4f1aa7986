"""What etcd's requests do and answer, in the fewest words: the specification that answers are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faults.checks.keys import covers
from faults.checks.versions import KeyValue, Versions
from google.protobuf.message import Message

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

_SORT: dict[int, Callable[[KeyValue], bytes | int]] = {
    pb.RangeRequest.KEY: lambda kv: kv.key,
    pb.RangeRequest.VERSION: lambda kv: kv.version,
    pb.RangeRequest.CREATE: lambda kv: kv.create_revision,
    pb.RangeRequest.MOD: lambda kv: kv.mod_revision,
    pb.RangeRequest.VALUE: lambda kv: kv.value,
}


class Unsupported(Exception):  # noqa: N818 - it says what a request is
    """A request uses what this specification leaves out."""


class Execution:
    """One request on the state of revision `base`, as revision `base + 1` if it changes something.

    Attributes:
        events: What it changed, in order.
    """

    def __init__(self, versions: Versions, base: int) -> None:
        """Start from the state of `base`."""
        self.events: list[kv_pb2.Event] = []
        self._versions = versions
        self._base = base
        self._changed: dict[bytes, KeyValue | None] = {}

    def run(self, request: Message) -> Message:
        """Do a request; returns its answer without headers. Raises Unsupported."""
        match request:
            case pb.RangeRequest():
                return self._range(request)
            case pb.PutRequest():
                return self._put(request)
            case pb.DeleteRangeRequest():
                return self._delete(request)
            case pb.TxnRequest():
                return self._txn(request)
            case pb.LeaseRevokeRequest():
                for key in self._versions.attached(request.ID, self._base):
                    self._remove(key)
                return pb.LeaseRevokeResponse()
        raise Unsupported(request.DESCRIPTOR.name)

    def get(self, key: bytes) -> KeyValue | None:
        """A key as this request sees it."""
        return self._changed[key] if key in self._changed else self._versions.get(key, self._base)

    def _held(self, key: bytes, end: bytes, revision: int = 0) -> list[KeyValue]:
        if revision > 0:
            found = (self._versions.get(each, revision) for each in self._versions.keys(key, end))
        else:
            names = self._versions.keys(key, end)
            if self._changed:
                names = sorted({*names, *(name for name in self._changed if covers(key, end, name))})
            found = (self.get(each) for each in names)
        return [kv for kv in found if kv is not None]

    def _range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        kvs = self._held(request.key, request.range_end, request.revision)
        answer = pb.RangeResponse(count=len(kvs))
        if request.count_only:
            return answer
        kvs = [kv for kv in kvs if _passes(request, kv)]
        if request.sort_order != pb.RangeRequest.NONE:
            kvs.sort(key=_SORT[request.sort_target], reverse=request.sort_order == pb.RangeRequest.DESCEND)
        elif request.sort_target != pb.RangeRequest.KEY:
            raise Unsupported("a sort target without an order")
        if 0 < request.limit < len(kvs):
            answer.more = True
            kvs = kvs[: request.limit]
        answer.kvs.extend(kvs)
        if request.keys_only:
            for kv in answer.kvs:
                kv.ClearField("value")
        return answer

    def _put(self, request: pb.PutRequest) -> pb.PutResponse:
        before = self.get(request.key)
        kv = KeyValue(key=request.key, value=request.value, lease=request.lease, mod_revision=self._base + 1)
        kv.create_revision, kv.version = self._base + 1, 1
        answer = pb.PutResponse()
        if before is not None:
            kv.create_revision, kv.version = before.create_revision, before.version + 1
            if request.ignore_value:
                kv.value = before.value
            if request.ignore_lease:
                kv.lease = before.lease
            if request.prev_kv:
                answer.prev_kv.CopyFrom(before)
        self._changed[kv.key] = kv
        self.events.append(kv_pb2.Event(type=kv_pb2.Event.PUT, kv=kv))
        return answer

    def _delete(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        gone = self._held(request.key, request.range_end)
        for kv in gone:
            self._remove(kv.key)
        return pb.DeleteRangeResponse(deleted=len(gone), prev_kvs=gone if request.prev_kv else [])

    def _remove(self, key: bytes) -> None:
        self._changed[key] = None
        kv = KeyValue(key=key, mod_revision=self._base + 1)
        self.events.append(kv_pb2.Event(type=kv_pb2.Event.DELETE, kv=kv))

    def _txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Decide every compare of the tree first, then run what was chosen."""
        chosen: list[bool] = []
        self._choose(request, chosen)
        return self._run_txn(request, iter(chosen).__next__)

    def _choose(self, request: pb.TxnRequest, chosen: list[bool]) -> None:
        chosen.append(all(self._holds(compare) for compare in request.compare))
        for op in request.success if chosen[-1] else request.failure:
            if op.HasField("request_txn"):
                self._choose(op.request_txn, chosen)

    def _run_txn(self, request: pb.TxnRequest, choice: Callable[[], bool]) -> pb.TxnResponse:
        answer = pb.TxnResponse(succeeded=choice())
        for op in request.success if answer.succeeded else request.failure:
            one = answer.responses.add()
            kind = op.WhichOneof("request")
            if kind == "request_txn":
                one.response_txn.CopyFrom(self._run_txn(op.request_txn, choice))
            elif kind is not None:
                getattr(one, kind.replace("request", "response")).CopyFrom(self.run(getattr(op, kind)))
        return answer

    def _holds(self, compare: pb.Compare) -> bool:
        if compare.range_end:
            kvs: Sequence[KeyValue | None] = self._held(compare.key, compare.range_end) or [None]
        else:
            kvs = [self.get(compare.key)]
        return all(compare_holds(compare, kv) for kv in kvs)


def _passes(request: pb.RangeRequest, kv: KeyValue) -> bool:
    """Whether a key passes the revision filters; 0 is none."""
    return (
        (not request.max_mod_revision or kv.mod_revision <= request.max_mod_revision)
        and kv.mod_revision >= request.min_mod_revision
        and (not request.max_create_revision or kv.create_revision <= request.max_create_revision)
        and kv.create_revision >= request.min_create_revision
    )


def compare_holds(compare: pb.Compare, kv: KeyValue | None) -> bool:
    """Whether a compare holds for one key, which may be missing."""
    have: bytes | int
    want: bytes | int
    if compare.target == pb.Compare.VALUE:
        if kv is None:
            return False
        have, want = kv.value, compare.value
    elif compare.target == pb.Compare.VERSION:
        have, want = (kv.version if kv else 0), compare.version
    elif compare.target == pb.Compare.CREATE:
        have, want = (kv.create_revision if kv else 0), compare.create_revision
    elif compare.target == pb.Compare.MOD:
        have, want = (kv.mod_revision if kv else 0), compare.mod_revision
    else:
        have, want = (kv.lease if kv else 0), compare.lease
    return result_holds(compare.result, have, want)


def result_holds(result: int, have: bytes | int, want: bytes | int) -> bool:
    """Whether `have` is to `want` as an etcd compare result says."""
    if result == pb.Compare.EQUAL:
        return have == want
    if result == pb.Compare.NOT_EQUAL:
        return have != want
    return have > want if result == pb.Compare.GREATER else have < want  # type: ignore[operator]


def bare(answer: Message) -> Message:
    """A copy of an answer without headers."""
    copy = type(answer)()
    copy.CopyFrom(answer)
    copy.ClearField("header")
    if isinstance(copy, pb.TxnResponse):
        for one in copy.responses:
            kind = one.WhichOneof("response")
            if kind is not None:
                inner = getattr(one, kind)
                inner.CopyFrom(bare(inner))
    return copy
