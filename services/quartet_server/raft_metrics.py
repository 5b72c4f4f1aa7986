"""What this member's end of the Raft group looks like to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from raftmeta.consensus.contract import Role
from raftmeta.node import Node as Member

_COUNTERS = {
    "stalls": "Turns of the Raft loop that came more than one heartbeat late.",
    "stall_seconds": "Seconds those turns were late, in total.",
    "fsyncs": "Syncs of the log that had something to write.",
    "fsync_seconds": "Seconds spent in them.",
    "proposals": "Entries appended as leader on request.",
    "refused": "Proposals refused.",
    "applied": "Entries given to the state machine.",
    "apply_seconds": "Seconds the state machine took for them.",
    "elections": "Elections this member started.",
    "leader_changes": "Times this member came to follow, or be, another leader.",
    "step_downs": "Times it stopped leading for lack of a majority.",
    "messages_sent": "Messages handed to the wire.",
    "messages_dropped": "Messages the wire did not take.",
    "messages_received": "Messages taken in.",
    "messages_refused": "Messages that broke the schema, the version or the rules.",
    "read_rounds": "Quorum rounds run for linearizable reads.",
    "reads": "Linearizable reads answered with an index.",
    "read_failures": "Linearizable reads refused.",
    "snapshots_sent": "Snapshots sent whole.",
    "snapshots_installed": "Snapshots installed.",
    "snapshots_failed": "Snapshots given up, on either side.",
    "snapshot_wait_seconds": "Seconds put between a snapshot that failed and the next attempt.",
    "trims": "Times the log was trimmed.",
}
"""Names of `raftmeta.consensus.counters.Counters` that are shown, as quartet_raft_NAME_total."""


class RaftCollector(Collector):
    """Reads the member's published status and live counters at each scrape; costs nothing in between."""

    def __init__(self, member: Member) -> None:
        """Show `member`."""
        self._member = member

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the moment."""
        status = self._member.status()
        counters = self._member.consensus.counters
        gauges = {
            "is_leader": ("1 on the leader.", int(status.role is Role.LEADER)),
            "has_leader": ("1 while this member knows a leader.", int(status.leader_id != 0)),
            "term": ("Current term.", status.term),
            "commit_index": ("Highest log index known to be committed.", status.commit_index),
            "applied_index": ("Highest log index applied to the store.", status.applied_index),
            "last_index": ("Highest index in the log.", status.last_index),
            "members": ("Members, learners included.", len(status.members)),
            "read_only": ("1 while this member refuses appends, as on a full disk.", int(bool(status.read_only))),
            "fsync_max_seconds": ("Longest sync of the log, in seconds.", counters.fsync_max_seconds),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"quartet_raft_{name}", text, value=value)
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"quartet_raft_{name}", text, value=getattr(counters, name))
