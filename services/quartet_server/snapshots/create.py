"""CreateSnapshot: a directory is read at one revision, kept as a Merkle tree, and recorded in one transaction."""

from __future__ import annotations

from collections.abc import Mapping

from quartet.snapshots.storage.v1 import storage_pb2 as storage
from quartet.snapshots.v1 import snapshots_pb2 as pb

from quartet_server.errors import Contention, FieldInvalid, RevisionCompacted
from quartet_server.files import paths
from quartet_server.files.keys import parse as parse_key
from quartet_server.files.principals import current
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import holding, keys, records, refs
from quartet_server.snapshots.bases import Base, base_of, newest, revision_of
from quartet_server.snapshots.building import Builder, Filling
from quartet_server.snapshots.history import Changed, changed
from quartet_server.snapshots.living import Living
from quartet_server.snapshots.records import Known
from quartet_server.snapshots.totals import Totals
from quartet_server.snapshots.workshop import Workshop, marked, recalled
from raftmeta.errors import Fault, MetastoreError

_ATTEMPTS = 3
_MESSAGE, _LABELS, _LABEL, _VALUE = 4096, 32, 63, 255


class Creation:
    """One CreateSnapshot call.

    Attributes:
        progress: What was read so far.
    """

    def __init__(self, shop: Workshop, zone: str, request: pb.CreateSnapshotRequest, claim: Claim | None) -> None:
        """Check the request. Raises PathInvalid, FieldInvalid."""
        self._shop, self._zone, self._request, self._claim = shop, zone, request, claim
        self._path = paths.parse(request.path)
        _check(request)
        self.progress = Totals()

    async def run(self) -> pb.Snapshot:
        """Make the snapshot.

        The tree is read anew, at a newer revision, when its revision was compacted meanwhile, or the snapshot that it was to
        share with was deleted. Raises RevisionCompacted, Contention, SnapshotParentMoved, and what reading the tree raises.
        """
        await self._shop.tree.ensure(self._zone)
        if (told := await recalled(self._shop.tree.store, self._claim, pb.Snapshot)) is not None:
            return told
        for attempt in range(_ATTEMPTS):
            try:
                made = await self._once(shared=attempt == 0)
            except MetastoreError as error:
                if error.fault is not Fault.COMPACTED:
                    raise
                continue
            if made is not None:
                return made
        raise RevisionCompacted(
            f"{self._path} could not be read at one revision: it was compacted meanwhile", hint="try again"
        )

    async def _once(self, *, shared: bool) -> pb.Snapshot | None:
        """Read the tree at the present revision, and record it; None when it must be read again."""
        shop, zone, began = self._shop, self._zone, self._shop.clock()
        mark, revision = await marked(shop, zone)
        snapshot = Snapshot(shop.tree.store, revision=revision)
        walk = (await Resolver(zone, snapshot).walk(self._path)).demand_directory()
        await self._foresee(walk)
        base = await base_of(zone, snapshot, walk.ino) if shared else None
        since = await changed(shop.tree.store, zone, base.revision, snapshot) if base is not None else None
        base = base if since is not None else None
        root, totals, filling = await self._build(snapshot, walk.ino, base, since)
        await shop.compositions.record(zone, filling.composed)
        if shop.clock() - began > shop.settled:
            await holding.touch(shop.directories, zone, root)
        return await self._commit(walk, snapshot.revision, mark, base, root, totals)

    async def _build(
        self, snapshot: Snapshot, ino: int, base: Base | None, since: Changed | None
    ) -> tuple[Digest, Totals, Filling]:
        shop = self._shop
        filling = Filling(shop.directories.blobs, self._zone)
        living = Living(self._zone, snapshot, filling, shop.directories, since)
        builder = Builder(self._zone, living, filling, shop.directories)
        self.progress = builder.progress
        root, totals = await builder.build(ino, base.root if base is not None else None)
        return root, totals, filling

    async def _commit(
        self, walk: Walk, revision: int, mark: bytes, base: Base | None, root: Digest, totals: Totals
    ) -> pb.Snapshot | None:
        """Record the snapshot; None when the one that it shares with is gone."""
        zone, request, shop = self._zone, self._request, self._shop
        id_ = keys.new_id(revision, shop.draw())
        record = storage.SnapshotRecord(
            root=records.chunk_of(root),
            inos=[step.ino for step in walk.chain],
            names=[step.name for step in walk.chain],
            message=request.message,
            labels=request.labels,
            owner=current(),
            time=shop.tree.now(),
            revision=revision,
            totals=totals.message,
            refs=int(bool(request.ref)),
        )
        lost = False

        async def build(snapshot: Snapshot) -> Plan[pb.Snapshot]:
            nonlocal lost
            head = keys.head(zone, walk.ino)
            before = (await snapshot.get([head])).get(head)
            if base is not None and not await records.many(zone, snapshot, [base.known.id]):
                lost = True
                raise Contention("the snapshot that this one shares with was deleted meanwhile")
            plan = Plan(pb.Snapshot(), [*walk.base.guards, ops.unchanged(head, before.mod_revision if before else 0)])
            if base is not None:
                plan.compares.append(base.known.compare())
            parent = await newest(zone, snapshot, before)
            if request.ref:
                parent = await refs.moved(zone, snapshot, plan, walk.base, request.ref, id_, root)
            records.expect(request.expected_parent, parent, self._line)
            record.parent = parent
            if before is None or revision_of(before) <= revision:
                value = storage.Head(id=id_, root=record.root, revision=revision)
                plan.operations.append(ops.put(head, value.SerializeToString()))
            plan.operations += [
                ops.put(keys.snapshot(zone, id_), record.SerializeToString()),
                ops.put(keys.by_path(zone, map(_name, walk.chain), id_), b""),
                ops.put(keys.by_root(zone, root.hash, id_), b""),
                ops.delete(mark),
            ]
            plan.answer.CopyFrom(records.tell(Known(id_, KeyValue(), record), walk.base))
            return plan

        try:
            answer, _ = await shop.tree.mutator.run(pb.Snapshot, build, self._claim)
        except Contention:
            if not lost:
                raise
            return None
        return answer

    @property
    def _line(self) -> str:
        """What the parent is the newest of."""
        return f"ref {self._request.ref}" if self._request.ref else str(self._path)

    async def _foresee(self, walk: Walk) -> None:
        """Raise what would be raised at the end, as far as it can be known: the tree need not be read for it."""
        request, snapshot = self._request, Snapshot(self._shop.tree.store)
        if not request.expected_parent:
            return
        if request.ref:
            parent = await refs.current(zone=self._zone, snapshot=snapshot, base=walk.base, name=request.ref)
        else:
            key = keys.head(self._zone, walk.ino)
            parent = await newest(self._zone, snapshot, (await snapshot.get([key])).get(key))
        records.expect(request.expected_parent, parent, self._line)


def _name(step: Step) -> bytes:
    return parse_key(step.key).rest


def _check(request: pb.CreateSnapshotRequest) -> None:
    """Hold the request against its limits. Raises FieldInvalid."""
    if (size := len(request.message.encode())) > _MESSAGE:
        raise FieldInvalid.of("message", f"{size} bytes, at most {_MESSAGE} are taken")
    check_labels(request.labels)
    if request.ref:
        records.check_ref(request.ref, "ref")
    records.check_expected(request.expected_parent, "expected_parent")


def check_labels(labels: Mapping[str, str]) -> None:
    """Hold labels against their limits. Raises FieldInvalid."""
    if len(labels) > _LABELS:
        raise FieldInvalid.of("labels", f"{len(labels)} labels, at most {_LABELS} are taken")
    for name, value in labels.items():
        if not 1 <= len(name.encode()) <= _LABEL or len(value.encode()) > _VALUE:
            raise FieldInvalid.of("labels", f"a name has 1 to {_LABEL} bytes, a value at most {_VALUE}")
