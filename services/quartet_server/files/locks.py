"""Locks: a key on a lease, and the fence by which a write proves in its own transaction that it holds one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid, LockHeld, LockLost, QuartetError
from quartet_server.files import keys, paths, principals
from quartet_server.files.resolve import Resolver
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2

SHORTEST, USUAL, LONGEST = 1, 30, 3600
"""Seconds for which a lock is taken."""
_TEXT = 255


async def lock(tree: Tree, zone: str, request: pb.LockRequest, claim: Claim | None) -> pb.HeldLock:
    """Take a lock: its key comes to be, on a lease of its own, if there is none.

    The token is the revision of that: the store gives no revision twice, and later ones are greater.
    """
    path = paths.parse(request.path)
    name = _text(request.name, "name")
    _text(request.owner, "owner")
    seconds = _seconds(request)
    await tree.ensure(zone)
    granted = await tree.store.lease_grant(rpc_pb2.LeaseGrantRequest(TTL=seconds))

    async def build(snapshot: Snapshot) -> Plan[pb.HeldLock]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand()
        key = keys.lock(zone, walk.ino, name)
        held = (await snapshot.get([key])).get(key)
        if held is not None:
            owner = storage_pb2.LockRecord.FromString(held.value).owner
            raise LockHeld(f"{path} is locked by {owner or 'somebody'}", path=str(path), owner=owner)
        now = tree.now()
        record = storage_pb2.LockRecord(owner=request.owner, time=now)
        answer = pb.HeldLock(path=str(path), owner=request.owner, lock_time=now)
        answer.fence.ino, answer.fence.name = walk.ino, request.name
        answer.ttl.seconds = granted.TTL
        return Plan(answer, [*walk.compares(), ops.absent(key)], [ops.put(key, record.SerializeToString(), granted.ID)])

    try:
        answer, revision = await tree.mutator.run(pb.HeldLock, build, claim)
    except QuartetError:
        await _revoke(tree, granted.ID)
        raise
    answer.fence.token = revision
    if claim is not None:  # an earlier run of the request may have taken it, on another lease
        key = keys.lock(zone, answer.fence.ino, name)
        kv = (await tree.snapshot().get([key])).get(key)
        if kv is None or kv.lease != granted.ID:
            await _revoke(tree, granted.ID)
    return answer


async def renew(tree: Tree, zone: str, request: pb.RenewLockRequest) -> pb.RenewLockResponse:
    """Let the lock's lease begin anew. Raises LockLost."""
    snapshot = tree.snapshot()
    held = await held_by(zone, snapshot, request.fence)
    await _hold(zone, snapshot, request.fence)

    async def once() -> AsyncIterator[rpc_pb2.LeaseKeepAliveRequest]:
        yield rpc_pb2.LeaseKeepAliveRequest(ID=held.lease)

    async for renewed in tree.store.lease_keep_alive(once()):
        if renewed.TTL > 0:
            answer = pb.RenewLockResponse()
            answer.ttl.seconds = renewed.TTL
            return answer
        break
    raise lost(request.fence)


async def unlock(tree: Tree, zone: str, request: pb.UnlockRequest, claim: Claim | None) -> pb.UnlockResponse:
    """Give a lock back. Raises LockLost."""
    lease = 0

    async def build(snapshot: Snapshot) -> Plan[pb.UnlockResponse]:
        nonlocal lease
        held = await held_by(zone, snapshot, request.fence)
        await _hold(zone, snapshot, request.fence)
        lease = held.lease
        return Plan(pb.UnlockResponse(), [ops.created(held.key, request.fence.token)], [ops.delete(held.key)])

    answer, revision = await tree.mutator.run(pb.UnlockResponse, build, claim)
    answer.revision = revision
    if lease:
        await _revoke(tree, lease)
    return answer


async def held_by(zone: str, snapshot: Snapshot, fence: pb.Fence) -> KeyValue:
    """Return the key of the lock that `fence` holds. Raises FieldInvalid, LockLost."""
    key = compare(zone, fence).key
    kv = (await snapshot.get([key])).get(key)
    if kv is None or kv.create_revision != fence.token:
        raise lost(fence)
    return kv


async def _hold(zone: str, snapshot: Snapshot, fence: pb.Fence) -> None:
    """Hold a lock against the caller's root: what is not below it cannot be locked. Raises LockLost."""
    base = await Resolver(zone, snapshot).base()
    if base.steps and await principals.chain(zone, snapshot, fence.ino, base.ino) is None:
        raise lost(fence)


def compare(zone: str, fence: pb.Fence) -> rpc_pb2.Compare:
    """Demand that the lock that `fence` names is held as it says. Raises FieldInvalid."""
    if fence.token <= 0:
        raise FieldInvalid.of("fence.token", "is the token with which the lock was taken")
    return ops.created(keys.lock(zone, fence.ino, _text(fence.name, "fence.name")), fence.token)


def lost(fence: pb.Fence) -> LockLost:
    """Return the error for a lock that is not held any more."""
    return LockLost("the lock has expired or was released", token=fence.token, ino=fence.ino, name=fence.name)


async def _revoke(tree: Tree, lease: int) -> None:
    """End a lease; one that ended by itself is as good, and one that cannot be reached will."""
    with contextlib.suppress(MetastoreError):
        await tree.store.lease_revoke(rpc_pb2.LeaseRevokeRequest(ID=lease))


def _text(text: str, field: str) -> bytes:
    if (size := len(text.encode())) > _TEXT:
        raise FieldInvalid.of(field, f"{size} bytes, at most {_TEXT} are taken")
    return text.encode()


def _seconds(request: pb.LockRequest) -> int:
    if not request.HasField("ttl"):
        return USUAL
    if request.ttl.nanos or not SHORTEST <= request.ttl.seconds <= LONGEST:
        raise FieldInvalid.of("ttl", f"{SHORTEST} to {LONGEST} whole seconds are taken")
    return request.ttl.seconds
