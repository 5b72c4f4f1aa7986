"""What every operation on the tree works with, and how a zone gets its root."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import ZoneNotFound
from quartet_server.files import keys, records
from quartet_server.files.inos import Inos
from quartet_server.files.resolve import Resolver
from quartet_server.meta import ops, system
from quartet_server.meta.ledger import LedgerLease
from quartet_server.meta.mutation import Mutator
from quartet_server.meta.recent import Recent
from quartet_server.meta.snapshot import Snapshot
from quartet_server.rpc import DEFAULT_ZONE
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore


@dataclass(slots=True)
class Tree:
    """The store and the tools of one node, shared by all zones.

    Attributes:
        store: Where the tree is kept.
        mutator: Runs writes.
        lease: The lease for the records of requests.
        inos: Hands out inode numbers.
        now: The time, for records; injected.
        recent: What was read lately, decoded; None where the state is in another process.
    """

    store: Metastore
    mutator: Mutator
    lease: LedgerLease
    inos: Inos
    now: Callable[[], Timestamp]
    recent: Recent | None = None
    _rooted: set[str] = field(default_factory=set)

    async def ensure(self, zone: str) -> None:
        """Give the zone its root if this node has not seen it yet. Raises ZoneNotFound for one never created."""
        if zone in self._rooted:
            return
        key = keys.inode(zone, keys.ROOT)
        found = await Snapshot(self.store).get([key, system.zone(zone)])
        if key not in found:
            if zone != DEFAULT_ZONE and system.zone(zone) not in found:
                raise unknown(zone)
            root = records.new_inode(records.DIRECTORY, pb.Attributes(mode=0o755), self.now())
            await self.store.txn(
                rpc_pb2.TxnRequest(compare=[ops.absent(key)], success=[ops.put(key, root.SerializeToString())])
            )
        self._rooted.add(zone)

    def snapshot(self, *, serializable: bool = False, revision: int = 0) -> Snapshot:
        """Return the store at a revision, or as it is; see `Snapshot`."""
        return Snapshot(self.store, serializable=serializable, revision=revision, recent=self.recent)

    async def resolver(self, zone: str, snapshot: Snapshot) -> Resolver:
        """Return a resolver for a read. Raises ZoneNotFound for a zone never created."""
        if zone not in self._rooted and zone != DEFAULT_ZONE:
            found = await snapshot.get([keys.inode(zone, keys.ROOT), system.zone(zone)])
            if not found:
                raise unknown(zone)
        return Resolver(zone, snapshot)

    async def inodes(self, resolver: Resolver, zone: str, inos: list[int]) -> dict[int, storage_pb2.Inode]:
        """Read inodes; the root of a zone in which nothing was written yet is told as an empty directory."""
        by_key = {keys.inode(zone, ino): ino for ino in inos}
        found = await resolver.snapshot.get(list(by_key))
        decoded = {by_key[key]: storage_pb2.Inode.FromString(kv.value) for key, kv in found.items()}
        if keys.ROOT in inos and keys.ROOT not in decoded:
            decoded[keys.ROOT] = _new_root()
        return decoded

    async def images(self, snapshot: Snapshot, zone: str, inos: Iterable[int]) -> dict[int, bytes]:
        """Read what is told of inodes (`records.image`); as `inodes`, but what was read lately is not read again."""
        by_key = {keys.inode(zone, ino): ino for ino in inos}
        found = await snapshot.decoded(list(by_key), records.image_of)
        root = keys.inode(zone, keys.ROOT)
        if root in by_key and root not in found:
            found[root] = records.image(keys.ROOT, _new_root())
        return {by_key[key]: image for key, image in found.items()}


def _new_root() -> storage_pb2.Inode:
    return storage_pb2.Inode(type=records.DIRECTORY, attributes=pb.Attributes(mode=0o755))


def unknown(zone: str) -> ZoneNotFound:
    """Return the error for a zone that was never created."""
    return ZoneNotFound(f"zone {zone} does not exist", zone=zone, hint=f"quartet zone create {zone}")
