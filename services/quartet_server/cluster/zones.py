"""Zones: that they exist, and where their records live."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.cluster.storage.v1 import storage_pb2
from quartet.cluster.v1 import cluster_pb2 as pb

from quartet_server.errors import FieldInvalid, ZoneExists, ZoneNotFound
from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.rpc.call import DEFAULT_ZONE
from quartet_server.rpc.zones import check_zone, may_act
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

LONGEST_HOME = 255


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
    return pb.Zone(name=name, home=home, create_time=now, revision=answer.header.revision)


async def get(store: Metastore, name: str) -> pb.Zone:
    """Read a zone. Raises ZoneInvalid, ZoneNotFound, MetastoreError."""
    key = system.zone(check_zone(name))
    found = await Snapshot(store).get([key])
    if key in found:
        return _zone(found[key])
    if name == DEFAULT_ZONE:
        return pb.Zone(name=name)
    raise ZoneNotFound(f"zone {name} does not exist", zone=name, hint=f"quartet zone create {name}")


async def every(store: Metastore, allowed: frozenset[str] | None) -> pb.ListZonesResponse:
    """Read all zones of which the caller's certificate lists the name (None: every). Raises MetastoreError."""
    snapshot = Snapshot(store)
    found = await snapshot.scan(system.ZONES, ops.prefix_end(system.ZONES))
    zones = {zone.name: zone for zone in map(_zone, found.kvs)}
    zones.setdefault(DEFAULT_ZONE, pb.Zone(name=DEFAULT_ZONE))
    return pb.ListZonesResponse(
        zones=[zones[name] for name in sorted(zones) if may_act(name, allowed)], revision=snapshot.revision
    )


def _zone(kv: KeyValue) -> pb.Zone:
    record = storage_pb2.ZoneRecord.FromString(kv.value)
    return pb.Zone(
        name=kv.key[len(system.ZONES) :].decode(),
        home=record.home,
        create_time=record.create_time,
        revision=kv.mod_revision,
    )
