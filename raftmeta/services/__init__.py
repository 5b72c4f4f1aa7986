"""The etcd v3 gRPC services of a member, for any grpc.aio server."""

from __future__ import annotations

from typing import cast

from grpc import aio

from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.node import Node
from raftmeta.services.admission import Admission
from raftmeta.services.cluster import ClusterService
from raftmeta.services.kv import KVService
from raftmeta.services.lease import LeaseService
from raftmeta.services.maintenance import MaintenanceService
from raftmeta.services.unreadable import Strict
from raftmeta.services.watch import WatchService

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
)
"""Options of a server that offers these services: requests up to 4 MiB, answers of any size, pings as etcd takes them."""

SERVICE_NAMES = tuple(f"etcdserverpb.{name}" for name in ("KV", "Watch", "Lease", "Cluster", "Maintenance"))


def add_services(server: aio.Server, node: Node) -> None:
    """Add KV, Watch, Lease, Cluster and Maintenance of `node` to `server`, before it is started.

    Metadata `raftmeta-space: 1` lets a caller read another keyspace; `hasleader: true` refuses service without a leader.
    """
    admission = Admission(node)
    server = cast("aio.Server", Strict(server))
    rpc.add_KVServicer_to_server(KVService(admission), server)
    rpc.add_WatchServicer_to_server(WatchService(admission), server)
    rpc.add_LeaseServicer_to_server(LeaseService(admission), server)
    rpc.add_ClusterServicer_to_server(ClusterService(admission), server)
    rpc.add_MaintenanceServicer_to_server(MaintenanceService(admission), server)


__all__ = ["SERVER_OPTIONS", "SERVICE_NAMES", "add_services"]
