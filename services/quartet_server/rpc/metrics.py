"""Counts and times of calls under the names that stock gRPC dashboards read (grpc-ecosystem's go-grpc-prometheus)."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram

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


class CallMetrics:
    """Calls started, handled by status code, and how long they took, per method.

    Labels are names of the API only, so their number is bounded by the protos: a call of an unknown method is not
    counted, and no path, id or user ever becomes a label.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the three metrics in `registry`."""
        labels = ("grpc_type", "grpc_service", "grpc_method")
        self.started = Counter("grpc_server_started_total", "Calls started on the server.", labels, registry=registry)
        self.handled = Counter(
            "grpc_server_handled_total",
            "Calls completed on the server, by status code.",
            (*labels, "grpc_code"),
            registry=registry,
        )
        self.seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time from the start of a call to its status, in seconds.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )

    def method(self, name: str, *, requests_stream: bool, responses_stream: bool) -> MethodMetrics:
        """Return the counters of one method, `/package.Service/Method`."""
        service, method = name.lstrip("/").split("/", 1)
        shape = _SHAPES[requests_stream, responses_stream]
        return MethodMetrics(
            self.started.labels(shape, service, method),
            self.seconds.labels(shape, service, method),
            {code: self.handled.labels(shape, service, method, text) for code, text in _NAMES.items()},
        )


@dataclass(frozen=True, slots=True)
class MethodMetrics:
    """The counters of one method, looked up once."""

    started: Counter
    seconds: Histogram
    handled: dict[grpc.StatusCode, Counter]
