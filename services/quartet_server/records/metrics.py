"""What /metrics shows of the databases of records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from quartet_server.records.watching import BUCKETS, KINDS, Watch
from quartet_server.records.writer import Counts, Writer

_COUNTERS = {
    "groups": ("quartet_records_groups", "Transactions that were committed."),
    "works": ("quartet_records_writes", "Writes in them."),
    "failed": ("quartet_records_failed_groups", "Transactions that could not be committed."),
    "busy": ("quartet_records_busy", "Calls that were refused because too many waited."),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """A database as its metrics need it.

    Attributes:
        writers: The threads that write to it.
        watch: What saw its statements.
    """

    writers: Sequence[Writer]
    watch: Watch


class RecordsCollector(Collector):
    """Shows counts that writers and watches have anyway; labels are names of databases and kinds of statements."""

    def __init__(self, databases: Mapping[str, Watched]) -> None:
        """Show `databases`, by name."""
        self._databases = databases

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        yield from self._writes()
        statements = HistogramMetricFamily(
            "quartet_records_statement_seconds", "How long statements took.", labels=["database", "kind"]
        )
        for name, one in self._databases.items():
            for kind in KINDS:
                buckets = _cumulated(map(str, BUCKETS), one.watch.counts[kind])
                statements.add_metric([name, kind], buckets=buckets, sum_value=one.watch.seconds[kind])
        yield statements

    def _writes(self) -> Iterator[Metric]:
        for key, (name, about) in _COUNTERS.items():
            counter = CounterMetricFamily(name, about, labels=["database"])
            for database, one in self._databases.items():
                counter.add_metric([database], sum(getattr(writer.counts, key) for writer in one.writers))
            yield counter
        waiting = GaugeMetricFamily("quartet_records_waiting", "Writes that have no answer yet.", labels=["database"])
        sizes = HistogramMetricFamily(
            "quartet_records_group_size", "Writes that were committed together.", labels=["database"]
        )
        for database, one in self._databases.items():
            waiting.add_metric([database], sum(writer.waiting for writer in one.writers))
            counts = [sum(column) for column in zip(*(writer.counts.sizes for writer in one.writers), strict=True)]
            ends = (str(1 << power) for power in range(len(Counts().sizes)))
            total = sum(writer.counts.works for writer in one.writers)
            sizes.add_metric([database], buckets=_cumulated(ends, [*counts, 0]), sum_value=total)
        yield waiting
        yield sizes


def _cumulated(ends: Iterable[str], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return Prometheus's buckets, each with all that are smaller; the last count is of what is beyond all ends."""
    total, found = 0, []
    for end, count in zip([*ends, "+Inf"], counts, strict=True):
        total += count
        found.append((end, float(total)))
    return found
