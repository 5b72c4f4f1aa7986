"""RestoreSnapshot and BranchSnapshot: a tree is built aside, and takes its place in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.snapshots.storage.v1 import storage_pb2 as storage
from quartet.snapshots.v1 import snapshots_pb2 as pb
from quartet.workspaces.storage.v1.storage_pb2 import WorkspaceRecord

from quartet_server.errors import (
    FieldInvalid,
    FileExists,
    PrincipalRootLost,
    QuotaCrossed,
    RequestTooLarge,
    RootFixed,
)
from quartet_server.files import keys as tree_keys
from quartet_server.files import paths, principals, quotas
from quartet_server.files import records as files_records
from quartet_server.files.contents.target import demand_parent, inode_of
from quartet_server.files.paths import Path
from quartet_server.files.quotas import Charges
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.snapshots import keys, log, records
from quartet_server.snapshots.nodes import Node
from quartet_server.snapshots.reading import below
from quartet_server.snapshots.records import Known
from quartet_server.snapshots.staging import Built, Stage, of_one
from quartet_server.snapshots.totals import Totals
from quartet_server.snapshots.workshop import Workshop, recalled
from quartet_server.workspaces import keys as workspaces
from raftmeta.errors import MetastoreError

MOST_ROOTS = 32
"""Principals whose roots move along with what is put back: each is two operations of the one transaction."""


_MOST = 1 << 62


@dataclass(frozen=True, slots=True)
class Root:
    """A principal's root that is, or is below, what is replaced.

    Attributes:
        kv: Its key and value.
        way: NFC names from what is replaced down to it.
    """

    kv: KeyValue
    way: tuple[bytes, ...]


class Restoration:
    """One RestoreSnapshot call, or a BranchSnapshot, for which nothing may be there yet.

    Attributes:
        progress: What was built so far.
    """

    def __init__(
        self,
        shop: Workshop,
        zone: str,
        request: pb.RestoreSnapshotRequest,
        claim: Claim | None,
        owner: str,
        *,
        branch: bool,
    ) -> None:
        """Check the request. Raises PathInvalid, FieldInvalid, RootFixed."""
        self._shop, self._zone, self._request, self._claim = shop, zone, request, claim
        self._owner, self._branch = owner, branch
        self._source = below(request.source)
        if branch and not request.path:
            raise FieldInvalid.of("path", "is needed: a branch has a place of its own")
        self._path = paths.parse(request.path) if request.path else None
        if self._path is not None:
            _not_root(self._path)
        self.progress = Totals()

    async def run(self) -> pb.RestoreSnapshotResponse:
        """Put the entry in its place. Raises what FileService's writes raise, SnapshotNotFound, SnapshotDamaged."""
        tree, zone = self._shop.tree, self._zone
        await tree.ensure(zone)
        if (told := await recalled(tree.store, self._claim, pb.RestoreSnapshotResponse)) is not None:
            return told
        base, known = await log.found(tree, zone, self._request.snapshot)
        path = self._path or _joined(paths.parse(records.tell(known, base).path), self._source)
        _not_root(path)
        node = await self._shop.directories.node(zone, known.root, self._source)
        snapshot = Snapshot(tree.store)
        await self._placed(snapshot, known, path, _imagined(node), [])  # refuses now what would be refused at the end
        roots = await self._roots(snapshot, path)
        stage = Stage(tree, self._shop.directories, zone, known, self._owner, self._shop.clock)
        self.progress = stage.progress
        try:
            built = await stage.build(node, len(path.names), [root.way for root in roots])

            async def build(snapshot: Snapshot) -> Plan[pb.RestoreSnapshotResponse]:
                plan = await self._placed(snapshot, known, path, built, await self._roots(snapshot, path))
                plan.compares.append(stage.compare)
                plan.operations.append(ops.delete(keys.staging(zone, stage.ino)))
                return plan

            answer, revision = await write(tree, zone, self._request, pb.RestoreSnapshotResponse, build, self._claim)
        except BaseException:
            with contextlib.suppress(MetastoreError):
                await asyncio.shield(stage.abandon())
            raise
        if answer.entry.ino != built.ino:  # an earlier run of the request had done it
            await stage.abandon()
        answer.entry.revision = revision
        return answer

    async def _placed(
        self, snapshot: Snapshot, known: Known, path: Path, built: Built, roots: Sequence[Root]
    ) -> Plan[pb.RestoreSnapshotResponse]:
        """Plan the one transaction: the entry leads to what was built, and what was there goes to the trash."""
        zone, request = self._zone, self._request
        walk = await Resolver(zone, snapshot).walk(path)
        demand_parent(walk)
        there, revision = await inode_of(zone, walk, snapshot)
        etag = None if there is None else files_records.etag(walk.ino, there.gen)
        files_records.require(path, etag, request.if_match, request.if_none_match)
        entry = files_records.entry(str(path), path.names[-1], built.ino, built.inode)
        plan = Plan(
            pb.RestoreSnapshotResponse(entry=entry, totals=built.totals.message), [*walk.compares(), known.compare()]
        )
        parent, key = walk.ino, path.keys[-1]
        if built.totals.bytes > _MOST:
            raise RequestTooLarge(f"{built.totals.bytes} bytes are more than anything can hold", limit=_MOST)
        charges = Charges()
        charges.add(quotas.above(walk), built.totals.bytes, _inodes(built))
        quota = 0
        if there is not None:
            if self._branch:
                raise FileExists(f"{path} exists", path=str(path))
            parent = walk.chain[-2].ino if len(walk.chain) > 1 else tree_keys.ROOT
            if request.if_match or request.if_none_match:
                plan.compares.append(ops.unchanged(tree_keys.inode(zone, walk.ino), revision))
            quota = await self._replace(snapshot, plan, walk, built)
        else:
            plan.compares.append(ops.absent(tree_keys.dentry(zone, parent, key)))
        pointer = files_storage.Parent(ino=parent, name=key.decode())
        plan.operations += [
            files_records.link(zone, parent, key, path.names[-1], built.ino, built.node.type, quota),
            ops.put(tree_keys.parent(zone, built.ino), pointer.SerializeToString()),
        ]
        if built.node.type == files_records.DIRECTORY:
            if there is not None:
                await self._move_name(snapshot, plan, walk.ino, built.ino)
            head = storage.Head(id=known.id, root=records.chunk_of(built.node.digest))
            plan.operations.append(ops.put(keys.head(zone, built.ino), head.SerializeToString()))
        self._move_roots(plan, snapshot, roots, built)
        await quotas.charge(zone, snapshot, plan, charges)
        if max(len(plan.compares), len(plan.operations)) > ops.LIMIT - 4:
            raise RequestTooLarge(f"putting {path} in place needs more operations than one transaction has")
        return plan

    async def _replace(
        self, snapshot: Snapshot, plan: Plan[pb.RestoreSnapshotResponse], walk: Walk, built: Built
    ) -> int:
        """Plan that what is there goes to the trash, its quota with it; return the number of the same quota for what comes."""
        zone, now = self._zone, self._shop.tree.now()
        old = walk.steps[-1]
        item = tree_keys.trash_item(now.ToMicroseconds(), old.ino)
        trashed = files_storage.Trashed(
            ino=old.ino,
            type=old.type,
            path="".join(f"/{step.name}" for step in walk.chain),
            time=now,
            quotas=quotas.above(walk),
            quota=old.quota,
        )
        plan.answer.trash_id = item.hex()
        plan.operations += [
            ops.put(tree_keys.trash(zone, item), trashed.SerializeToString()),
            ops.delete(tree_keys.parent(zone, old.ino)),
        ]
        if old.type == files_records.DIRECTORY:
            await self._without_quotas_below(snapshot, walk)
        if not old.quota or built.node.type != files_records.DIRECTORY:
            return 0
        key = tree_keys.quota(zone, old.quota)
        kv = (await snapshot.get([key]))[key]
        record = files_storage.QuotaRecord.FromString(kv.value)
        number = (await self._shop.tree.inos.take(zone, 1))[0]
        counts = Charges({number: (built.totals.bytes, _inodes(built) - 1)})
        record.ino, record.bytes, record.inodes, record.counting = built.ino, 0, 0, False
        fresh = KeyValue(key=tree_keys.quota(zone, number), value=record.SerializeToString())
        _, operations = quotas.counted(zone, {fresh.key: fresh}, counts)
        plan.operations += operations or [ops.put(fresh.key, fresh.value)]
        # Who changes the limits meanwhile makes this fail; who is charged does too, and is why it is tried again.
        plan.compares.append(ops.unchanged(key, kv.mod_revision))
        plan.gates.append(key)
        return number

    async def _without_quotas_below(self, snapshot: Snapshot, walk: Walk) -> None:
        """Refuse to replace a directory in which another has a quota: it would not be in what comes. Raises QuotaCrossed."""
        prefix = tree_keys.quota(self._zone, 0)[:-8]
        start, more = prefix, True
        while more:
            page = await snapshot.scan(start, ops.prefix_end(prefix), 1000)
            for kv in page.kvs:
                start = kv.key + b"\0"
                record = files_storage.QuotaRecord.FromString(kv.value)
                if record.ino == walk.ino:
                    continue
                if await principals.chain(self._zone, snapshot, record.ino, walk.ino) is not None:
                    raise QuotaCrossed(
                        f"{record.path} is below {walk.path} and has a quota, which a snapshot does not keep",
                        path=record.path,
                        destination=str(walk.path),
                        hint=f"quartet quota rm qt:{record.path}, or branch to another path",
                    )
            more = page.more

    async def _roots(self, snapshot: Snapshot, path: Path) -> list[Root]:
        """Return the principals' roots that are, or are below, what is at the path. Raises RequestTooLarge."""
        walk = await Resolver(self._zone, snapshot).walk(path)
        if not walk.complete or walk.type != files_records.DIRECTORY:
            return []
        prefix = tree_keys.root_of(self._zone)
        found: list[Root] = []
        start, more = prefix, True
        while more:
            page = await snapshot.scan(start, ops.prefix_end(prefix), 1000)
            for kv in page.kvs:
                start = kv.key + b"\0"
                ino = files_storage.RootRecord.FromString(kv.value).ino
                steps = await principals.chain(self._zone, snapshot, ino, walk.ino)
                if steps is not None:
                    found.append(Root(kv, tuple(tree_keys.parse(step.key).rest for step in steps)))
            more = page.more
        if len(found) > MOST_ROOTS:
            raise RequestTooLarge(
                f"{len(found)} principals have their roots at {path} or below, at most {MOST_ROOTS} can move along",
                path=str(path),
            )
        return found

    def _move_roots(
        self, plan: Plan[pb.RestoreSnapshotResponse], snapshot: Snapshot, roots: Sequence[Root], built: Built
    ) -> None:
        """Let principals' roots lead to what takes the place of what they led to. Raises PrincipalRootLost."""
        prefix = tree_keys.root_of(self._zone)
        for root in roots:
            ino = built.found.get(root.way)
            principal = root.kv.key[len(prefix) :].decode()
            if ino is None:
                raise PrincipalRootLost(
                    f"the root of {principal} would be gone", principal=principal, hint=f"quartet root rm {principal}"
                )
            record = files_storage.RootRecord(ino=ino)
            plan.operations.append(ops.put(root.kv.key, record.SerializeToString()))
            plan.compares.append(ops.unchanged(root.kv.key, root.kv.mod_revision))
        if plan.answer.trash_id:  # a root set meanwhile could be in what goes
            plan.compares.append(ops.none_since(prefix, snapshot.revision))

    async def _move_name(self, snapshot: Snapshot, plan: Plan[pb.RestoreSnapshotResponse], old: int, new: int) -> None:
        """Let the workspace that a directory is be the one that takes its place."""
        before = workspaces.of_directory(self._zone, old)
        kv = (await snapshot.get([before])).get(before)
        plan.compares.append(ops.unchanged(before, kv.mod_revision if kv is not None else 0))
        if kv is None:
            return
        named = workspaces.named(self._zone, kv.value.decode())
        registered = (await snapshot.get([named]))[named]
        record = WorkspaceRecord.FromString(registered.value)
        record.ino = new
        plan.compares.append(ops.unchanged(named, registered.mod_revision))
        plan.operations += [
            ops.delete(before),
            ops.put(workspaces.of_directory(self._zone, new), kv.value),
            ops.put(named, record.SerializeToString()),
        ]


def request_of(request: pb.BranchSnapshotRequest) -> pb.RestoreSnapshotRequest:
    """Return a branch as the restoration that it is, to a place where nothing may be."""
    return pb.RestoreSnapshotRequest(
        snapshot=request.snapshot,
        source=request.source,
        path=request.path,
        request_id=request.request_id,
        fence=request.fence,
    )


def _inodes(built: Built) -> int:
    """Return how many inodes a quota counts for what was built."""
    totals = built.totals
    return totals.files + totals.directories + totals.symlinks + (built.node.type == files_records.DIRECTORY)


def _imagined(node: Node) -> Built:
    """Return what will be built, as far as it matters to what refuses it."""
    totals = node.totals or of_one(node)
    return Built(0, node, files_storage.Inode(type=node.type, attributes=node.attributes), totals)


def _joined(path: Path, source: Path) -> Path:
    """Return the path of what is at `source` below a path. Raises PathInvalid."""
    return paths.parse("/" + "/".join([*path.names, *source.names]))


def _not_root(path: Path) -> None:
    if path.is_root:
        raise RootFixed("the root cannot be replaced", path="/", hint="give another path, or branch")
