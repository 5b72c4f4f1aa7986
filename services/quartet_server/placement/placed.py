"""A zone's place, as the Metastore has it: read, taken, moved, each in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.cluster.storage.v1.storage_pb2 import MoveProgress, ZoneMoveRecord, ZoneRecord

from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import KeyValue, Snapshot
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore


@dataclass(frozen=True, slots=True)
class Placed:
    """A zone's record as of one revision.

    Attributes:
        zone: The zone.
        record: What the Metastore has; nobody changes it.
        revision: When that was written.
    """

    zone: str
    record: ZoneRecord
    revision: int

    @classmethod
    def of(cls, kv: KeyValue) -> Placed:
        """Read the value of a zone's key."""
        return cls(kv.key[len(system.ZONES) :].decode(), ZoneRecord.FromString(kv.value), kv.mod_revision)

    @property
    def home(self) -> str:
        """Name of the node where it lives; empty for none."""
        return self.record.home

    @property
    def move(self) -> ZoneMoveRecord | None:
        """Its way to another node."""
        return self.record.move if self.record.HasField("move") else None


async def read(store: Metastore, zone: str) -> Placed | None:
    """Return a zone's place as it is now; None when nothing was ever said of it. Raises MetastoreError."""
    key = system.zone(zone)
    found = (await Snapshot(store).get([key])).get(key)
    return None if found is None else Placed.of(found)


async def settle(store: Metastore, zone: str, found: Placed | None, home: str, disk: bytes, now: Timestamp) -> Placed:
    """Give a zone that has no home, or whose home has not said on which disk, this one, unless somebody was quicker.

    `found` is what is known of it. Returns its place whoever was quicker. Raises MetastoreError.
    """
    record = ZoneRecord(create_time=now)
    if found is not None:
        record.CopyFrom(found.record)
    record.home, record.store = home, disk
    return await _write(store, zone, found, record) or await _there(store, zone)


async def begin_move(store: Metastore, found: Placed, to: str, move: str, now: Timestamp) -> Placed | None:
    """Say that a zone moves; None when its record has changed meanwhile. Raises MetastoreError."""
    record = ZoneRecord()
    record.CopyFrom(found.record)
    record.move.CopyFrom(ZoneMoveRecord(to=to, start_time=now, id=move))
    return await _write(store, found.zone, found, record)


async def renew(store: Metastore, found: Placed) -> Placed | None:
    """Write the record again as it is: no earlier transaction that is still on its way changes it then. As `begin_move`."""
    return await _write(store, found.zone, found, found.record)


async def stop_move(store: Metastore, found: Placed) -> Placed | None:
    """Say that a zone stays; what the other node has of it is to be deleted there. Otherwise as `begin_move`."""
    record = ZoneRecord()
    record.CopyFrom(found.record)
    record.ClearField("move")
    return await _write(store, found.zone, found, record, left_on=found.record.move.to)


async def end_move(store: Metastore, found: Placed, disk: bytes) -> Placed | None:
    """Say that a zone has moved, to `disk` of the other node; what its old home has is to be deleted. Else as `begin_move`."""
    record = ZoneRecord()
    record.CopyFrom(found.record)
    record.home, record.store, record.moves = found.record.move.to, disk, found.record.moves + 1
    record.ClearField("move")
    return await _write(store, found.zone, found, record, left_on=found.home)


async def progress(store: Metastore, zone: str, move: str) -> MoveProgress:
    """Return how far a move is; one that has not begun when nothing is known of it. Raises MetastoreError."""
    key = system.move(zone)
    found = (await Snapshot(store).get([key])).get(key)
    told = MoveProgress() if found is None else MoveProgress.FromString(found.value)
    return told if told.id == move else MoveProgress(id=move)


async def note(store: Metastore, found: Placed, told: MoveProgress) -> bool:
    """Write down how far the move of a zone is; False when its record has changed meanwhile. Raises MetastoreError."""
    answer = await store.txn(
        pb.TxnRequest(
            compare=[ops.unchanged(system.zone(found.zone), found.revision)],
            success=[ops.put(system.move(found.zone), told.SerializeToString())],
        )
    )
    return answer.succeeded


async def left(store: Metastore, node: str) -> list[str]:
    """Return the zones of which a node has rows that it should delete. Raises MetastoreError."""
    prefix = system.left(node, "")
    found = await Snapshot(store).scan(prefix, ops.prefix_end(prefix), keys_only=True)
    return [kv.key[len(prefix) :].decode() for kv in found.kvs]


async def left_since(store: Metastore, node: str, zone: str) -> int:
    """Return the revision at which it was last said that a node should delete its rows of a zone, or 0. Raises MetastoreError."""
    key = system.left(node, zone)
    found = (await Snapshot(store).get([key])).get(key)
    return 0 if found is None else found.mod_revision


async def forget_left(store: Metastore, node: str, zone: str, since: int) -> None:
    """Say that a node has deleted its rows of a zone, unless it was said anew that it should. Raises MetastoreError."""
    key = system.left(node, zone)
    await store.txn(pb.TxnRequest(compare=[ops.unchanged(key, since)], success=[ops.delete(key)]))


async def _write(
    store: Metastore, zone: str, found: Placed | None, record: ZoneRecord, left_on: str = ""
) -> Placed | None:
    """Write the record if it is as it was found; with it that a node has rows to delete. Raises MetastoreError."""
    key = system.zone(zone)
    success = [ops.put(key, record.SerializeToString())]
    if left_on:
        success += [ops.put(system.left(left_on, zone), b""), ops.delete(system.move(zone))]
    answer = await store.txn(
        pb.TxnRequest(compare=[ops.unchanged(key, found.revision if found is not None else 0)], success=success)
    )
    return Placed(zone, record, answer.header.revision) if answer.succeeded else None


async def _there(store: Metastore, zone: str) -> Placed:
    found = await read(store, zone)
    assert found is not None, "zones are never deleted"
    return found
