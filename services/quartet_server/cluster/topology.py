"""The cluster as Raft and the nodes' own records tell it."""

from __future__ import annotations

from quartet.cluster.storage.v1 import storage_pb2
from quartet.cluster.v1 import cluster_pb2 as pb

from quartet_server.cluster.members import ClusterMember
from quartet_server.errors import NodeNotFound
from quartet_server.meta import system
from quartet_server.meta.snapshot import Snapshot
from raftmeta.consensus.contract import Member, Role, Status
from raftmeta.metastore import Metastore

_ROLES = {
    Role.LEADER: pb.NODE_ROLE_LEADER,
    Role.FOLLOWER: pb.NODE_ROLE_FOLLOWER,
    Role.CANDIDATE: pb.NODE_ROLE_CANDIDATE,
}


def hexadecimal(member_id: int) -> str:
    """Return a member id as it is told; empty for 0."""
    return f"{member_id:016x}" if member_id else ""


def role(status: Status, member: Member) -> pb.NodeRole.ValueType:
    """Return what a member does, as far as this node knows."""
    if member.learner:
        return pb.NODE_ROLE_LEARNER
    if member.id == status.member_id:
        return _ROLES[status.role]
    return pb.NODE_ROLE_LEADER if member.id == status.leader_id else pb.NODE_ROLE_FOLLOWER


async def topology(store: Metastore, member: ClusterMember, *, serializable: bool) -> pb.Topology:
    """Read the records of all members of the moment."""
    status = member.status()
    snapshot = Snapshot(store, serializable=serializable)
    wanted = [key for one in status.members for key in (system.node(one), system.alive(one))]
    found = await snapshot.get(wanted)
    answer = pb.Topology(leader_id=hexadecimal(status.leader_id), term=status.term, revision=snapshot.revision)
    for one in sorted(status.members.values(), key=lambda one: (one.name, one.id)):
        record = storage_pb2.NodeRecord()
        if (kv := found.get(system.node(one.id))) is not None:
            record.MergeFromString(kv.value)
        answer.nodes.append(
            pb.Node(
                id=hexadecimal(one.id),
                name=one.name or record.name,
                peer_address=one.peer_address,
                client_address=one.client_address or record.client_address,
                http_address=record.http_address,
                role=role(status, one),
                alive=system.alive(one.id) in found,
                version=record.version,
                start_time=record.start_time if record.HasField("start_time") else None,
            )
        )
    return answer


def find(status: Status, named: str) -> Member:
    """Return the member with this name or id. Raises NodeNotFound."""
    for member in status.members.values():
        if named in (member.name, hexadecimal(member.id)) and named:
            return member
    raise NodeNotFound(f"no node is called {named}", node=named)
