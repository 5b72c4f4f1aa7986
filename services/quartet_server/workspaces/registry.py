"""Registering, changing and forgetting: each one transaction that compares what it was built from."""

from __future__ import annotations

from dataclasses import dataclass, field

from quartet.workspaces.storage.v1 import storage_pb2
from quartet.workspaces.v1 import workspaces_pb2 as pb

from quartet_server.errors import EtagStale, WorkspaceExists, WorkspaceNotFound
from quartet_server.files.places import ROOT, Place, Places
from quartet_server.meta import ops
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.workspaces import keys, records
from quartet_server.workspaces.records import Declaration
from raftmeta.etcd import rpc_pb2


@dataclass(frozen=True, slots=True)
class Found:
    """A registration as a snapshot shows it to the caller.

    Attributes:
        kv: Its key and value.
        name: Its name.
        record: The value.
        path: Where the directory is, as the caller sees it; None when it is gone.
    """

    kv: KeyValue
    name: str
    record: storage_pb2.WorkspaceRecord
    path: str | None

    def require(self, if_match: str) -> None:
        """Hold the registration against the etag that a request demands. Raises EtagStale."""
        current = str(self.kv.mod_revision)
        if if_match not in ("", "*", current):
            raise EtagStale(f"{self.name} was changed since it was read", etag=if_match, current=current)


@dataclass(slots=True)
class Change:
    """A transaction in the making.

    Attributes:
        record: What the registration will say.
        path: Where the directory is; None when it is gone.
        compares: What must still hold.
        operations: What is written.
    """

    record: storage_pb2.WorkspaceRecord
    path: str | None
    compares: list[rpc_pb2.Compare] = field(default_factory=list)
    operations: list[rpc_pb2.RequestOp] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Registry:
    """The registrations of all zones.

    Attributes:
        places: The tree that they name directories of.
    """

    places: Places

    async def visible(self, zone: str, snapshot: Snapshot, kvs: list[KeyValue]) -> list[Found]:
        """Return those of some registrations that the caller may see, in their order. Raises PrincipalRootLost.

        They are those whose directory is below the caller's root, and those whose directory is gone and was named by
        somebody with this very root.
        """
        root = await self.places.root(zone, snapshot)
        decoded = [(kv, *records.decoded(zone, kv)) for kv in kvs]
        paths = await self.places.located(zone, snapshot, [record.ino for _, _, record in decoded], root)
        lost = [record.ino for _, _, record in decoded if paths[record.ino] is None and root in (ROOT, record.root)]
        anywhere = paths if root == ROOT else await self.places.located(zone, snapshot, lost, ROOT)
        gone = {ino for ino in lost if anywhere[ino] is None}
        return [
            Found(kv, name, record, paths[record.ino])
            for kv, name, record in decoded
            if paths[record.ino] is not None or (record.ino in gone and root in (ROOT, record.root))
        ]

    async def find(self, zone: str, snapshot: Snapshot, name: str) -> Found | None:
        """Return the registration of a name. Raises WorkspaceExists when it has one that the caller does not see."""
        key = keys.named(zone, name)
        kv = (await snapshot.get([key])).get(key)
        if kv is None:
            return None
        found = await self.visible(zone, snapshot, [kv])
        if not found:
            raise WorkspaceExists(f"the name {name} is taken", name=name)
        return found[0]

    async def demand(self, zone: str, snapshot: Snapshot, name: str) -> Found:
        """Return the registration of a name. Raises WorkspaceNotFound."""
        try:
            found = await self.find(zone, snapshot, name)
        except WorkspaceExists:
            found = None
        if found is None:
            raise WorkspaceNotFound(f"no workspace is registered as {name}", name=name)
        return found

    async def at(self, zone: str, snapshot: Snapshot, path: str) -> Found:
        """Return the registration of the directory at a path. Raises WorkspaceNotFound, and as `Places.directory`."""
        place = await self.places.directory(zone, snapshot, path)
        key = keys.of_directory(zone, place.ino)
        kv = (await snapshot.get([key])).get(key)
        if kv is None:
            raise WorkspaceNotFound(f"{path} is not registered", path=path[:200])
        return await self.demand(zone, snapshot, kv.value.decode())

    async def declared(self, zone: str, snapshot: Snapshot, wanted: Declaration, before: Found | None) -> Change:
        """Plan what makes the registration say what is `wanted`, in the place of what was there `before`.

        Raises WorkspaceExists when the directory has another registration, and as `Places.directory`.
        """
        place = await self.places.directory(zone, snapshot, wanted.path)
        record = wanted.record(place.ino, place.root, self.places.now())
        if before is not None:
            record.create_time.CopyFrom(before.record.create_time)
            record.created_by = record.created_by or before.record.created_by
        change = Change(record, place.path)
        await self._write(zone, snapshot, change, wanted.name, before, place)
        return change

    async def updated(
        self, zone: str, snapshot: Snapshot, wanted: pb.Workspace, fields: set[str], old: Found
    ) -> Change:
        """Plan that some `fields` of a registration get the values in `wanted`. Raises as `declared`."""
        record = storage_pb2.WorkspaceRecord()
        record.CopyFrom(old.record)
        record.update_time.CopyFrom(self.places.now())
        if "kind" in fields:
            record.kind = wanted.kind
        if "description" in fields:
            record.description = wanted.description
        if "labels" in fields:
            record.labels.clear()
            record.labels.update(wanted.labels)
        place = None
        if "path" in fields:
            place = await self.places.directory(zone, snapshot, wanted.path)
            record.ino, record.root = place.ino, place.root
        change = Change(record, old.path if place is None else place.path)
        await self._write(zone, snapshot, change, old.name, old, place)
        return change

    async def forgotten(self, zone: str, snapshot: Snapshot, name: str, if_match: str) -> Plan[pb.UnregisterResponse]:
        """Plan that a registration goes. Raises WorkspaceNotFound, EtagStale."""
        found = await self.demand(zone, snapshot, name)
        found.require(if_match)
        return Plan(
            pb.UnregisterResponse(),
            [ops.unchanged(found.kv.key, found.kv.mod_revision)],
            [ops.delete(found.kv.key), ops.delete(keys.of_directory(zone, found.record.ino))],
        )

    async def _write(
        self, zone: str, snapshot: Snapshot, change: Change, name: str, before: Found | None, place: Place | None
    ) -> None:
        """Add comparisons and writes of the registration, and of the key that says which name the directory has."""
        key = keys.named(zone, name)
        change.compares.append(ops.unchanged(key, 0 if before is None else before.kv.mod_revision))
        change.operations.append(ops.put(key, change.record.SerializeToString(deterministic=True)))
        if place is None:
            return
        change.compares += place.compares
        if before is not None and before.record.ino == place.ino:
            return
        index = keys.of_directory(zone, place.ino)
        holder = (await snapshot.get([index])).get(index)
        if holder is not None:
            raise WorkspaceExists(
                f"{place.path} is registered as {holder.value.decode()}", path=place.path, name=holder.value.decode()
            )
        change.compares.append(ops.absent(index))
        change.operations.append(ops.put(index, name.encode()))
        if before is not None:
            change.operations.append(ops.delete(keys.of_directory(zone, before.record.ino)))
