"""What the copies of blobs look like to Prometheus, from one node."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from quartet_server.objects.replicas.opening import Replication


class ReplicaCollector(Collector):
    """Reads what the node knows at each scrape; costs nothing in between."""

    def __init__(self, replication: Replication) -> None:
        """Show `replication`."""
        self._replication = replication

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the moment."""
        group, progress = self._replication.group, self._replication.progress
        settled = group.alone or group.view.settled
        gauges = {
            "settled": ("1 while every copy of every blob is where it should be, as far as is known.", int(settled)),
            "debt_records": ("Records of copies that nodes lack, in the whole cluster.", group.view.debts),
            "waiting": ("Blobs of which this node could not bring a copy to another yet.", progress.waiting),
        }
        counters = {
            "copied_blobs": ("Copies made by this node's repair.", progress.copied_blobs),
            "copied_bytes": ("Bytes of those.", progress.copied_bytes),
            "dropped_blobs": ("Copies too many that it dropped.", progress.dropped_blobs),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"quartet_objects_{name}", text, value=value)
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(f"quartet_objects_{name}", text, value=value)
