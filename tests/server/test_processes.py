"""A recorded process is never confused with another that got its pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from quartet_server.cli.processes import Process, end

SLEEP = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)",
]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def _start(children: list[subprocess.Popen[bytes]], command: list[str]) -> Process:
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdout is not None
    child.stdout.readline()
    return Process.of(child.pid)


def test_a_process_is_alive_until_it_ends_and_a_zombie_is_not(started: list[subprocess.Popen[bytes]]) -> None:
    process = _start(started, SLEEP)
    assert process.alive
    assert end([process], 10.0) == []
    assert not process.alive  # nobody has waited for it yet
    assert not process.send(signal.SIGTERM)
    started[0].wait()
    with pytest.raises(ProcessLookupError):
        Process.of(process.pid)


def test_one_that_does_not_listen_is_killed_and_named(started: list[subprocess.Popen[bytes]]) -> None:
    deaf, well = _start(started, DEAF), _start(started, SLEEP)
    assert end([deaf, well], 0.3) == [deaf]
    assert [child.wait() for child in started] == [-signal.SIGKILL, -signal.SIGTERM]


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_another_process_with_the_recorded_pid_is_left_alone(
    change: dict[str, int | str], started: list[subprocess.Popen[bytes]]
) -> None:
    process = _start(started, SLEEP)
    stale = replace(process, **change)  # type: ignore[arg-type]
    assert not stale.alive
    assert not stale.send(signal.SIGKILL)
    assert end([stale], 0.1) == []
    assert process.alive


def test_a_name_with_parentheses_does_not_confuse() -> None:
    assert Process.of(os.getpid()).alive
    assert Process.of(os.getpid()) == Process.of(os.getpid())
