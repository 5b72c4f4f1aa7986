"""What the upkeep of a node's store of blobs looks like to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from quartet_server.objects.gc.upkeep import Upkeep

_COUNTERS = {
    "collections": ("rounds", "Rounds of collection that came to their end."),
    "collection_failures": (
        "failures",
        "Rounds that were given up, as a holder of blobs could not answer or the store is not this cluster's.",
    ),
    "condemned": ("condemned", "Blobs condemned because nothing led to them."),
    "swept": ("swept", "Blobs collected."),
    "swept_bytes": ("swept_bytes", "Bytes they took."),
    "saved": ("saved", "Condemned blobs that something led to after all."),
    "damaged": ("damaged", "Damaged blobs that scrubs found."),
}
"""Name of a metric -> attribute of `Totals`, and what it says."""


class UpkeepMetrics(Collector):
    """Shows what was done since the process began."""

    def __init__(self, upkeep: Upkeep) -> None:
        """Show `upkeep`."""
        self._upkeep = upkeep

    def collect(self) -> Iterator[Metric]:
        """Yield the counters."""
        for name, (attribute, text) in _COUNTERS.items():
            yield CounterMetricFamily(f"quartet_objects_{name}", text, value=getattr(self._upkeep.totals, attribute))
