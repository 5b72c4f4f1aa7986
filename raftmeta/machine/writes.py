"""Puts and deletes of one keyspace inside the write transaction: revisions, sub-revisions, leases, events."""

from __future__ import annotations

from raftmeta.etcd import kv_pb2 as kv
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine.applied import Change, SpaceChange, tombstone
from raftmeta.machine.ranges import revisions, span_end
from raftmeta.store.layout import Slot, new_id, revision_key, unpack_slot
from raftmeta.store.view import SpaceState
from raftmeta.store.writes import WriteView


class SpaceWriter:
    """One keyspace during one `apply`.

    A request's changes share one main revision, the next one, and count sub-revisions; `commit` ends the request.

    Attributes:
        state: Counters; saved by the caller when they differ from what was read.
        change: What to tell the listeners.
        events: Changes of the request being applied.
    """

    def __init__(self, view: WriteView, space: int) -> None:
        """Start from the counters in the store."""
        self.view = view
        self.space = space
        self.state = view.space(space)
        self.change = SpaceChange()
        self._item = kv.KeyValue()
        self.events: list[Change] = []

    @property
    def revision(self) -> int:
        """Revision that a read inside the request sees: the next one as soon as the request changed something."""
        return self.state.current + 1 if self.events else self.state.current

    def commit(self) -> int:
        """End the request; return the current revision."""
        if self.events:
            revision = self.state.current + 1
            self.state = SpaceState(revision, self.state.compacted, self.state.swept)
            self.change.revisions.append((revision, self.events))
            self.events = []
        return self.state.current

    def put(self, request: pb.PutRequest) -> bytes | None:
        """Apply a put whose conditions (lease, existing key) were checked; return the `KeyValue` bytes of prev_kv."""
        view, space, key = self.view, self.space, request.key
        old = view.slot(space, key)
        value, lease = request.value, request.lease
        main, sub = self.state.current + 1, len(self.events)
        alive = old is not None and old.alive
        shown: bytes | None = None
        if alive and old is not None and (request.prev_kv or request.ignore_value or request.ignore_lease):
            before = view.record(space, old.revision)
            previous = kv.KeyValue.FromString(before)
            if request.ignore_value:
                value = previous.value
            if request.ignore_lease:
                lease = previous.lease
            if request.prev_kv:
                shown = before
        created, version = (old.created, old.version + 1) if alive and old is not None else (main, 1)
        item = self._item  # every field is set anew
        item.key, item.value = key, value
        item.create_revision, item.mod_revision, item.version = created, main, version
        item.lease = lease
        record = item.SerializeToString()
        key_id = new_id(main, sub) if old is None else old.id
        view.put(space, key, old, Slot(1, revision_key(main, sub), created, version, lease, key_id), record)
        self.events.append(Change(key, main, False, version == 1, record))
        return shown

    def delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        """Apply a delete; `header.revision` is the current revision when nothing changed so far in the request."""
        response = pb.DeleteRangeResponse()
        space, key, range_end = self.space, request.key, request.range_end
        if request.prev_kv:
            for revision in revisions(self.view, space, key, range_end, self.revision):
                response.prev_kvs.append(kv.KeyValue.FromString(self.view.record(space, revision)))
        doomed: list[tuple[bytes, Slot]]
        if range_end:
            rows = self.view.slots(space, key, span_end(range_end))
            doomed = [(found, unpack_slot(data)) for found, data in rows if data[0]]
        else:
            slot = self.view.slot(space, key)
            doomed = [(key, slot)] if slot is not None and slot.alive else []
        for found, slot in doomed:
            self.delete(found, slot)
        response.deleted = len(doomed)
        response.header.revision = self.revision
        return response

    def delete(self, key: bytes, slot: Slot) -> None:
        """Write the tombstone of a living key."""
        main, sub = self.state.current + 1, len(self.events)
        new = Slot(0, revision_key(main, sub), 0, 0, 0, slot.id)
        record = kv.KeyValue(key=key).SerializeToString()
        self.view.delete(self.space, key, slot, new, record)
        self.events.append(tombstone(key, main, record))
