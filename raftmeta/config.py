"""What a raftmeta member is told at its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from raftmeta.consensus.seeded import Bug
from raftmeta.tls import TlsFiles

ETCD_SPACE = 0
QUARTET_SPACE = 1
SPACES = (ETCD_SPACE, QUARTET_SPACE)
MAX_REQUEST_BYTES = 1536 * 1024
MAX_LEASE_TTL = 9_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionPolicy:
    """When a keyspace forgets history by itself; floors are always respected.

    Attributes:
        keep_revisions: Keep this many latest revisions; 0 sets no such limit.
        keep_seconds: Keep revisions younger than this; 0 sets no such limit.
        interval: Seconds between looks.

    With both limits a revision is kept while either wants it; with neither nothing is compacted.
    """

    keep_revisions: int = 0
    keep_seconds: float = 0.0
    interval: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One member's configuration; every field has a default that suits a single node on a LAN.

    Attributes:
        data_dir: Directory of everything the member keeps; created when missing.
        name: The member's name, unique in the cluster.
        cluster_token: Distinguishes clusters with the same addresses: goes into every id.
        listen_peer: HOST:PORT of the Raft port; empty opens none, which only a single node can afford.
        advertise_peer: HOST:PORT by which others reach the Raft port; empty: `listen_peer`.
        advertise_client: HOST:PORT by which clients reach the gRPC port; shown by MemberList.
        client_tls: The gRPC port speaks TLS: MemberList says https.
        initial_cluster: Name to peer HOST:PORT of all founding members, this one included; empty: a single node. Used
            only when the data directory is empty.
        join: HOST:PORT of running members' gRPC ports: this member was added to their cluster (MemberAdd) and learns
            from them who it is. Used only when the data directory is empty.
        join_credentials: TLS for `join`; plaintext without.
        peer_tls: Certificates of the Raft port; without them it is plaintext, for loopback development.
        heartbeat: Seconds between heartbeats.
        election: Shortest and longest election timeout in seconds.
        quota_bytes: Store size at which the NOSPACE alarm is raised.
        snapshot_entries: Log entries after which a snapshot is taken and the log trimmed.
        compaction: Policy by keyspace; Quartet's own compacts by itself, etcd's only when asked.
        request_timeout: Seconds a write or linearizable read may take; 0: etcd's rule, 5 s + 2 election timeouts.
        max_pending: Writes waiting in this node before it answers "too many requests".
        lease_checkpoint: Seconds between records of the remaining time of long leases.
        test_bug: A promise to break; see `raftmeta.consensus.seeded`.
    """

    data_dir: Path
    name: str = "default"
    cluster_token: str = "raftmeta"  # noqa: S105 - a name, not a secret
    listen_peer: str = ""
    advertise_peer: str = ""
    advertise_client: str = ""
    client_tls: bool = False
    initial_cluster: Mapping[str, str] = field(default_factory=dict)
    join: Sequence[str] = ()
    join_credentials: grpc.ChannelCredentials | None = None
    peer_tls: TlsFiles | None = None
    heartbeat: float = 0.05
    election: tuple[float, float] = (0.4, 0.8)
    quota_bytes: int = 2 * 1024**3
    snapshot_entries: int = 100_000
    compaction: Mapping[int, CompactionPolicy] = field(
        default_factory=lambda: {QUARTET_SPACE: CompactionPolicy(keep_revisions=100_000, keep_seconds=3600.0)}
    )
    request_timeout: float = 0.0
    max_pending: int = 5_000
    lease_checkpoint: float = 300.0
    test_bug: Bug | None = None

    @property
    def timeout(self) -> float:
        """Deadline of a request in seconds (etcd: 5 s plus twice the election timeout)."""
        return self.request_timeout or 5.0 + 2 * max(self.election[1], 1.0)
