"""What /metrics shows of versions, on the node that records them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class VersionMetrics:
    """Counts and lag of the observer.

    Attributes:
        observing: 1 on the node that records versions.
        recorded: Versions recorded.
        lag_seconds: Age of the oldest change that is not recorded yet.
        lag_revisions: How many revisions the store was ahead of the last record when that was written.
        gaps: Stretches of history that were lost.
        pruned: Versions given up as past their retention.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry`; without one they are shown nowhere."""
        self.observing = Gauge("quartet_versions_observing", "1 on the node that records versions.", registry=registry)
        self.recorded = Counter("quartet_versions_recorded", "Versions recorded.", registry=registry)
        self.lag_seconds = Gauge(
            "quartet_versions_lag_seconds", "Age of the oldest change that is not recorded yet.", registry=registry
        )
        self.lag_revisions = Gauge(
            "quartet_versions_lag_revisions", "Revisions that the store is ahead of the observer.", registry=registry
        )
        self.gaps = Counter("quartet_versions_gaps", "Stretches of history that were lost.", registry=registry)
        self.pruned = Counter(
            "quartet_versions_pruned", "Versions given up as past their retention.", registry=registry
        )
