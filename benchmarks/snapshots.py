"""What puts feel while nothing else happens, while a snapshot is saved, and while a member that was away takes one."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from pathlib import Path

import calls
from channels import Clients
from checkperf import etcdctl_binary
from loops import Call, paced_loop, repeated
from rows import Row, quantiles
from systems import Store

PACED, BUSY = "paced", "16 in flight"
LOADS = (PACED, BUSY)
QUIET, SAVED, INSTALLED = "quiet", "saved by a client", "installed on a member that was away"
KINDS = (SAVED, INSTALLED)
BUSY_WORKERS, WRITERS = 16, 64
LIMIT_SECONDS = 300.0
POLL_SECONDS = 0.05
CATCH_UP = 5_000
"""Entries that etcd keeps behind its snapshot for followers, whatever it is told."""
BATCH = 10
"""Puts that raftmeta writes as one entry of its log when 64 are in flight: a first guess, doubled when it was too low."""
TRIES = 5
FILLER = b"f" * 4096
"""What is put while a member is away: raftmeta trims its log by segments of 8 MiB."""


class Stalls:
    """Puts, by what happens meanwhile, on one cluster.

    Latencies go to `latencies` in milliseconds, by load and what happened; what fails goes to `errors`.
    """

    def __init__(
        self, system: Store, clients: Clients, put: Call, rate: float, seconds: float,
        latencies: dict[str, list[float]], errors: list[str],
    ) -> None:  # fmt: skip
        """Use `put`, `rate` a second where puts are paced, for `seconds` where nothing ends sooner."""
        self._clients = clients
        self._system = system
        self._put = put
        self._rate = rate
        self._seconds = seconds
        self._latencies = latencies
        self._errors = errors

    async def quiet(self) -> None:
        """Put with nothing else going on."""
        for load in LOADS:
            await self._load(load, QUIET, asyncio.create_task(asyncio.sleep(self._seconds)))

    async def saving(self, file: Path, seconds: dict[str, list[float]]) -> None:
        """Put while the leader's data is saved by etcdctl, which forces `file` to disk: a disk that no member uses."""
        for load in LOADS:
            task = asyncio.create_task(self._save(file))
            await self._load(load, SAVED, task)
            seconds.setdefault(SAVED, []).append(round(task.result(), 3))
            file.unlink(missing_ok=True)

    async def _save(self, file: Path) -> float:
        binary = etcdctl_binary()
        assert binary is not None, "etcdctl is not installed: run `make peers`, or install Debian's etcd-client"
        leader = self._system.endpoints[await self._system.leader()]
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            binary, f"--endpoints={leader}", "--command-timeout=300s", "snapshot", "save", str(file),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={**os.environ, "ETCDCTL_API": "3"},
        )  # fmt: skip
        try:
            _, said = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, f"etcdctl snapshot save: {said.decode(errors='replace').strip()[-100:]}"
        return time.perf_counter() - began

    async def catching_up(self, log_entries: int, seconds: dict[str, list[float]]) -> None:
        """Put while a follower, away until the log was trimmed past it, takes a snapshot."""
        fill = calls.put(self._clients, [b"fill/%02d" % number for number in range(64)], FILLER)
        for load in LOADS:
            away = (await self._system.leader() + 1) % len(self._system.endpoints)
            wanted = 3 * log_entries + CATCH_UP if self._system.name == "etcd" else 3 * log_entries * BATCH
            for _ in range(TRIES):
                self._system.kill(away)
                before = self._system.installed(away)
                row = Row(self._system.name, "", "puts")
                stubs = [stub for i, stub in enumerate(self._clients.kvs) if i != away]
                with self._clients.only(stubs):
                    await repeated(row, fill, WRITERS, functools.partial(_enough, row, wanted))
                    self._note(row)
                    task = asyncio.create_task(self._ready(away))
                    latencies = await self._load(load, INSTALLED, task, keep=False)
                if self._system.installed(away) > before:
                    self._latencies.setdefault(f"{load}, {INSTALLED}", []).extend(latencies)
                    seconds.setdefault(INSTALLED, []).append(round(task.result(), 3))
                    break
                wanted *= 2  # it caught up from the log
            else:
                self._errors.append(f"{self._system.name}: a member that was away needed no snapshot")

    async def _ready(self, member: int) -> float:
        """Start a member and wait until it has applied what the others had."""
        target = await self._clients.revision((member + 1) % len(self._clients.kvs))
        began = time.perf_counter()
        self._system.start(member)
        await self._system.caught_up(member, target, LIMIT_SECONDS)
        return time.perf_counter() - began

    async def _load(self, load: str, meanwhile: str, task: asyncio.Task[object], *, keep: bool = True) -> list[float]:
        """Put until the task has ended; raise what it raised. Returns milliseconds."""
        row = Row(self._system.name, meanwhile, "puts")

        def until(_: float) -> bool:
            return task.done()

        if load == PACED:
            await paced_loop(row, self._put, self._rate, until)
        else:
            await repeated(row, self._put, BUSY_WORKERS, until)
        await task
        self._note(row)
        latencies = [1000 * value for value in row.latencies]
        if keep:
            self._latencies.setdefault(f"{load}, {meanwhile}", []).extend(latencies)
        return latencies

    def _note(self, row: Row) -> None:
        if row.errors:
            self._errors.append(f"{row.errors} puts failed, {row.workload or 'while a member was away'}: {row.error}")


def _enough(row: Row, wanted: int, _: float) -> bool:
    """Tell whether `wanted` puts were done, or so many failed that it is no use."""
    return len(row.latencies) + 10 * row.errors >= wanted


def told(latencies: dict[str, list[float]]) -> str:
    """Return the 99th percentiles so far in a line."""
    return ", ".join(f"{name} p99 {quantiles(some)[1]:.1f} ms" for name, some in latencies.items())
