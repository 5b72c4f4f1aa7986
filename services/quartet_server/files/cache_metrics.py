"""How well the cache of decoded inodes and dentries serves, for /metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quartet_server.meta.recent import Recent


class CacheCollector(Collector):
    """Look-ups of the cache that found something and that did not, and how much is in it."""

    def __init__(self, recent: Recent) -> None:
        """Tell about `recent`, in plain numbers that it counts anyway."""
        self._recent = recent

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        looked = CounterMetricFamily(
            "quartet_files_cache_lookups", "Look-ups of decoded inodes and dentries.", labels=("result",)
        )
        looked.add_metric(("hit",), self._recent.hits)
        looked.add_metric(("miss",), self._recent.misses)
        yield looked
        yield GaugeMetricFamily(
            "quartet_files_cache_entries", "Decoded inodes and dentries that are kept.", value=len(self._recent)
        )
