"""etcdserverpb.Maintenance: status, alarms, hashes, snapshots, leadership."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

import grpc

from raftmeta import snapshot
from raftmeta.config import SPACES
from raftmeta.consensus.contract import Role
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.node import VERSION
from raftmeta.services.admission import Admission, Context, refuse
from raftmeta.v1 import command_pb2

_SAVED_AT_A_TIME = 2
"""Snapshots made at a time; who asks for another waits."""


class MaintenanceService(rpc.MaintenanceServicer):
    """Alarm, Status, Defragment, Hash, HashKV, Snapshot, MoveLeader."""

    def __init__(self, admission: Admission) -> None:
        """Serve what `admission` admits."""
        self._admission = admission
        self._node = admission.node
        self._turn = asyncio.Semaphore(_SAVED_AT_A_TIME)

    async def Alarm(self, request: pb.AlarmRequest, context: Context) -> pb.AlarmResponse:
        """List, raise or clear alarms. An alarm of any keyspace is listed and cleared; one is raised in etcd's."""
        try:
            self._admission.write(context)
            answer = pb.AlarmResponse(header=self._header())
            if request.action == pb.AlarmRequest.GET:
                await self._node.reads.confirmed()
                for space in SPACES:
                    for alarm in self._node.machine.alarms(space):
                        if request.alarm in (pb.NONE, alarm.alarm) and alarm not in answer.alarms:
                            answer.alarms.append(alarm)
                return answer
            for space in SPACES if request.action == pb.AlarmRequest.DEACTIVATE else SPACES[:1]:
                told = await self._node.proposer.submit(command_pb2.Command(space=space, alarm=request))
                assert isinstance(told, pb.AlarmResponse)
                answer.alarms.extend(alarm for alarm in told.alarms if alarm not in answer.alarms)
            return answer
        except MetastoreError as error:
            await refuse(context, error)

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        """Tell how this member is; every member answers, a learner too."""
        try:
            space = self._admission.space(context, learner=True)
            status = self._node.status()
            size, used = self._node.machine.size()
            me = status.members.get(status.member_id)
            answer = pb.StatusResponse(
                header=self._header(space),
                version=VERSION,
                dbSize=size,
                dbSizeInUse=used,
                leader=status.leader_id,
                raftIndex=status.commit_index,
                raftAppliedIndex=status.applied_index,
                raftTerm=status.term,
                isLearner=me is not None and me.learner,
                dbSizeQuota=self._node.config.quota_bytes,
            )
            if not status.leader_id:
                answer.errors.append("etcdserver: no leader")
            for alarm in self._node.machine.alarms(space):
                answer.errors.append(f"memberID:{alarm.memberID} alarm:{pb.AlarmType.Name(alarm.alarm)} ")
            if status.read_only:
                answer.errors.append(status.read_only)
            return answer
        except MetastoreError as error:
            await refuse(context, error)

    async def Defragment(self, request: pb.DefragmentRequest, context: Context) -> pb.DefragmentResponse:
        """Do nothing: compaction gives pages back to the store, which needs no such step."""
        try:
            self._admission.write(context)
            return pb.DefragmentResponse(header=self._header())
        except MetastoreError as error:
            await refuse(context, error)

    async def Hash(self, request: pb.HashRequest, context: Context) -> pb.HashResponse:
        """Hash everything kept, all keyspaces together; comparable between members at the same revision."""
        try:
            self._admission.space(context, learner=False)
            total = 0
            for space in SPACES:
                found = await self._hash(space, 0)
                total = zlib.crc32(found[0].to_bytes(4), total)
            return pb.HashResponse(header=self._header(0), hash=total)
        except MetastoreError as error:
            await refuse(context, error)

    async def HashKV(self, request: pb.HashKVRequest, context: Context) -> pb.HashKVResponse:
        """Hash one keyspace's history up to a revision, exactly as etcd does. Raises COMPACTED, FUTURE_REVISION."""
        try:
            space = self._admission.space(context, learner=False)
            found, compacted, current = await self._hash(space, request.revision)
            answer = pb.HashKVResponse(header=self._header(), hash=found, compact_revision=compacted)
            answer.header.revision = current
            answer.hash_revision = request.revision or current
            return answer
        except MetastoreError as error:
            await refuse(context, error)

    async def Snapshot(self, request: pb.SnapshotRequest, context: Context) -> AsyncIterator[pb.SnapshotResponse]:
        """Stream a backup of all keyspaces: raftmeta's own format (see `raftmeta.snapshot`), then its SHA-256.

        `python -m raftmeta restore` reads it; `etcdctl snapshot status` and `restore`, which want bbolt, do not.
        """
        try:
            self._admission.space(context, learner=True)
            async for remaining, blob in snapshot.stream(self._node, self._turn):
                yield pb.SnapshotResponse(header=self._header(0), remaining_bytes=remaining, blob=blob, version=VERSION)
        except MetastoreError as error:
            await refuse(context, error)

    async def MoveLeader(self, request: pb.MoveLeaderRequest, context: Context) -> pb.MoveLeaderResponse:
        """Hand leadership to a member. Raises NOT_LEADER, BAD_LEADER_TRANSFEREE, TIMEOUT."""
        try:
            self._admission.write(context)
            await self._move_leader(request.targetID)
            return pb.MoveLeaderResponse(header=self._header())
        except MetastoreError as error:
            await refuse(context, error)

    async def Downgrade(self, request: pb.DowngradeRequest, context: Context) -> pb.DowngradeResponse:
        """Not offered: a method of etcd 3.5."""
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "unknown method Downgrade for service etcdserverpb.Maintenance"
        )
        raise AssertionError("abort raises")

    async def _move_leader(self, target_id: int) -> None:
        status = self._node.status()
        if status.role is not Role.LEADER:
            raise MetastoreError(Fault.NOT_LEADER)
        target = status.members.get(target_id)
        if target is None or target.learner:
            raise MetastoreError(Fault.BAD_LEADER_TRANSFEREE)
        if target.id != status.member_id:
            await self._node.transfer_leadership(target.id)

    async def _hash(self, space: int, revision: int) -> tuple[int, int, int]:
        return await asyncio.get_running_loop().run_in_executor(None, self._node.machine.hash_kv, space, revision)

    def _header(self, space: int | None = None) -> pb.ResponseHeader:
        """Return a header, with the revision of `space` if one is given."""
        header = pb.ResponseHeader()
        if space is not None:
            header.revision = self._node.machine.revisions(space)[0]
        self._node.complete(header)
        return header
