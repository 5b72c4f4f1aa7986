"""No acknowledged blob is lost by kill -9, by the power failing at any sync, or by a disk that fills up or fails."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults.disk.layer import DiskLayer
from faults.disk.programs import disk_layer

PROGRAM = Path(__file__).with_name("program.py")
SERVICES = Path(__file__).parents[3] / "services"
LIMIT_SECONDS = 60
PROMISES = 60


def launch(disk: DiskLayer, folder: Path, seed: int, command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), str(seed), command],
        env={**os.environ, **disk.environment(), "PYTHONPATH": str(SERVICES)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    )  # fmt: skip


def promises(process: subprocess.Popen[bytes], most: int) -> list[str]:
    """Read what a process promises until there is so much of it, or it ends; not a byte more, which would be lost to `rest`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.decode())
        if len(lines) >= most:
            break
    return lines


def rest(process: subprocess.Popen[bytes]) -> list[str]:
    """Kill a process and read what it promised before it died; lines that were cut are no promise."""
    process.kill()
    out, complaint = ended(process)
    assert process.returncode == -signal.SIGKILL, complaint
    return [line for line in out.splitlines(keepends=True) if line.endswith("\n")]


def ended(process: subprocess.Popen[bytes], said: str = "") -> tuple[str, str]:
    """Tell a process something and wait for its end; return what it promised and what it complained about."""
    out, complaint = process.communicate(said.encode(), timeout=LIMIT_SECONDS)
    return out.decode(), complaint.decode()


def check(disk: DiskLayer, folder: Path, lines: list[str]) -> list[str]:
    process = launch(disk, folder, 0, "check")
    out, complaint = ended(process, "".join(lines))
    assert process.returncode == 0, complaint
    return out.split("\n")[:-1]


@pytest.mark.parametrize("power", [None, 0, 1])
def test_nothing_acknowledged_is_lost_by_kills_and_power_failures_under_load(tmp_path: Path, power: int | None) -> None:
    folder = tmp_path / "disk"
    disk = disk_layer(folder)
    lines = list[str]()
    for life in range(2):
        process = launch(disk, folder, life + 1, "fill")
        lines += promises(process, PROMISES)
        lines += rest(process)
        if power is not None:
            disk.lose_power(power * 10 + life if power else None)
        assert check(disk, folder, lines) == ["sound"]
    disk.close()


@pytest.mark.parametrize("seed", range(3))
def test_the_power_may_fail_at_any_sync(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "disk"
    disk = disk_layer(folder)
    lines, at = list[str](), ([3, 12], [16, 25], [9, 40])[seed]
    for life, number in enumerate(at):
        disk.kill_at_sync(number)
        process = launch(disk, folder, life + 1, "fill")
        lines += promises(process, 1_000_000)
        rest(process)
        disk.heal()
        disk.lose_power(seed * 100 + life if seed % 2 else None)
        assert check(disk, folder, lines) == ["sound"]
    disk.close()


def test_a_full_disk_refuses_writes_and_harms_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    disk = disk_layer(folder)
    process = launch(disk, folder, 1, "fill")
    lines = promises(process, PROMISES)
    disk.full(300_000)
    out, complaint = ended(process)
    lines += out.splitlines(keepends=True)
    assert "refused: STORE_FULL" in complaint
    assert disk.counts()["writes_refused"] > 0
    disk.lose_power(5)
    assert check(disk, folder, lines) == ["sound"]  # it opens and reads on a full disk
    disk.heal()
    process = launch(disk, folder, 2, "fill")
    lines += promises(process, PROMISES)
    lines += rest(process)
    disk.lose_power()
    assert check(disk, folder, lines) == ["sound"]
    disk.close()


@pytest.mark.parametrize(("where", "seed"), [("/packs/", None), ("/packs/", 7), ("/files/", 8), ("/drafts/", 9)])
def test_a_sync_that_fails_is_told_and_what_was_acknowledged_stays(
    tmp_path: Path, where: str, seed: int | None
) -> None:
    folder = tmp_path / "disk"
    disk = disk_layer(folder)
    process = launch(disk, folder, 1, "fill")
    lines = promises(process, PROMISES)
    disk.fail_sync(errno.EIO, only=where)
    out, complaint = ended(process)
    lines += out.splitlines(keepends=True)
    assert "refused: OBJECT_STORE_UNREACHABLE" in complaint
    assert disk.counts()["syncs_failed"] > 0
    disk.heal()
    if seed is not None:
        disk.lose_power(seed)
    assert check(disk, folder, lines) == ["sound"]
    disk.close()
