"""Zones: that they exist, and where their records live."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.cluster.storage.v1 import storage_pb2
from quartet.cluster.v1 import cluster_pb2 as pb

from quartet_server.errors import Contention, FieldInvalid, ZoneExists, ZoneNotFound
from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.placement import placed
from quartet_server.placement.placed import Placed
from quartet_server.placement_errors import MoveRefused
from quartet_server.rpc.call import DEFAULT_ZONE
from quartet_server.rpc.zones import check_zone, may_act
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

LONGEST_HOME = 255
_ATTEMPTS = 10


async def create(store: Metastore, name: str, home: str, now: Timestamp) -> pb.Zone:
    """Create a zone. Raises ZoneInvalid, FieldInvalid, ZoneExists, MetastoreError."""
    key = system.zone(check_zone(name))
    if len(home.encode()) > LONGEST_HOME:
        raise FieldInvalid.of("home", f"at most {LONGEST_HOME} bytes are taken")
    record = storage_pb2.ZoneRecord(home=home, create_time=now)
    answer = await store.txn(
        rpc_pb2.TxnRequest(compare=[ops.absent(key)], success=[ops.put(key, record.SerializeToString())])
    )
    if not answer.succeeded:
        raise ZoneExists(f"zone {name} exists", zone=name)
    return of(Placed(name, record, answer.header.revision))


async def get(store: Metastore, name: str) -> pb.Zone:
    """Read a zone, and how far it is on its way to another node. Raises ZoneInvalid, ZoneNotFound, MetastoreError."""
    key, moving = system.zone(check_zone(name)), system.move(name)
    found = await Snapshot(store).get([key, moving])
    if key in found:
        return _zone(found[key], found.get(moving))
    if name == DEFAULT_ZONE:
        return pb.Zone(name=name)
    raise _unknown(name)


async def move(store: Metastore, name: str, to: str, move_id: str, now: Timestamp) -> pb.Zone:
    """Have a zone move to the node `to`. Raises ZoneInvalid, ZoneNotFound, MoveRefused, Contention, MetastoreError."""
    for _ in range(_ATTEMPTS):
        found = await placed.read(store, check_zone(name))
        if found is None and name != DEFAULT_ZONE:
            raise _unknown(name)
        if found is None or not found.home:
            done: Placed | None = await placed.settle(store, name, found, to, b"", now)
        elif found.move is not None and found.move.to != to:
            raise MoveRefused(f"zone {name} is moving to {found.move.to}", zone=name, node=found.move.to)
        elif found.move is not None or found.home == to:
            done = found
        else:
            done = await placed.begin_move(store, found, to, move_id, now)
        if done is not None:
            return of(done)
    raise Contention(f"zone {name} is changed by others all the time")


async def stop_move(store: Metastore, name: str) -> pb.Zone:
    """Have a zone stay where it is. Raises ZoneInvalid, ZoneNotFound, MoveRefused, Contention, MetastoreError."""
    for _ in range(_ATTEMPTS):
        found = await placed.read(store, check_zone(name))
        if found is None and name != DEFAULT_ZONE:
            raise _unknown(name)
        if found is None or found.move is None:
            raise MoveRefused(f"zone {name} does not move", zone=name)
        done = await placed.stop_move(store, found)
        if done is not None:
            return of(done)
    raise Contention(f"zone {name} is changed by others all the time")


async def living_on(store: Metastore, node: str) -> list[str]:
    """Return the zones whose records live on a node, or are on their way to it, by name. Raises MetastoreError."""
    found = await Snapshot(store).scan(system.ZONES, ops.prefix_end(system.ZONES))
    places = [Placed.of(kv) for kv in found.kvs]
    return [
        one.zone
        for one in places
        if (one.home == node and one.record.store) or (one.move is not None and one.move.to == node)
    ]


def _unknown(name: str) -> ZoneNotFound:
    return ZoneNotFound(f"zone {name} does not exist", zone=name, hint=f"quartet zone create {name}")


async def every(store: Metastore, allowed: frozenset[str] | None) -> pb.ListZonesResponse:
    """Read all zones of which the caller's certificate lists the name (None: every). Raises MetastoreError."""
    snapshot = Snapshot(store)
    found = await snapshot.scan(system.ZONES, ops.prefix_end(system.ZONES))
    zones = {zone.name: zone for zone in map(_zone, found.kvs)}
    zones.setdefault(DEFAULT_ZONE, pb.Zone(name=DEFAULT_ZONE))
    return pb.ListZonesResponse(
        zones=[zones[name] for name in sorted(zones) if may_act(name, allowed)], revision=snapshot.revision
    )


def of(place: Placed, told: storage_pb2.MoveProgress | None = None) -> pb.Zone:
    """Return a zone's place as clients see it; `told` is how far its move is."""
    record, zone = (
        place.record,
        pb.Zone(name=place.zone, home=place.home, moves=place.record.moves, revision=place.revision),
    )
    if record.HasField("create_time"):
        zone.create_time.CopyFrom(record.create_time)
    if place.move is not None:
        zone.move.CopyFrom(pb.ZoneMove(to=place.move.to, start_time=place.move.start_time))
        if told is not None and told.id == place.move.id:
            zone.move.MergeFrom(
                pb.ZoneMove(
                    step=pb.ZoneMoveStep.ValueType(told.step),
                    rows=told.rows,
                    total_rows=told.total_rows,
                    problem=told.problem,
                )
            )
    return zone


def _zone(kv: KeyValue, progress: KeyValue | None = None) -> pb.Zone:
    told = None if progress is None else storage_pb2.MoveProgress.FromString(progress.value)
    return of(Placed.of(kv), told)
