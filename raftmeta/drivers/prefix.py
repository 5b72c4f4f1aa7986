"""A keyspace inside a shared store, as a key prefix: requests get it, answers lose it."""

from __future__ import annotations

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

_OPEN_END = b"\0"


def prefix_end(prefix: bytes) -> bytes:
    """Return the smallest key above every key that starts with `prefix`; a zero byte (no end) when there is none."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return _OPEN_END
    return stripped[:-1] + bytes([stripped[-1] + 1])


class Prefix:
    """Rewrites messages between a keyspace and the store that holds it below `prefix`.

    Requests are copied, never modified; answers are modified in place. An empty prefix rewrites nothing.
    """

    def __init__(self, prefix: bytes) -> None:
        """Take the prefix that every key of the keyspace has in the store."""
        self._prefix = prefix
        self._cut = len(prefix)
        self._end = prefix_end(prefix)

    def range(self, request: pb.RangeRequest) -> pb.RangeRequest:
        """Rewrite a Range. Raises EMPTY_KEY, which the store could no longer see."""
        if not self._cut:
            return request
        outward = pb.RangeRequest()
        outward.CopyFrom(request)
        self._interval(outward)
        return outward

    def put(self, request: pb.PutRequest) -> pb.PutRequest:
        """Rewrite a Put. Raises EMPTY_KEY."""
        if not self._cut:
            return request
        outward = pb.PutRequest()
        outward.CopyFrom(request)
        outward.key = self._key(request.key)
        return outward

    def delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeRequest:
        """Rewrite a DeleteRange. Raises EMPTY_KEY."""
        if not self._cut:
            return request
        outward = pb.DeleteRangeRequest()
        outward.CopyFrom(request)
        self._interval(outward)
        return outward

    def txn(self, request: pb.TxnRequest) -> pb.TxnRequest:
        """Rewrite a Txn with everything nested in it. Raises EMPTY_KEY."""
        if not self._cut:
            return request
        outward = pb.TxnRequest()
        outward.CopyFrom(request)
        self._txn(outward)
        return outward

    def watch(self, request: pb.WatchRequest) -> pb.WatchRequest:
        """Rewrite a watch request; an empty key means a zero byte, as in etcd."""
        if not self._cut or request.WhichOneof("request_union") != "create_request":
            return request
        outward = pb.WatchRequest()
        outward.CopyFrom(request)
        create = outward.create_request
        create.key = self._prefix + (create.key or b"\0")
        create.range_end = self._range_end(create.range_end)
        return outward

    def strip_kv(self, kv: kv_pb2.KeyValue) -> None:
        """Take the prefix off one key-value pair."""
        kv.key = kv.key[self._cut :]

    def range_answer(self, answer: pb.RangeResponse) -> pb.RangeResponse:
        """Take the prefix off a Range's answer."""
        if self._cut:
            for kv in answer.kvs:
                self.strip_kv(kv)
        return answer

    def put_answer(self, answer: pb.PutResponse) -> pb.PutResponse:
        """Take the prefix off a Put's answer."""
        if self._cut and answer.HasField("prev_kv"):
            self.strip_kv(answer.prev_kv)
        return answer

    def delete_range_answer(self, answer: pb.DeleteRangeResponse) -> pb.DeleteRangeResponse:
        """Take the prefix off a DeleteRange's answer."""
        if self._cut:
            for kv in answer.prev_kvs:
                self.strip_kv(kv)
        return answer

    def txn_answer(self, answer: pb.TxnResponse) -> pb.TxnResponse:
        """Take the prefix off a Txn's answer, nested answers included."""
        if self._cut:
            for op in answer.responses:
                kind = op.WhichOneof("response")
                if kind == "response_range":
                    self.range_answer(op.response_range)
                elif kind == "response_put":
                    self.put_answer(op.response_put)
                elif kind == "response_delete_range":
                    self.delete_range_answer(op.response_delete_range)
                elif kind == "response_txn":
                    self.txn_answer(op.response_txn)
        return answer

    def watch_answer(self, answer: pb.WatchResponse) -> pb.WatchResponse:
        """Take the prefix off a watch's events."""
        if self._cut:
            for event in answer.events:
                self.strip_kv(event.kv)
                if event.HasField("prev_kv"):
                    self.strip_kv(event.prev_kv)
        return answer

    def lease_answer(self, answer: pb.LeaseTimeToLiveResponse) -> pb.LeaseTimeToLiveResponse:
        """Keep this keyspace's keys of a lease, without the prefix."""
        if self._cut and answer.keys:
            mine = [key[self._cut :] for key in answer.keys if key.startswith(self._prefix)]
            del answer.keys[:]
            answer.keys.extend(mine)
        return answer

    def _key(self, key: bytes) -> bytes:
        if not key:
            raise MetastoreError(Fault.EMPTY_KEY)
        return self._prefix + key

    def _range_end(self, range_end: bytes) -> bytes:
        if not range_end:
            return b""
        return self._end if range_end == _OPEN_END else self._prefix + range_end

    def _interval(self, request: pb.RangeRequest | pb.DeleteRangeRequest | pb.Compare) -> None:
        request.key = self._key(request.key)
        request.range_end = self._range_end(request.range_end)

    def _txn(self, txn: pb.TxnRequest) -> None:
        for compare in txn.compare:
            self._interval(compare)
        for branch in (txn.success, txn.failure):
            for op in branch:
                kind = op.WhichOneof("request")
                if kind == "request_range":
                    self._interval(op.request_range)
                elif kind == "request_put":
                    op.request_put.key = self._key(op.request_put.key)
                elif kind == "request_delete_range":
                    self._interval(op.request_delete_range)
                elif kind == "request_txn":
                    self._txn(op.request_txn)
