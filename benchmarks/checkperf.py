"""`etcdctl check perf`: etcd's own verdict on a cluster, a minute per load."""

from __future__ import annotations

import asyncio
import os
import re
import shutil

from rows import Meter, Row
from systems import PEERS, System

SECONDS = 60.0
LIMIT_SECONDS = 150.0


def etcdctl_binary() -> str | None:
    """Return the path of etcdctl; None when there is none."""
    return shutil.which("etcdctl", path=f"{PEERS}{os.pathsep}{os.environ.get('PATH', '')}")


def verdict(text: str, status: int) -> tuple[bool, str, float]:
    """Return whether the check passed, what it found besides throughput, and writes per second, 0 if it did not say."""
    lines = [line.strip() for part in text.split("\n") for line in part.split("\r")]
    said = [line for line in lines if re.match(r"(PASS|FAIL|Slowest|Stddev|Throughput)\b", line)]
    passed = status == 0 and "PASS" in said and not any(line.startswith("FAIL") for line in said)
    rate = re.search(r"(\d+) writes/s", text)
    slowest = re.search(r"Slowest request took(?: too long:)? ([\d.]+)s", text)
    return passed, f"slowest {float(slowest[1]):.2f} s" if slowest else "", float(rate[1]) if rate else 0.0


async def check_perf(system: System, row: Row, load: str) -> Row:
    """Run the check for one load, s or m; a verdict of FAIL is no error, a check that did not run is."""
    binary = etcdctl_binary()
    if binary is None:
        row.record("etcdctl is not installed: run `make peers`, or install Debian's etcd-client")
        return row
    meter = Meter(system)
    process = await asyncio.create_subprocess_exec(
        binary, f"--endpoints={','.join(system.endpoints)}", "check", "perf", f"--load={load}",
        f"--prefix=/check-{load}/", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "ETCDCTL_API": "3"},
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
    except TimeoutError:
        row.record(f"it took more than {LIMIT_SECONDS:.0f} s")
        return row
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = said.decode(errors="replace")
    row.passed, row.note, rate = verdict(text, process.returncode or 0)
    if not rate:
        row.record(text.strip()[-200:])
        return row
    meter.into(row, round(rate * SECONDS))
    row.rate, row.client, row.client_cpu, row.other = rate, 0.0, 0.0, 0.0  # the client is another process: etcdctl
    return row
