"""Reproducible streams of key-value requests."""

from __future__ import annotations

import random
from collections.abc import Iterator

from google.protobuf.message import Message

from raftmeta.etcd import rpc_pb2 as pb


def requests(seed: int, count: int, keys: int = 60) -> Iterator[Message]:
    """Yield `count` puts, deletes, transactions and range reads over `keys` keys."""
    rng = random.Random(seed)

    def key() -> bytes:
        return b"key/%03d" % rng.randrange(keys)

    def put() -> pb.PutRequest:
        return pb.PutRequest(key=key(), value=rng.randbytes(rng.randrange(60)), prev_kv=rng.random() < 0.3)

    def delete() -> pb.DeleteRangeRequest:
        start = key()
        end = b"" if rng.random() < 0.7 else start + b"\xff" if rng.random() < 0.5 else key()
        return pb.DeleteRangeRequest(key=start, range_end=end, prev_kv=rng.random() < 0.3)

    def read() -> pb.RangeRequest:
        # sorted by key only: etcd leaves the order of equal versions or revisions to chance
        order = rng.choice([pb.RangeRequest.NONE, pb.RangeRequest.ASCEND, pb.RangeRequest.DESCEND])
        return pb.RangeRequest(key=b"key/", range_end=key(), limit=rng.randrange(20), sort_order=order)

    def operation() -> pb.RequestOp:
        kind = rng.random()
        if kind < 0.6:
            return pb.RequestOp(request_put=put())
        if kind < 0.8:
            return pb.RequestOp(request_delete_range=delete())
        return pb.RequestOp(request_range=read())

    def txn(depth: int = 0) -> pb.TxnRequest:
        result = rng.choice([pb.Compare.EQUAL, pb.Compare.GREATER, pb.Compare.LESS, pb.Compare.NOT_EQUAL])
        compare = pb.Compare(key=key(), target=pb.Compare.VERSION, result=result, version=rng.randrange(4))
        request = pb.TxnRequest(compare=[compare])
        for branch in (request.success, request.failure):
            branch.extend(operation() for _ in range(rng.randrange(1, 4)))
            if depth == 0 and rng.random() < 0.2:
                branch.add().request_txn.CopyFrom(txn(1))
        return request

    for _ in range(count):
        kind = rng.random()
        if kind < 0.5:
            yield put()
        elif kind < 0.65:
            yield delete()
        elif kind < 0.9:
            yield txn()
        else:
            yield read()
