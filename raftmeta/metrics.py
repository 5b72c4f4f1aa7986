"""A member's numbers for Prometheus: etcd's names where etcd has the number, raftmeta's own for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from raftmeta.config import SPACES
from raftmeta.consensus import Counters
from raftmeta.consensus.contract import Role
from raftmeta.node import VERSION, Node

_SHOWN_APART = {"fsyncs", "fsync_seconds", "leader_changes"}


class NodeMetrics(Collector):
    """Reads a node's numbers when they are scraped; nothing is counted twice."""

    def __init__(self, node: Node) -> None:
        """Show `node`."""
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from self._etcd()
        yield from self._own()

    def _etcd(self) -> Iterator[Metric]:
        node, status, counters = self._node, self._node.status(), self._node.consensus.counters
        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        size, used = node.machine.size()
        yield gauge("etcd_server_has_leader", "Whether this member knows a leader.", value=float(status.leader_id != 0))
        yield gauge("etcd_server_is_leader", "Whether this member leads.", value=float(status.role is Role.LEADER))
        yield gauge("etcd_server_is_learner", "Whether this member has no vote yet.", value=float(node.is_learner))
        yield counter("etcd_server_leader_changes_seen", "Leaders followed.", value=counters.leader_changes)
        yield gauge("etcd_server_proposals_committed_total", "Highest committed log index.", value=status.commit_index)
        yield gauge("etcd_server_proposals_applied_total", "Highest applied log index.", value=status.applied_index)
        yield gauge("etcd_server_proposals_pending", "Commands without an outcome.", value=node.proposer.pending)
        yield counter("etcd_server_proposals_failed", "Commands without success.", value=node.proposer.failed)
        yield gauge("etcd_server_quota_backend_bytes", "Quota of a keyspace.", value=node.config.quota_bytes)
        yield gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the store's file.", value=size)
        yield gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of its pages in use.", value=used)
        current, compacted = node.machine.revisions(0)
        yield gauge("etcd_debugging_mvcc_current_revision", "Revision of the etcd keyspace.", value=current)
        yield gauge("etcd_debugging_mvcc_compact_revision", "Its compacted revision.", value=max(compacted, 0))
        watchers = sum(hub.watchers for hub in node.hubs.values())
        yield gauge("etcd_debugging_mvcc_watcher_total", "Watchers that are up to date.", value=watchers)
        version = gauge("etcd_server_version", "etcd version followed.", labels=["server_version"])
        version.add_metric([VERSION], 1.0)
        yield version
        fsync = SummaryMetricFamily("etcd_disk_wal_fsync_duration_seconds", "Syncs of the log.")
        fsync.add_metric([], count_value=counters.fsyncs, sum_value=counters.fsync_seconds)
        yield fsync

    def _own(self) -> Iterator[Metric]:
        node, status, counters = self._node, self._node.status(), self._node.consensus.counters
        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        yield gauge("raftmeta_term", "Raft term.", value=status.term)
        yield gauge("raftmeta_leader_id", "Member id of the leader, 0 for none.", value=float(status.leader_id))
        yield gauge("raftmeta_commit_index", "Highest committed log index.", value=status.commit_index)
        yield gauge("raftmeta_applied_index", "Highest applied log index.", value=status.applied_index)
        yield gauge("raftmeta_last_index", "Highest log index.", value=status.last_index)
        yield gauge(
            "raftmeta_read_only", "Whether a full disk keeps this member from appending.", value=bool(status.read_only)
        )
        yield counter(
            "raftmeta_commands_committed", "Commands of this member's callers applied.", value=node.proposer.committed
        )
        yield gauge("raftmeta_leases", "Leases this member counts: all when it leads.", value=node.leases.counted)
        yield counter(
            "raftmeta_read_gate_rounds", "Rounds this member's linearizable reads shared.", value=node.reads.rounds
        )
        revision = gauge("raftmeta_revision", "Newest revision.", labels=["space"])
        for space in SPACES:
            revision.add_metric([str(space)], node.machine.revisions(space)[0])
        yield revision
        behind = gauge("raftmeta_follower_match_index", "On the leader: index durable on a member.", labels=["member"])
        for member, index in status.match_index.items():
            behind.add_metric([f"{member:x}"], index)
        yield behind
        for field in fields(Counters):
            if field.name not in _SHOWN_APART:
                yield counter(
                    f"raftmeta_raft_{field.name}", f"Raft counter {field.name}.", value=getattr(counters, field.name)
                )
