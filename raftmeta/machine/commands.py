"""Applies one command to its keyspace: validates, refuses or changes; never raises for a bad command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import checks, plain, txns
from raftmeta.machine.applied import Result
from raftmeta.machine.writes import SpaceWriter
from raftmeta.store.layout import revision_key
from raftmeta.store.view import SpaceState, View
from raftmeta.store.writes import WriteView
from raftmeta.v1 import command_pb2

MIN_LEASE_TTL = 2
MAX_LEASE_TTL = 9_000_000_000
MAX_HOLDER = 128
MAX_BATCH = 1_000

_FLOOR = b"floor%d/"
_ALARM = b"alarm%d/"
_FROZEN_BY_CORRUPTION = frozenset(
    ("put", "delete_range", "txn", "compact", "lease_grant", "lease_revoke", "lease_checkpoint")
)


class Interpreter:
    """Applies commands inside one write transaction."""

    def __init__(self, view: WriteView, known: dict[int, set[int]]) -> None:
        """Work on `view`; `known` are the alarms raised in each keyspace, kept up to date here."""
        self._view = view
        self._alarms = known
        self.writers: dict[int, SpaceWriter] = {}

    def apply(self, command: command_pb2.Command, term: int) -> Result:
        """Apply a command of an entry of `term`; a refused one changed nothing.

        An unknown change or keyspace: INVALID_CLIENT_API_VERSION; what the leader of another term decided by itself:
        LEADER_CHANGED.
        """
        if command.term not in (0, term):
            return Fault.LEADER_CHANGED
        kind = command.WhichOneof("change")
        space = command.space
        if kind is None or space not in self._alarms:
            return Fault.INVALID_CLIENT_API_VERSION
        writer = self.writers.get(space)
        if writer is None:
            writer = self.writers[space] = SpaceWriter(self._view, space)
        if self._alarms[space] and kind in _FROZEN_BY_CORRUPTION and pb.CORRUPT in self._alarms[space]:
            return Fault.CORRUPT
        try:
            return _CHANGES[kind](self, writer, getattr(command, kind))
        except MetastoreError as error:
            return error.fault or Fault.INVALID_CLIENT_API_VERSION

    def _refuse_when_full(self, writer: SpaceWriter) -> None:
        if pb.NOSPACE in self._alarms[writer.space]:
            raise MetastoreError(Fault.NO_SPACE)

    def _put(self, writer: SpaceWriter, request: pb.PutRequest) -> Result:
        if not self._alarms[writer.space] and (put := plain.plain_put(request)) is not None:
            return plain.put_answer(plain.run_plain(writer, [put]))
        checks.check_put(request)
        self._refuse_when_full(writer)
        if request.lease and self._view.lease(writer.space, request.lease) is None:
            raise MetastoreError(Fault.LEASE_NOT_FOUND)
        if request.ignore_value or request.ignore_lease:
            slot = self._view.slot(writer.space, request.key)
            if slot is None or not slot.alive:
                raise MetastoreError(Fault.KEY_NOT_FOUND)
        previous = writer.put(request)
        response = pb.PutResponse()
        response.header.revision = writer.commit()
        if previous is not None:
            response.prev_kv.MergeFromString(previous)
        return response

    def _delete_range(self, writer: SpaceWriter, request: pb.DeleteRangeRequest) -> Result:
        checks.check_delete_range(request)
        response = writer.delete_range(request)
        writer.commit()
        return response

    def _txn(self, writer: SpaceWriter, request: pb.TxnRequest) -> Result:
        if not self._alarms[writer.space] and (puts := plain.plain_puts(request)) is not None:
            return plain.txn_answer(plain.run_plain(writer, puts), len(puts))
        if (
            not self._alarms[writer.space]
            and (puts := plain.guarded_puts(request)) is not None
            and plain.leases_exist(writer, puts)
            and txns.holds(self._view, writer.space, request, writer.state.current)
        ):
            return plain.txn_answer(plain.run_plain(writer, puts), len(puts))
        checks.check_txn(request)
        if pb.NOSPACE in self._alarms[writer.space] and txns.puts_something(request):
            raise MetastoreError(Fault.NO_SPACE)
        path = txns.choose(self._view, writer.space, request, writer.state.current)
        if not checks.is_read_only(request):
            txns.check_puts(self._view, writer.space, path)
        txns.check_ranges(path, writer.state)
        response = txns.run(writer, path)
        response.header.revision = writer.commit()
        return response

    def _compact(self, writer: SpaceWriter, request: pb.CompactionRequest) -> Result:
        state = writer.state
        if request.revision > state.current:
            raise MetastoreError(Fault.FUTURE_REVISION)
        target = min([request.revision, *floors(self._view, writer.space).values()])
        if target <= state.compacted:
            raise MetastoreError(Fault.COMPACTED)
        # sweeping starts again at the previous compaction, whose own records were kept
        swept = min(state.swept, revision_key(max(state.compacted, 0), 0))
        writer.state = SpaceState(state.current, target, swept)
        writer.change.compacted = target
        response = pb.CompactionResponse()
        response.header.revision = state.current
        return response

    def _lease_grant(self, writer: SpaceWriter, request: pb.LeaseGrantRequest) -> Result:
        self._refuse_when_full(writer)
        if request.ID == 0:
            raise MetastoreError(Fault.LEASE_NOT_FOUND)
        if request.TTL > MAX_LEASE_TTL:
            raise MetastoreError(Fault.LEASE_TTL_TOO_LARGE)
        if self._view.lease(writer.space, request.ID) is not None:
            raise MetastoreError(Fault.LEASE_EXISTS)
        ttl = max(request.TTL, MIN_LEASE_TTL)
        self._view.set_lease(writer.space, request.ID, ttl, 0)
        writer.change.granted[request.ID] = ttl
        response = pb.LeaseGrantResponse(ID=request.ID, TTL=ttl)
        response.header.revision = writer.state.current
        return response

    def _lease_revoke(self, writer: SpaceWriter, request: pb.LeaseRevokeRequest) -> Result:
        view, space = self._view, writer.space
        if view.lease(space, request.ID) is None:
            raise MetastoreError(Fault.LEASE_NOT_FOUND)
        for key in view.attached(space, request.ID):
            slot = view.slot(space, key)
            if slot is not None and slot.alive:
                writer.delete(key, slot)
        view.drop_lease(space, request.ID)
        writer.change.granted.pop(request.ID, None)
        writer.change.checkpointed.pop(request.ID, None)
        writer.change.revoked.append(request.ID)
        response = pb.LeaseRevokeResponse()
        response.header.revision = writer.commit()
        return response

    def _lease_checkpoint(self, writer: SpaceWriter, request: command_pb2.LeaseCheckpoint) -> Result:
        for item in request.leases:
            lease = self._view.lease(writer.space, item.id)
            if lease is not None:
                remaining = min(max(item.ttl, 0), lease[0])
                self._view.set_lease(writer.space, item.id, lease[0], remaining)
                writer.change.checkpointed[item.id] = remaining
        response = pb.LeaseCheckpointResponse()
        response.header.revision = writer.state.current
        return response

    def _alarm(self, writer: SpaceWriter, request: pb.AlarmRequest) -> Result:
        view, space = self._view, writer.space
        response = pb.AlarmResponse()
        if request.action == pb.AlarmRequest.GET:
            wanted = request.alarm
            response.alarms.extend(member for member in alarms(view, space) if wanted in (pb.NONE, member.alarm))
        elif request.action in (pb.AlarmRequest.ACTIVATE, pb.AlarmRequest.DEACTIVATE):
            if request.alarm not in pb.AlarmType.values():
                raise MetastoreError(Fault.INVALID_CLIENT_API_VERSION)
            name = _ALARM % space + request.alarm.to_bytes(1, "big") + request.memberID.to_bytes(8, "big")
            member = pb.AlarmMember(memberID=request.memberID, alarm=request.alarm)
            if request.action == pb.AlarmRequest.ACTIVATE:
                view.set_meta(name, b"1")
                response.alarms.append(member)
            elif view.meta(name) is not None:
                view.set_meta(name, None)
                response.alarms.append(member)
            self._alarms[space] = {known.alarm for known in alarms(view, space)}
        return response

    def _floor(self, writer: SpaceWriter, request: command_pb2.Floor) -> Result:
        holder = request.holder.encode()
        if not 1 <= len(holder) <= MAX_HOLDER or request.revision < 0:
            raise MetastoreError(Fault.EMPTY_KEY)
        if 0 < request.revision < writer.state.compacted:
            raise MetastoreError(Fault.COMPACTED)
        row = request.revision.to_bytes(8, "big") if request.revision else None
        self._view.set_meta(_FLOOR % writer.space + holder, row)
        response = pb.CompactionResponse()
        response.header.revision = writer.state.current
        return response


_CHANGES: dict[str, Callable[[Interpreter, SpaceWriter, Any], Result]] = {
    "put": Interpreter._put,
    "delete_range": Interpreter._delete_range,
    "txn": Interpreter._txn,
    "compact": Interpreter._compact,
    "lease_grant": Interpreter._lease_grant,
    "lease_revoke": Interpreter._lease_revoke,
    "lease_checkpoint": Interpreter._lease_checkpoint,
    "alarm": Interpreter._alarm,
    "floor": Interpreter._floor,
}


def alarms(view: View, space: int) -> list[pb.AlarmMember]:
    """Return the alarms raised in a keyspace, by type and member."""
    return [
        pb.AlarmMember(alarm=pb.AlarmType.ValueType(name[0]), memberID=int.from_bytes(name[1:], "big"))
        for name, _ in view.meta_rows(_ALARM % space)
    ]


def floors(view: View, space: int) -> dict[str, int]:
    """Return the compaction floors of a keyspace: holder -> first revision it still needs."""
    return {name.decode(): int.from_bytes(row, "big") for name, row in view.meta_rows(_FLOOR % space)}
