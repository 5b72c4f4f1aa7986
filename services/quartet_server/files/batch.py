"""BatchCreate: many entries in order, as many per transaction as fit."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import Contention, FieldInvalid, FileExists, LockLost, QuartetError, QuotaExceeded
from quartet_server.files import keys, locks, paths, quotas, records
from quartet_server.files.paths import Path
from quartet_server.files.quotas import Charges, Ids
from quartet_server.files.resolve import Resolver
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import ATTEMPTS
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2

MOST = 1000
_BYTES = 1 << 20  # of one transaction: etcd's limit is 1.5 MiB, and three keys of an entry are small beside its values


@dataclass(slots=True)
class _Item:
    """One entry of the request that has no result yet."""

    position: int
    path: Path
    kind: pb.EntryType.ValueType
    attributes: pb.Attributes


@dataclass(slots=True)
class _Chunk:
    """One transaction in the making.

    Attributes:
        compares: By key, so that entries of one directory share the comparisons of its path.
        operations: Three writes for each item.
        made: Items with the inode number and the place (directory, name) of each.
        counting: For each of these, the quotas that count it.
        counts: Comparisons of those quotas' counts.
        size: Bytes of the operations.
    """

    compares: dict[bytes, rpc_pb2.Compare] = field(default_factory=dict)
    operations: list[rpc_pb2.RequestOp] = field(default_factory=list)
    made: list[tuple[_Item, int, tuple[int, bytes]]] = field(default_factory=list)
    counting: list[Ids] = field(default_factory=list)
    counts: list[rpc_pb2.Compare] = field(default_factory=list)
    size: int = 0


class BatchCreate:
    """One run of a BatchCreate request.

    Parents are resolved once for the whole request; what the batch itself creates is known without reading. That
    nothing has the wanted names is not read but compared: a transaction that fails reads every key it compared, and so
    tells which entries exist already.
    """

    def __init__(self, tree: Tree, zone: str, request: pb.BatchCreateRequest, claim: Claim | None) -> None:
        """Prepare to create the request's entries in `zone`. Raises FieldInvalid for a batch of the wrong length."""
        if not 1 <= len(request.entries) <= MOST:
            raise FieldInvalid.of("entries", f"{len(request.entries)} entries, 1 to {MOST} are taken")
        self._tree = tree
        self._zone = zone
        self._request = request
        self._claim = claim
        self._fence = request.fence
        self._held: list[rpc_pb2.Compare] = []
        self._parts = 0
        self._answer = pb.BatchCreateResponse(results=[pb.CreateResult() for _ in request.entries])
        self._pending: deque[_Item] = deque()
        self._resolver = Resolver(zone, tree.snapshot(serializable=True))
        self._fresh = False
        self._settled = 0

    async def run(self) -> pb.BatchCreateResponse:
        """Create what can be created; each entry that cannot be gets its failure."""
        await self._tree.ensure(self._zone)
        if self._fence.ByteSize():
            self._held = [locks.compare(self._zone, self._fence)]
        done = await self._recall()
        for position, entry in enumerate(self._request.entries):
            if position in done:
                continue
            try:
                self._pending.append(_item(position, entry))
            except QuartetError as error:
                self._fail(position, error)
        await self._resolve()
        losses = settled = 0
        while self._pending:
            chunk = self._fill(await self._tree.inos.take(self._zone, min(len(self._pending), ops.LIMIT // 3)))
            if chunk is None:  # something seems to be missing, but was read without a quorum round
                await self._refresh()
            elif chunk.made and not await self._count_and_commit(chunk):
                losses = losses + 1 if settled == self._settled else 1
                settled = self._settled
            if losses == ATTEMPTS:
                for item in self._pending:
                    self._fail(item.position, Contention(f"other writers came in between {ATTEMPTS} times"))
                break
        return self._answer

    async def _recall(self) -> set[int]:
        """Take over what earlier runs of the same request created; return the positions."""
        done: set[int] = set()
        if self._claim is None:
            return done
        prefix = self._claim.key + b"\0"
        found = await self._tree.store.range(rpc_pb2.RangeRequest(key=prefix, range_end=ops.prefix_end(prefix)))
        for kv in found.kvs:
            made = storage_pb2.Created.FromString(self._claim.read(kv).answer)
            for item in made.items:
                self._created(item.position, item.ino, kv.create_revision)
                done.add(item.position)
        self._parts = len(found.kvs)
        return done

    async def _resolve(self) -> None:
        """Look up the parents of all that is pending."""
        await self._resolver.walks(list({item.path.parent: None for item in self._pending}))

    async def _refresh(self) -> None:
        """Forget what was read and look up again, linearizably.

        The records of the request are read after the tree: what an earlier run of it made, and perhaps finished making
        only now, is then known to be its own and not taken for somebody else's.
        """
        self._resolver = Resolver(self._zone, self._tree.snapshot())
        self._fresh = True
        await self._resolve()
        done = await self._recall()
        self._pending = deque(item for item in self._pending if item.position not in done)
        if self._held:
            try:
                await locks.held_by(self._zone, self._resolver.snapshot, self._fence)
            except LockLost as error:
                for item in self._pending:
                    self._fail(item.position, error)
                self._pending.clear()

    def _fill(self, inos: range) -> _Chunk | None:
        """Take as many items as fit into one transaction; None when a fresh look at the tree is needed first."""
        chunk = _Chunk()
        free = iter(inos)
        now = self._tree.now()
        room = ops.LIMIT - (self._claim is not None) - len(self._held)
        while self._pending and len(chunk.made) < len(inos):
            item = self._pending[0]
            walk, unknown = self._resolver.follow(item.path.parent)
            if unknown is not None:
                return chunk if chunk.made else None
            place = (walk.ino, item.path.keys[-1])
            try:
                walk.demand_directory()
                if self._resolver.known.get(place) is not None:
                    raise FileExists(f"{item.path} exists", path=str(item.path))
            except QuartetError as error:
                if not self._fresh:
                    return chunk if chunk.made else None
                self._pending.popleft()
                self._fail(item.position, error)
                continue
            compares = {one.key: one for one in walk.base.guards}
            compares |= {step.key: step.compare() for step in walk.chain if step.revision}
            if not walk.steps or walk.steps[-1].revision:  # in a directory made here nothing can be in the way
                key = keys.dentry(self._zone, *place)
                compares[key] = ops.absent(key)
            ino = next(free)
            inode = records.new_inode(item.kind, item.attributes, now)
            name = item.path.names[-1]
            writes = records.writes(self._zone, walk.ino, item.path.keys[-1], name, ino, inode)
            size = sum(op.ByteSize() for op in writes)
            ids = quotas.counting(walk.chain)
            counts = len({*itertools.chain(*chunk.counting), *ids})
            if (
                len(chunk.compares.keys() | compares.keys()) + counts > room
                or len(chunk.operations) + len(writes) + counts > room
                or (chunk.made and chunk.size + size > _BYTES)
            ):
                break
            self._pending.popleft()
            chunk.compares |= compares
            chunk.operations += writes
            chunk.size += size
            chunk.made.append((item, ino, place))
            chunk.counting.append(ids)
            self._resolver.known[place] = Step(keys.dentry(self._zone, *place), ino, item.kind, 0, name)
        return chunk

    async def _count_and_commit(self, chunk: _Chunk) -> bool:
        """Charge the quotas that count the chunk and try the transaction, alone among this node's writers there.

        An item for which there is no room fails, and the rest of the chunk is put together again without it.
        """
        ids = sorted({*itertools.chain(*chunk.counting)})
        if not ids:
            return await self._commit(chunk)
        places = [keys.quota(self._zone, one) for one in ids]
        async with self._tree.mutator.gates.passed(places):
            found = await self._tree.snapshot().get(places)
            charges = Charges()
            for (item, _, _), counting in zip(chunk.made, chunk.counting, strict=True):
                charges.add(counting, item.attributes.size, 1)
                try:
                    compares, operations = quotas.counted(self._zone, found, charges)
                except QuotaExceeded as error:
                    self._put_back(chunk)
                    self._pending.remove(item)
                    self._fail(item.position, await quotas.as_seen(self._zone, self._tree.snapshot(), error))
                    return True
            chunk.counts, chunk.operations = compares, chunk.operations + operations
            return await self._commit(chunk)

    async def _commit(self, chunk: _Chunk) -> bool:
        """Try the transaction; put its items back when something was in the way."""
        request = rpc_pb2.TxnRequest(
            compare=chunk.compares.values(),
            success=chunk.operations,
            failure=[ops.get(key) for key in chunk.compares],
        )
        request.compare.extend([*self._held, *chunk.counts])
        lease = 0
        if self._claim is not None:
            lease = await self._tree.lease.current()
            key = self._claim.key + b"\0%08d" % self._parts
            items = [storage_pb2.Created.Item(position=item.position, ino=ino) for item, ino, _ in chunk.made]
            answer = storage_pb2.Created(items=items).SerializeToString()
            request.compare.append(ops.absent(key))
            request.success.append(ops.put(key, self._claim.value(answer), lease))
            request.failure.append(ops.get(key))
        try:
            response = await self._tree.store.txn(request)
        except MetastoreError as error:
            if error.fault is not Fault.LEASE_NOT_FOUND or not lease:
                raise
            self._tree.lease.lost(lease)
            self._put_back(chunk)
            return False
        if not response.succeeded:
            self._put_back(chunk)
            await self._learn(chunk, response)
            return False
        self._parts += 1
        for item, ino, place in chunk.made:
            self._created(item.position, ino, response.header.revision)
            step = Step(keys.dentry(self._zone, *place), ino, item.kind, response.header.revision, item.path.names[-1])
            self._resolver.known[place] = step
        return True

    def _put_back(self, chunk: _Chunk) -> None:
        for item, _, place in reversed(chunk.made):
            self._pending.appendleft(item)
            self._resolver.known.pop(place, None)

    async def _learn(self, chunk: _Chunk, response: rpc_pb2.TxnResponse) -> None:
        """Find out from a failed transaction what was in the way."""
        await self._refresh()
        for answer in response.responses[: len(chunk.compares)]:
            for kv in answer.response_range.kvs:
                parsed = keys.parse(kv.key)
                if parsed.kind == "d":
                    self._resolver.known.setdefault((parsed.ino, parsed.rest), Step.of(kv))

    def _created(self, position: int, ino: int, revision: int) -> None:
        result = self._answer.results[position]
        if not result.ino:
            self._answer.created += 1
            self._settled += 1
        result.CopyFrom(pb.CreateResult(ino=ino, etag=records.etag(ino, 1)))
        self._answer.revision = max(self._answer.revision, revision)

    def _fail(self, position: int, error: QuartetError) -> None:
        self._settled += 1
        self._answer.results[position].failure.CopyFrom(records.failure(error))


def _item(position: int, entry: pb.CreateEntry) -> _Item:
    """Check one entry. Raises PathInvalid, FieldInvalid, FileExists."""
    path = paths.parse(entry.path)
    if path.is_root:
        raise FileExists("/ exists", path="/")
    kind = entry.type or records.FILE
    if kind not in (records.FILE, records.DIRECTORY, records.SYMLINK):
        raise FieldInvalid.of(f"entries[{position}].type", "is not a known type")
    records.check(entry.attributes, kind, f"entries[{position}].attributes")
    return _Item(position, path, kind, entry.attributes)
