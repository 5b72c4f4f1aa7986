"""Random etcd requests, hostile ones included, and one way to make them of a machine and of a real etcd."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from harness.machines import Feed
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs
from raftmeta.machine import checks

LONG = b"l" * 479
KEYS = (b"a", b"b", b"a\0", b"ab", b"\0", b"\xff\xff", LONG, LONG + b"\1", LONG + b"\1" + b"x" * 900, b"z")
LEASES = (1, 7, -5, (1 << 63) - 1)
Answer = Message | tuple[grpc.StatusCode, str]


class Etcd:
    """A real etcd, asked one request at a time."""

    def __init__(self, endpoint: str) -> None:
        """Connect."""
        self.channel = grpc.insecure_channel(endpoint)
        kv, lease = stubs.KVStub(self.channel), stubs.LeaseStub(self.channel)
        self.maintenance = stubs.MaintenanceStub(self.channel)
        self.calls: dict[type[Message], Callable[..., Any]] = {
            pb.RangeRequest: kv.Range,
            pb.PutRequest: kv.Put,
            pb.DeleteRangeRequest: kv.DeleteRange,
            pb.TxnRequest: kv.Txn,
            pb.CompactionRequest: kv.Compact,
            pb.LeaseGrantRequest: lease.LeaseGrant,
            pb.LeaseRevokeRequest: lease.LeaseRevoke,
            pb.HashKVRequest: self.maintenance.HashKV,
        }

    def __call__(self, request: Message) -> Answer:
        """Return the answer without what names the cluster, or the error."""
        try:
            answer: Message = self.calls[type(request)](request, timeout=20, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code(), str(error.details())
        header = answer.header  # type: ignore[attr-defined]
        header.cluster_id = header.member_id = header.raft_term = 0
        return answer


def ask(feed: Feed, request: Message) -> Answer:
    """Make a request of a machine as a node would: check it, read locally or apply."""
    machine = feed.machine
    try:
        result: Message | Fault
        if isinstance(request, pb.RangeRequest):
            checks.check_range(request)
            result = machine.range(0, request)
        elif isinstance(request, pb.HashKVRequest):
            value, compacted, current = machine.hash_kv(0, request.revision)
            result = pb.HashKVResponse(hash=value, compact_revision=compacted)
            result.header.revision = current
        else:
            if isinstance(request, pb.PutRequest):
                checks.check_put(request)
            elif isinstance(request, pb.DeleteRangeRequest):
                checks.check_delete_range(request)
            elif isinstance(request, pb.TxnRequest):
                checks.check_txn(request)
            if isinstance(request, pb.TxnRequest) and checks.is_read_only(request):
                result = machine.read_txn(0, request)
            else:
                result = feed(request)
    except MetastoreError as error:
        return error.code, error.text
    return (result.code, result.text) if isinstance(result, Fault) else result


class Operations:
    """An endless supply of requests that keeps near the revisions that exist."""

    def __init__(self, seed: int) -> None:
        """Draw everything from `seed`."""
        self._random = random.Random(seed)
        self.current = 1
        self.compacted = 0

    def __call__(self) -> Message:
        """Draw a request."""
        draw = self._random.random()
        if draw < 0.35:
            return self.put()
        if draw < 0.45:
            return self.delete_range()
        if draw < 0.65:
            return self.range()
        if draw < 0.87:
            return self.txn(2)
        if draw < 0.91:
            return pb.HashKVRequest(revision=self.revision())
        if draw < 0.94:
            revision = min(self.revision() or self.compacted + 3, self.current + 1)
            return pb.CompactionRequest(revision=revision, physical=True)
        lease = self._random.choice(LEASES)
        if draw < 0.98:
            return pb.LeaseGrantRequest(ID=lease, TTL=self._random.choice((1000, 9_000_000_000, 9_000_000_001)))
        return pb.LeaseRevokeRequest(ID=lease)

    def key(self) -> bytes:
        """Draw a key, rarely none."""
        return b"" if self._random.random() < 0.02 else self._random.choice(KEYS)

    def end(self) -> bytes:
        """Draw the end of a range."""
        return self._random.choice((b"", b"", b"\0", *KEYS, b"a\xff"))

    def revision(self) -> int:
        """Draw a revision: mostly one that can be read."""
        choose = self._random.random()
        if choose < 0.5:
            return 0
        if choose < 0.9:
            return self._random.randint(max(self.compacted - 1, 1), self.current)
        return self._random.choice((-1, -7, self.current + 1, self.current + 2, (1 << 63) - 1, -(1 << 63)))

    def put(self) -> pb.PutRequest:
        """Draw a put."""
        flip = self._random.random
        return pb.PutRequest(
            key=self.key(),
            value=self._random.choice((b"", b"1", b"2", b"\0\xff", b"v" * 300)),
            lease=self._random.choice(LEASES) if flip() < 0.3 else 0,
            prev_kv=flip() < 0.3,
            ignore_value=flip() < 0.1,
            ignore_lease=flip() < 0.1,
        )

    def delete_range(self) -> pb.DeleteRangeRequest:
        """Draw a delete."""
        end = self.end() if self._random.random() < 0.4 else b""
        return pb.DeleteRangeRequest(key=self.key(), range_end=end, prev_kv=self._random.random() < 0.3)

    def range(self) -> pb.RangeRequest:
        """Draw a range with any combination of options."""
        draw = self._random
        request = pb.RangeRequest(
            key=self.key(), range_end=self.end(), revision=self.revision(), serializable=draw.random() < 0.3
        )
        if draw.random() < 0.5:
            request.limit = draw.choice((1, 2, 3, 100, -1, -(1 << 63)))
        if draw.random() < 0.5:
            request.sort_order = draw.choice((0, 1, 2, 9))  # type: ignore[assignment]
            request.sort_target = draw.choice((0, 1, 2, 3, 4))  # type: ignore[assignment]
        request.keys_only = draw.random() < 0.2
        request.count_only = draw.random() < 0.1
        for name in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            if draw.random() < 0.1:
                setattr(request, name, draw.randint(-1, self.current + 1))
        return request

    def compare(self) -> pb.Compare:
        """Draw a compare."""
        draw = self._random
        compare = pb.Compare(key=self.key(), result=draw.choice((0, 1, 2, 3)), target=draw.choice((0, 1, 2, 3, 4)))  # type: ignore[arg-type]
        if draw.random() < 0.3:
            compare.range_end = self.end()
        name = draw.choice(("version", "create_revision", "mod_revision", "value", "lease", ""))
        if name == "value":
            compare.value = draw.choice((b"", b"1", b"2"))
        elif name:
            setattr(compare, name, draw.choice((0, 1, 2, self.current, -1, 7)))
        return compare

    def txn(self, depth: int) -> pb.TxnRequest:
        """Draw a transaction, nested at most `depth` deep."""
        draw = self._random
        request = pb.TxnRequest(compare=[self.compare() for _ in range(draw.choice((0, 0, 1, 1, 2)))])
        for branch in (request.success, request.failure):
            for _ in range(draw.choice((0, 1, 1, 2, 3))):
                op = branch.add()
                kind = draw.random()
                if kind < 0.35:
                    op.request_put.CopyFrom(self.put())
                elif kind < 0.65:
                    op.request_range.CopyFrom(self.range())
                elif kind < 0.8:
                    op.request_delete_range.CopyFrom(self.delete_range())
                elif kind < 0.98 and depth:
                    op.request_txn.CopyFrom(self.txn(depth - 1))
                elif kind < 0.99:
                    op.request_range.key = self.key()
        return request
