"""BatchWrite: many small files, their bytes stored at once and their inodes as many per transaction as fit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import (
    Contention,
    FieldInvalid,
    LockLost,
    MountNotFound,
    MountRefused,
    ObjectsNotShared,
    ObjectStoreUnreachable,
    QuartetError,
    QuotaExceeded,
)
from quartet_server.files import keys, locks, quotas, records
from quartet_server.files.contents.body import INLINE, Body, encoded
from quartet_server.files.contents.contents import Contents
from quartet_server.files.contents.target import Change, Target, change
from quartet_server.files.quotas import Charges
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import ATTEMPTS
from quartet_server.objects.chunking import THRESHOLD, cut
from quartet_server.objects.contract import Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2

MOST = 1000
_BYTES = 1 << 20  # of one transaction: etcd's limit is 1.5 MiB
_AT_ONCE = 8  # transactions on their way together: they touch different files


@dataclass(slots=True)
class _Item:
    """One file of the request that has no result yet.

    Attributes:
        position: In the request.
        target: Where it goes.
        body: What it will consist of.
    """

    position: int
    target: Target
    body: Body

    @property
    def content(self) -> storage_pb2.Content:
        """What the inode will say: a batch is too small for a long list of chunks."""
        store = self.body.store if self.body.chunks else 0
        return storage_pb2.Content(inline=self.body.inline, chunks=encoded(self.body.chunks), store=store)


@dataclass(slots=True)
class _Part:
    """One transaction in the making.

    Attributes:
        compares: By key, so that files of one directory share the comparisons of its path.
        operations: What is written.
        made: Items, and what is done for each.
        size: Bytes of the operations.
    """

    compares: dict[bytes, rpc_pb2.Compare] = field(default_factory=dict)
    operations: list[rpc_pb2.RequestOp] = field(default_factory=list)
    made: list[tuple[_Item, Change]] = field(default_factory=list)
    size: int = 0


class BatchWrite:
    """One run of a BatchWrite request.

    Rounds: look all pending files up at one revision, pack what can be written into transactions, run those. What lost to
    another writer, or was in a transaction with something that did, is looked up again in the next round. The first
    round reads without a quorum; what it finds wrong is believed only when a later one finds it too.
    """

    def __init__(
        self, tree: Tree, contents: Contents, zone: str, request: pb.BatchWriteRequest, claim: Claim | None
    ) -> None:
        """Prepare to write the request's files in `zone`. Raises FieldInvalid for a batch of the wrong length."""
        if not 1 <= len(request.files) <= MOST:
            raise FieldInvalid.of("files", f"{len(request.files)} files, 1 to {MOST} are taken")
        self._tree = tree
        self._contents = contents
        self._zone = zone
        self._request = request
        self._claim = claim
        self._parts = 0
        self._answer = pb.BatchWriteResponse(results=[pb.WriteResult() for _ in request.files])
        self._pending: dict[int, _Item] = {}

    async def run(self) -> pb.BatchWriteResponse:
        """Write what can be written; each file that cannot be gets its failure."""
        await self._tree.ensure(self._zone)
        done = await self._recall()
        self._begin(position for position in range(len(self._request.files)) if position not in done)
        losses = attempt = 0
        while self._pending:
            before = len(self._pending)
            await self._round(fresh=attempt > 0)
            attempt += 1
            losses = losses + 1 if len(self._pending) == before else 0
            if losses > ATTEMPTS:
                self._fail(list(self._pending), Contention(f"other writers came in between {ATTEMPTS} times"))
        return self._answer

    def _begin(self, positions: Iterable[int]) -> None:
        """Take the files of the request that have no result yet: what each will consist of."""
        for position in positions:
            item = self._request.files[position]
            try:
                target = Target.of(item, f"files[{position}].")
            except QuartetError as error:
                self._fail([position], error)
                continue
            body = Body.small(item.data)
            if len(item.data) > INLINE:
                body = Body(body.digest, b"", tuple(Digest.of(piece) for piece in _cut(item.data)))
            self._pending[position] = _Item(position, target, body)

    async def _keep(self, items: Sequence[_Item], walks: Sequence[Walk], *, fresh: bool) -> set[int]:
        """Make the bytes durable in the stores of the places that the paths lead to: those of a store in one call.

        In every round anew, since nobody knows how long the last one took: what is there is only touched.
        Return the positions of files that are not written in this round: those of mounted stores that cannot be reached.
        """
        stores: dict[int, list[_Item]] = {}
        left: set[int] = set()
        for item, walk in zip(items, walks, strict=True):
            if item.body.chunks:
                item.body = replace(item.body, store=walk.mount)
                stores.setdefault(walk.mount, []).append(item)
        for store, some in stores.items():
            puts = {
                chunk: Put(chunk, bytes(piece))
                for item in some
                for chunk, piece in zip(item.body.chunks, _cut(self._request.files[item.position].data), strict=True)
            }
            try:
                done = await self._contents.blobs.put_many(address(self._zone, store), list(puts.values()))
            except (MountNotFound, MountRefused, ObjectsNotShared, ObjectStoreUnreachable) as error:
                if not store:
                    raise
                left.update(item.position for item in some)
                if fresh:
                    self._fail([item.position for item in some], error)
                continue
            outcomes = dict(zip(puts, done, strict=True))
            for item in some:
                refused = [outcomes[chunk] for chunk in item.body.chunks if outcomes[chunk] is not None]
                if refused and refused[0] is not None:
                    left.add(item.position)
                    self._fail([item.position], refused[0])
        return left

    async def _round(self, *, fresh: bool) -> None:
        """Try everything that is pending once; of several writes to one path the first."""
        snapshot = self._tree.snapshot(serializable=not fresh)
        items = list({item.target.path.keys: item for item in reversed(self._pending.values())}.values())[::-1]
        walks = await Resolver(self._zone, snapshot).walks([item.target.path for item in items])
        found = await snapshot.get(list({keys.inode(self._zone, walk.ino): None for walk in walks if walk.complete}))
        if fresh:  # what an earlier run of the request wrote, and perhaps only now, is its own
            done = await self._recall()
            items, walks = _without(items, walks, done)
        items, walks = _without(items, walks, await self._keep(items, walks, fresh=fresh))
        held = {}
        if self._request.fence.ByteSize():
            fence = locks.compare(self._zone, self._request.fence)
            held = {bytes(fence.key): fence}
            try:
                await locks.held_by(self._zone, snapshot, self._request.fence)
            except LockLost as error:
                if fresh:
                    self._fail([item.position for item in items], error)
                return
        parts = [_Part(dict(held))]
        for item, walk in zip(items, walks, strict=True):
            kv = found.get(keys.inode(self._zone, walk.ino)) if walk.complete else None
            inode = None if kv is None else storage_pb2.Inode.FromString(kv.value)
            try:
                item.target.met_by(walk, inode)
            except QuartetError as error:
                if fresh:
                    self._fail([item.position], error)
                continue
            await self._pack(parts, held, item, walk, (inode, 0 if kv is None else kv.mod_revision))
        numbered = [(part, self._number()) for part in parts if part.made]
        for i in range(0, len(numbered), _AT_ONCE):
            some = (self._count_and_commit(part, number) for part, number in numbered[i : i + _AT_ONCE])
            for outcome in await asyncio.gather(*some, return_exceptions=True):
                if outcome is not None:
                    raise outcome

    async def _pack(
        self,
        parts: list[_Part],
        held: dict[bytes, rpc_pb2.Compare],
        item: _Item,
        walk: Walk,
        found: tuple[storage_pb2.Inode | None, int],
    ) -> None:
        """Add an item to the last transaction, or to a new one when it does not fit."""
        content = item.content
        made = await change(
            self._tree,
            self._zone,
            walk,
            found,
            lambda inode, now: item.target.settle(inode, item.body, content, now),
        )
        plan = made.plan
        compares = {bytes(one.key): one for one in plan.compares}
        size = sum(op.ByteSize() for op in plan.operations)
        room = ops.LIMIT - (self._claim is not None)
        part = parts[-1]
        counts = len({*itertools.chain(*(one.quotas for _, one in part.made)), *made.quotas})
        if part.made and (
            len(part.compares.keys() | compares.keys()) + counts > room
            or len(part.operations) + len(plan.operations) + counts > room
            or part.size + size > _BYTES
        ):
            part = _Part(dict(held))
            parts.append(part)
        part.compares |= compares
        part.operations += plan.operations
        part.size += size
        part.made.append((item, made))

    async def _count_and_commit(self, part: _Part, number: int) -> None:
        """Charge the quotas that count the files and try the transaction, alone among this node's writers there.

        A file for which there is no room fails; the others of its transaction go into the next round.
        """
        places = [keys.quota(self._zone, one) for one in sorted({*itertools.chain(*(o.quotas for _, o in part.made))})]
        if not places:
            await self._commit(part, number)
            return
        async with self._tree.mutator.gates.passed(places):
            found = await self._tree.snapshot().get(places)
            charges = Charges()
            for item, made in part.made:
                charges.add(made.quotas, made.bytes, made.inodes)
                try:
                    compares, operations = quotas.counted(self._zone, found, charges)
                except QuotaExceeded as error:
                    self._fail([item.position], await quotas.as_seen(self._zone, self._tree.snapshot(), error))
                    return
            part.compares |= {bytes(one.key): one for one in compares}
            part.operations += operations
            await self._commit(part, number)

    async def _commit(self, part: _Part, number: int) -> None:
        """Try a transaction; what it wrote is no longer pending."""
        request = rpc_pb2.TxnRequest(compare=part.compares.values(), success=part.operations)
        lease = 0
        if self._claim is not None:
            lease = await self._tree.lease.current()
            key = self._claim.key + b"\0%08d" % number
            items = [
                storage_pb2.Written.Item(position=item.position, ino=made.plan.answer.ino, gen=_gen(made))
                for item, made in part.made
            ]
            answer = storage_pb2.Written(items=items).SerializeToString()
            request.compare.append(ops.absent(key))
            request.success.append(ops.put(key, self._claim.value(answer), lease))
        try:
            response = await self._tree.store.txn(request)
        except MetastoreError as error:
            if error.fault is not Fault.LEASE_NOT_FOUND or not lease:
                raise
            self._tree.lease.lost(lease)
            return
        if response.succeeded:
            for item, made in part.made:
                self._wrote(item.position, made.plan.answer.ino, _gen(made), response.header.revision)

    async def _recall(self) -> set[int]:
        """Take over what earlier runs of the same request wrote; return the positions."""
        if self._claim is None:
            return set()
        prefix = self._claim.key + b"\0"
        found = await self._tree.store.range(rpc_pb2.RangeRequest(key=prefix, range_end=ops.prefix_end(prefix)))
        done: set[int] = set()
        for kv in found.kvs:
            for item in storage_pb2.Written.FromString(self._claim.read(kv).answer).items:
                self._wrote(item.position, item.ino, item.gen, kv.create_revision)
                done.add(item.position)
            self._parts = max(self._parts, int(kv.key[len(prefix) :]) + 1)
        return done

    def _number(self) -> int:
        self._parts += 1
        return self._parts - 1

    def _wrote(self, position: int, ino: int, gen: int, revision: int) -> None:
        self._pending.pop(position, None)
        result = self._answer.results[position]
        if not result.ino:
            self._answer.written += 1
        result.CopyFrom(pb.WriteResult(ino=ino, etag=records.etag(ino, gen)))
        self._answer.revision = max(self._answer.revision, revision)

    def _fail(self, positions: list[int], error: QuartetError) -> None:
        for position in positions:
            self._pending.pop(position, None)
            self._answer.results[position].failure.CopyFrom(records.failure(error))


def _gen(made: Change) -> int:
    return int(made.plan.answer.etag.rpartition(".")[2])


def _cut(data: bytes) -> list[bytes]:
    """Return the chunks of a file that is too large for its inode."""
    return [bytes(piece) for piece in cut(data)] if len(data) > THRESHOLD else [data]


def _without(items: list[_Item], walks: list[Walk], done: set[int]) -> tuple[list[_Item], list[Walk]]:
    kept = [(item, walk) for item, walk in zip(items, walks, strict=True) if item.position not in done]
    return [item for item, _ in kept], [walk for _, walk in kept]
