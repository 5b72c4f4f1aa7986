"""The etcd v3 gRPC services of a member, for a server of `raftmeta.serving`."""

from __future__ import annotations

from grpc import aio

from raftmeta.errors import Fault
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.node import Node
from raftmeta.services.admission import Admission
from raftmeta.services.cluster import ClusterService
from raftmeta.services.kv import KVService
from raftmeta.services.lease import LeaseService
from raftmeta.services.maintenance import MaintenanceService
from raftmeta.services.watch import WatchService
from raftmeta.serving import Server
from raftmeta.serving.stream import Ending

SERVICE_NAMES = tuple(f"etcdserverpb.{name}" for name in ("KV", "Watch", "Lease", "Cluster", "Maintenance"))


def add_services(server: aio.Server, node: Node) -> None:
    """Add KV, Watch, Lease, Cluster and Maintenance of `node` to `server`, before it is started.

    Metadata `raftmeta-space: 1` lets a caller read another keyspace; `hasleader: true` refuses service without a leader.
    """
    admission = Admission(node)
    kv = KVService(admission)
    if isinstance(server, Server):
        begins = {"/etcdserverpb.KV/Put": kv.begin_put, "/etcdserverpb.KV/Txn": kv.begin_txn}
        server.begin_at_once(begins, node.proposer.settle)
    rpc.add_KVServicer_to_server(kv, server)
    rpc.add_WatchServicer_to_server(WatchService(admission), server)
    rpc.add_LeaseServicer_to_server(LeaseService(admission), server)
    rpc.add_ClusterServicer_to_server(ClusterService(admission), server)
    rpc.add_MaintenanceServicer_to_server(MaintenanceService(admission), server)


def too_many(_: str) -> Ending:
    """Return what a call gets for which the port has no place, in etcd's words; for `Server`."""
    fault = Fault.TOO_MANY_REQUESTS
    return fault.code, fault.text, ()


__all__ = ["SERVICE_NAMES", "add_services", "too_many"]
