"""Full disks, exhausted quotas and failing devices."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness.disks import MemoryDisk, failing

from raftmeta.wal import LogEntry, Wal, WalFailed, WalFull

D = Path("/data/wal")


def opened(disk: MemoryDisk, segment_bytes: int = 300) -> Wal:
    return Wal.open(D, create=True, files=disk, segment_bytes=segment_bytes, random=lambda n: b"r" * n)


def entry(index: int) -> LogEntry:
    return LogEntry(index, index // 5, b"%d" % index * 9)


def needed() -> int:
    disk = MemoryDisk()
    log = opened(disk)
    disk.room = 1_000_000
    work(log)
    return 1_000_000 - disk.room


def work(log: Wal) -> None:
    """Six groups of three entries, with a truncation that repeats entries and a trim."""
    while log.last_index < 18:
        for index in range(log.last_index + 1, log.last_index + 4):
            log.append(index, entry(index).term, entry(index).data)
        log.sync()
        if log.last_index == 9:
            log.truncate_from(9)
            log.append(9, entry(9).term, entry(9).data)
        if log.last_index == 12 and log.first_index == 1:
            log.trim_to(4)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_at_any_byte_loses_nothing(number: int) -> None:
    fills = 0
    for room in range(needed()):
        disk = MemoryDisk()
        log = opened(disk)
        disk.room, disk.full_errno = room, number
        with contextlib.suppress(WalFull):
            work(log)
        if not log.full:  # all of it fitted, as segments that do not fit are not begun
            continue
        fills += 1
        last, durable = log.last_index, log.durable_index
        shown = log.entries(log.first_index, 100)
        with pytest.raises(WalFull, match="quota" if number == errno.EDQUOT else "no space"):
            log.append(last + 1, 99, b"")
        with pytest.raises(WalFull):
            log.sync()
        assert (log.last_index, log.durable_index, log.entries(log.first_index, 100)) == (last, durable, shown)
        log.save_hard_state(50, 2)
        disk.kill()
        again = opened(disk)
        assert again.hard_state == (50, 2)
        assert again.entries(again.first_index, 100)[: durable - again.first_index + 1] == [
            entry(index) for index in range(again.first_index, durable + 1)
        ]
        assert again.last_index >= durable
    assert fills > 100


def test_a_full_log_goes_on_when_space_is_back() -> None:
    for room in range(0, needed(), 7):
        disk = MemoryDisk()
        log = opened(disk)
        disk.room = room
        try:
            work(log)
        except WalFull:
            disk.room = 1_000_000
            log.sync()
            assert not log.full
            assert log.durable_index == log.last_index
            work(log)
            assert D / "reserve" in disk.contents()
        disk.crash()
        again = opened(disk)
        assert again.entries(again.first_index, 100) == [entry(index) for index in range(again.first_index, 19)]


def test_trimming_a_full_log_frees_space() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    disk.room = 900
    index = 0
    while not log.full:
        index += 1
        try:
            log.append(index, 1, b"x" * 50)
            log.sync()
        except WalFull:
            assert log.durable_index == index - 1
    log.trim_to(index - 1)
    assert log.sync() == index


def test_a_snapshot_can_be_installed_on_a_full_disk_with_the_reserve() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    log.append(1, 1, b"x")
    disk.room = 0
    with pytest.raises(WalFull):
        log.sync()
    log.reset(100, 5)
    assert (log.first_index, log.full) == (101, False)
    log.append(101, 5, b"fits where the reserve was")
    assert log.sync() == 101


def test_a_reset_without_any_space_changes_nothing() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    log.append(1, 1, b"x")
    log.sync()
    disk.remove(D / "reserve")
    disk.room = 0
    with pytest.raises(WalFull):
        log.reset(100, 5)
    assert log.entries(1, 5) == [LogEntry(1, 1, b"x")]
    disk.room = 10_000
    log.append(2, 1, b"y")
    assert log.sync() == 2


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("file", [".wal", "state"])
def test_a_failing_device_closes_the_log_for_good(number: int, operation: str, file: str) -> None:
    disk = MemoryDisk()
    log = opened(disk)
    log.append(1, 1, b"x")
    disk.fault = failing(operation, number, suffix=file)
    attempt = log.sync if file == ".wal" else lambda: log.save_hard_state(1, 1)
    with pytest.raises(WalFailed, match=errno.errorcode[number]):
        attempt()
    disk.fault = lambda operation, path: None
    for action in (log.sync, lambda: log.append(2, 1, b""), lambda: log.save_hard_state(2, 1), lambda: log.trim_to(1)):
        with pytest.raises(WalFailed):
            action()
    log.close()


def test_a_failed_sync_is_never_repeated() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    log.append(1, 1, b"x")
    disk.fault = failing("sync", errno.EIO, suffix=".wal")
    with pytest.raises(WalFailed):
        log.sync()
    calls: list[str] = []
    disk.fault = lambda operation, path: calls.append(operation)
    with pytest.raises(WalFailed):
        log.sync()
    log.close()
    assert calls == []


def test_space_that_runs_out_only_at_the_sync_is_not_taken_for_durable() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    log.append(1, 1, b"x")
    disk.fault = failing("sync", errno.ENOSPC, suffix=".wal")
    with pytest.raises(WalFull):
        log.sync()
    assert log.durable_index == 0
    assert log.sync() == 1
    disk.crash()
    assert opened(disk).last_index == 1


WRITER = """
import sys
from pathlib import Path
from raftmeta.wal import Wal
log = Wal.open(Path(sys.argv[1]), create=True, segment_bytes=5000)
index = log.last_index
while True:
    for _ in range(3):
        index += 1
        log.append(index, 1, b"%d" % index)
    print(log.sync(), flush=True)
    log.save_hard_state(log.hard_state.term + 1, 1)
    if index % 90 == 0:
        log.trim_to(index - 30)
"""


def test_kill_9_of_a_writing_process_loses_nothing_it_reported(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    for lines in (1, 40, 150):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "wal")],
            stdout=subprocess.PIPE,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        with process:
            assert process.stdout is not None
            reported = [int(process.stdout.readline()) for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
            reported += [int(line) for line in process.stdout.read().split()]
        log = Wal.open(tmp_path / "wal", create=False)
        assert log.last_index >= reported[-1]
        assert log.hard_state.term >= len(reported) - 1
        for found in log.entries(log.first_index, 10_000):
            assert found.data == b"%d" % found.index
        log.close()


def test_a_really_full_file_system_refuses_and_recovers(tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", str(mounted)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {made.stderr.strip()}")
    try:
        log = Wal.open(mounted / "wal", create=True)
        ballast = mounted / "ballast"
        ballast.write_bytes(bytes(64 * 1024))
        index = 0
        while not log.full and index < 1000:
            index += 1
            log.append(index, 1, bytes(1000))
            with contextlib.suppress(WalFull):
                log.sync()
        assert log.full
        assert log.durable_index == index - 1
        log.save_hard_state(5, 1)
        with pytest.raises(WalFull):
            log.sync()
        ballast.unlink()
        assert log.sync() == index
        log.close()
        again = Wal.open(mounted / "wal", create=False)
        assert (again.last_index, again.hard_state.term) == (index, 5)
        again.close()
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
