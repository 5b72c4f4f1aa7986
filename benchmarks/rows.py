"""One workload on one system, once: what it came to, and who used how much CPU meanwhile."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import grpc
import psutil
from systems import System


@dataclass
class Row:
    """One workload on one system, once.

    Attributes:
        system: The system's name.
        workload: The workload's name.
        unit: What is counted.
        rate: Units per second.
        p50: Milliseconds.
        p99: Milliseconds.
        cpu: Server CPU, all members together, in microseconds per unit.
        client: Cores that the client used.
        client_cpu: Client CPU in microseconds per unit.
        other: Cores that everybody else on the machine used: a row is disturbed when this is not near zero.
        errors: Operations that failed, or answers that were wrong.
        error: The first error.
        passed: Whether a check that passes or fails passed.
        note: What a check said.
        samples: Latencies in milliseconds, kept where there are few and rounds are pooled.
        latencies: Latencies in seconds until `finish`.
    """

    system: str
    workload: str
    unit: str
    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0
    client: float = 0.0
    client_cpu: float = 0.0
    other: float = 0.0
    errors: int = 0
    error: str = ""
    passed: bool | None = None
    note: str = ""
    samples: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list, repr=False)

    def finish(self, *, keep: bool = False) -> Row:
        """Work out the quantiles and let the latencies go; with `keep` they stay, as samples."""
        self.p50, self.p99 = (1000 * value for value in quantiles(self.latencies))
        if keep:
            self.samples = [round(1000 * value, 1) for value in self.latencies]
        self.latencies = []
        return self

    def record(self, error: BaseException | str) -> None:
        """Count an error and keep the first one's text."""
        if not self.errors:
            said = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
            self.error = said or type(error).__name__
        self.errors += 1

    def json(self) -> dict[str, object]:
        """Return the figures."""
        return {
            key: round(v, 3) if isinstance(v, float) else v for key, v in asdict(self).items() if key != "latencies"
        }


def quantiles(samples: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile; zeros of nothing."""
    if not samples:
        return 0.0, 0.0
    if len(samples) == 1:
        return samples[0], samples[0]
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return cuts[49], cuts[98]


class Meter:
    """Measures who uses how much CPU between its creation and `into`."""

    def __init__(self, system: System) -> None:
        """Start."""
        self._system = system
        self._began, self._servers, self._client, self._machine = time.perf_counter(), *self._read()

    def _read(self) -> tuple[float, float, float]:
        usage, machine = resource.getrusage(resource.RUSAGE_SELF), psutil.cpu_times()
        busy = (
            sum(machine) - machine.idle - machine.iowait - getattr(machine, "guest", 0) - getattr(machine, "steal", 0)
        )
        return self._system.cpu_seconds(), usage.ru_utime + usage.ru_stime, busy

    def into(self, row: Row, units: int) -> None:
        """Write rate and CPU of `units` done since the start into `row`."""
        seconds = time.perf_counter() - self._began
        servers, client, machine = self._read()
        servers, client, machine = servers - self._servers, client - self._client, machine - self._machine
        row.rate = units / seconds
        row.cpu = servers * 1e6 / units if units else 0.0
        row.client = client / seconds
        row.client_cpu = client * 1e6 / units if units else 0.0
        row.other = max(0.0, (machine - servers - client) / seconds)
