"""What /metrics shows of the cache of parsed contents."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from quartet_server.parsed.cache import ParsedCache


class ParsedCollector(Collector):
    """Figures of one cache, read when they are asked for."""

    def __init__(self, cache: ParsedCache) -> None:
        """Show `cache`."""
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """Yield the figures."""
        cache = self._cache
        entries, bytes_, evicted = cache.figures
        for name, text, value in (
            ("hits", "Parsed contents that were asked for and found.", cache.hits),
            ("misses", "Parsed contents that were asked for and not found.", cache.misses),
            ("evicted", "Parsed contents that made room for others.", evicted),
            ("failures", "Times that the disk of the cache failed, or had damaged it.", cache.failures),
        ):
            yield CounterMetricFamily(f"quartet_parsed_{name}", text, value=value)
        yield GaugeMetricFamily("quartet_parsed_entries", "Parsed contents in the cache.", value=entries)
        yield GaugeMetricFamily("quartet_parsed_bytes", "Bytes that they take.", value=bytes_)
