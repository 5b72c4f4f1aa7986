"""The layer itself, below small programs: what was synced stays, what was not goes, and nothing escapes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.disk.image import SECTOR
from faults.disk.layer import DiskLayer
from faults.disk.programs import complaint, disk_layer, run, run_and_kill


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskLayer]:
    layer = disk_layer(tmp_path / "disk")
    yield layer
    layer.close()


def tree(disk: DiskLayer) -> dict[str, bytes | None]:
    """Every path below the directory with its contents; None for a directory."""
    return {
        str(path.relative_to(disk.directory)): None if path.is_dir() else path.read_bytes()
        for path in disk.directory.rglob("*")
    }


LOST = {
    "a write without a sync": ("put('a', b'old'); sync('a'); sync(); put('a', b'new')", {"a": b"old"}),
    "a write after the sync": ("d = put('a', b'old'); sync(); os.fsync(d); os.pwrite(d, b'new', 0)", {"a": b"old"}),
    "an append after the sync": ("d = put('a', b'old'); sync(); os.fsync(d); os.pwrite(d, b'new', 3)", {"a": b"old"}),
    "a new name": ("os.fsync(put('a', b'old'))", {}),
    "contents of a name that is synced": ("put('a', b'old'); sync()", {"a": b""}),
    "a rename": (
        "os.fsync(put('a', b'old')); os.fsync(put('b', b'new')); sync(); os.rename('b', 'a')",
        {"a": b"old", "b": b"new"},
    ),
    "a removal": ("os.fsync(put('a', b'old')); sync(); os.unlink('a')", {"a": b"old"}),
    "a removal, and the number is used again": (
        "os.close(put('a', b'old')); sync('a'); sync(); os.unlink('a'); os.fsync(put('b', b'new'))",
        {"a": b"old"},
    ),
    "a directory": ("os.mkdir('d'); os.fsync(put('d/a', b'old')); sync('d')", {}),
    "the removal of a directory": ("os.mkdir('d'); sync(); os.rmdir('d')", {"d": None}),
    "a cut": ("d = put('a', b'long'); os.fsync(d); sync(); os.ftruncate(d, 1)", {"a": b"long"}),
    "emptying by opening": ("os.fsync(put('a', b'old')); sync(); open('a', 'wb').close()", {"a": b"old"}),
    "a write through another descriptor": (
        "d = put('a', b'old'); os.fsync(d); sync(); e = os.dup(d); os.lseek(e, 0, 0); os.write(e, b'new')",
        {"a": b"old"},
    ),
    "a gathered write": ("d = put('a', b'old'); os.fsync(d); sync(); os.writev(d, [b'n', b'ew'])", {"a": b"old"}),
    "a copy in the kernel": (
        "d = put('a', b'old'); os.fsync(d); sync(); s = put('b', b'new'); os.lseek(s, 0, 0);"
        "os.copy_file_range(s, d, 3, 0, 0)",
        {"a": b"old"},
    ),
    "what a program wrote that was given the file open": (
        "d = put('a', b'old'); os.fsync(d); sync()\n"
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', f'import os; os.pwrite({d}, b\"new\", 0)'], pass_fds=[d], check=True)",
        {"a": b"old"},
    ),
    "what another process wrote": (
        "os.fsync(put('a', b'old')); sync(); pid = os.fork()\n"
        "if not pid:\n    put('a', b'new'); os._exit(0)\n"
        "os.waitpid(pid, 0)",
        {"a": b"old"},
    ),
}


@pytest.mark.parametrize("case", LOST)
def test_what_was_not_synced_is_gone_after_the_power_failed(disk: DiskLayer, case: str) -> None:
    program, after = LOST[case]
    run_and_kill(disk, program)
    disk.lose_power()
    assert tree(disk) == after


KEPT = {
    "a synced file": ("os.fsync(put('a', b'old')); sync()", {"a": b"old"}),
    "data alone": ("os.fdatasync(put('a', b'old')); sync()", {"a": b"old"}),
    "a sync by another descriptor": ("os.close(put('a', b'old')); sync('a'); sync()", {"a": b"old"}),
    "a write that waits for the disk": ("put('a', b'old', flags=os.O_DSYNC); sync()", {"a": b"old"}),
    "a gathered write": ("d = put('a', b''); os.writev(d, [b'o', b'ld']); os.fsync(d); sync()", {"a": b"old"}),
    "an append": ("f = open('a', 'ab', 0); f.write(b'o'); f.write(b'ld'); os.fsync(f.fileno()); sync()", {"a": b"old"}),
    "a cut": ("d = put('a', b'long'); os.fsync(d); sync(); os.ftruncate(d, 1); os.fdatasync(d)", {"a": b"l"}),
    "a cut that grew again": (
        "d = put('a', b'long'); os.fsync(d); sync(); os.ftruncate(d, 1); os.ftruncate(d, 4); os.fsync(d)",
        {"a": b"l\0\0\0"},
    ),
    "a hole": ("os.fsync(put('a', b'x', at=10_000)); sync()", {"a": bytes(10_000) + b"x"}),
    "a rename": (
        "os.fsync(put('a', b'old')); os.fsync(put('b', b'new')); sync(); os.rename('b', 'a'); sync()",
        {"a": b"new"},
    ),
    "a removal": ("os.fsync(put('a', b'old')); sync(); os.unlink('a'); sync()", {}),
    "a directory": ("os.mkdir('d'); os.fsync(put('d/a', b'old')); sync('d'); sync()", {"d": None, "d/a": b"old"}),
    "a directory that moved": (
        "os.mkdir('d'); os.mkdir('e'); os.fsync(put('d/a', b'old')); sync('d'); os.rename('d', 'e/f');"
        "sync('e'); sync()",
        {"e": None, "e/f": None, "e/f/a": b"old"},
    ),
    "what was written since, at the next sync": (
        "d = put('a', b'old'); os.fsync(d); sync(); os.pwrite(d, b'new', 5000); os.fdatasync(d)",
        {"a": b"old" + bytes(4997) + b"new"},
    ),
    "what a program wrote and synced that was given the file open": (
        "d = put('a', b'old'); sync()\n"
        "import subprocess, sys\n"
        "work = f'import os; os.pwrite({d}, b\"new\", 0); os.fdatasync({d})'\n"
        "subprocess.run([sys.executable, '-c', work], pass_fds=[d], check=True)",
        {"a": b"new"},
    ),
    "a big file": (
        "d = put('a', b''); sync()\n"
        "for at in range(0, 48 << 20, 1 << 20): os.pwrite(d, bytes([1 + (at >> 20)]) * (1 << 20), at)\n"
        "os.fdatasync(d)",
        {"a": b"".join(bytes([1 + at]) * (1 << 20) for at in range(48))},
    ),
    "many files": (
        "for n in range(300): d = put(f'f{n}', b'%d' % n); os.fsync(d); os.close(d)\nsync()",
        {f"f{n}": b"%d" % n for n in range(300)},
    ),
}


@pytest.mark.parametrize("case", KEPT)
@pytest.mark.parametrize("seed", [None, 1])
def test_what_was_synced_stays_after_the_power_failed(disk: DiskLayer, case: str, seed: int | None) -> None:
    program, after = KEPT[case]
    run_and_kill(disk, program)
    disk.lose_power(seed)
    assert tree(disk) == after


def test_a_killed_process_loses_nothing_and_what_it_had_not_synced_can_still_be_synced(disk: DiskLayer) -> None:
    run_and_kill(disk, "put('a', b'one'); os.fsync(put('b', b'two')); sync()")
    assert tree(disk) == {"a": b"one", "b": b"two"}
    run_and_kill(disk, "os.pwrite(os.open('b', os.O_RDWR), b'T', 0); sync('a')")
    disk.lose_power()
    assert tree(disk) == {"a": b"one", "b": b"two"}
    run_and_kill(disk, "os.pwrite(os.open('b', os.O_RDWR), b'T', 0); sync('b')")
    disk.lose_power()
    assert tree(disk) == {"a": b"one", "b": b"Two"}


def test_some_of_the_rest_survives_by_the_seed_in_sectors(disk: DiskLayer, tmp_path: Path) -> None:
    sectors, torn, lengths, names = 16, 0, set(), set()
    size = sectors * SECTOR
    for seed in range(40):
        run_and_kill(disk, f"os.fsync(put('a', b'o' * {size})); put('b', b''); sync(); put('a', b'n' * {2 * size})")
        run_and_kill(disk, "put('c', b'new')")
        disk.lose_power(seed)
        found = tree(disk)
        data = found["a"]
        assert data is not None
        pieces = [data[at : at + SECTOR] for at in range(0, len(data), SECTOR)]
        assert set(pieces[:sectors]) <= {b"o" * SECTOR, b"n" * SECTOR}
        assert set(pieces[sectors:]) <= {b"\0" * SECTOR, b"n" * SECTOR}
        torn += len(set(pieces[:sectors])) == 2
        lengths.add(len(data))
        names.add(frozenset(found))
        run_and_kill(disk, "[os.unlink(name) for name in os.listdir('.')]; sync()")
    assert torn > 5
    assert lengths == {size, 2 * size}
    assert names == {frozenset("ab"), frozenset("abc")}


def test_the_same_seed_leaves_the_same_disk(tmp_path: Path) -> None:
    found = []
    for attempt in ("one", "two"):
        disk = disk_layer(tmp_path / attempt)
        run_and_kill(disk, "os.fsync(put('a', b'o' * 9000)); sync(); put('a', b'n' * 20_000); put('b', b'b')")
        disk.lose_power(7)
        found.append(tree(disk))
        disk.close()
    assert found[0] == found[1]


def test_what_a_failed_sync_dropped_is_not_on_the_disk_after_one_that_succeeds(disk: DiskLayer) -> None:
    disk.fail_sync(5)
    run_and_kill(
        disk,
        "d = put('a', b'o' * 8192)\n"
        "try: os.fdatasync(d)\n"
        "except OSError as error: assert error.errno == 5\n"
        "else: raise SystemExit",
    )
    disk.heal()
    run_and_kill(disk, "d = os.open('a', os.O_RDWR); os.pwrite(d, b'n' * 4096, 4096); os.fsync(d); sync()")
    assert disk.counts()["syncs_failed"] == 1
    disk.lose_power()
    assert tree(disk) == {"a": bytes(4096) + b"n" * 4096}


def test_syncs_fail_and_crawl_only_where_they_are_told_to(disk: DiskLayer) -> None:
    disk.fail_sync(5, only="/a")
    run(disk, "os.fsync(put('b', b'')); sync()")
    assert disk.counts() == {**disk.counts(), "syncs": 2, "syncs_failed": 0}
    disk.heal()
    disk.slow_sync(0.01, only="/a")
    run(disk, "os.fsync(put('a', b'')); os.fsync(put('b', b''))")
    assert disk.counts() == {**disk.counts(), "syncs": 4, "syncs_delayed": 1, "syncs_failed": 0}


def test_a_full_disk_takes_what_fits_and_gives_back_what_was_removed(disk: DiskLayer) -> None:
    disk.full(1000)
    told = run(
        disk,
        "d = put('a', b'x' * 600)\n"
        "print(os.pwrite(d, b'x' * 600, 600), os.statvfs('.').f_bavail)\n"
        "try: os.pwrite(d, b'x', 5000)\n"
        "except OSError as error: print(error.errno)\n"
        "print(os.pwrite(d, b'y' * 1000, 0)); os.unlink('a'); print(os.pwrite(put('b', b''), b'x' * 1000, 0))",
    )
    assert told.split() == ["400", "0", "28", "1000", "1000"]
    assert disk.counts()["writes_refused"] == 2
    disk.heal()
    assert run(disk, "print(os.statvfs('.').f_bavail > 0, os.pwrite(put('c', b''), b'x' * 9000, 0))").split() == [
        "True",
        "9000",
    ]


def test_a_process_is_killed_at_the_sync_it_is_told(disk: DiskLayer) -> None:
    run(disk, "sync()")
    disk.kill_at_sync(3)
    with pytest.raises(AssertionError):
        run(disk, "d = put('a', b'1'); os.fsync(d); sync(); os.pwrite(d, b'2', 0); os.fsync(d)")
    disk.lose_power()
    assert tree(disk) == {"a": b"1"}


def test_the_wall_clock_jumps_and_the_monotonic_one_does_not(disk: DiskLayer) -> None:
    ask = "import time; print(int(time.time()), int(time.monotonic()))"
    before = [int(word) for word in run(disk, ask).split()]
    assert disk.counts()["clock_reads_shifted"] == 0
    disk.clock_jump(7200)
    disk.clock_jump(-3600)
    after = [int(word) for word in run(disk, ask).split()]
    assert 3600 <= after[0] - before[0] < 4200
    assert after[1] - before[1] < 600
    assert disk.counts()["clock_reads_shifted"] > 0


UNFOLLOWED = {
    "a shared writable mapping": "import mmap; mmap.mmap(put('a', b'x' * 4096), 4096)",
    "a hard link": "put('a', b''); os.link('a', 'b')",
    "a symbolic link": "os.symlink('a', 'b')",
    "a rename out of the directory": "put('a', b''); os.rename('a', '../a')",
    "a file without a name": "os.open('.', os.O_TMPFILE | os.O_RDWR)",
    "a splice": "r, w = os.pipe(); os.write(w, b'x'); os.splice(r, put('a', b''), 1)",
}


@pytest.mark.parametrize("way", UNFOLLOWED)
def test_a_way_of_writing_it_does_not_follow_ends_the_program(disk: DiskLayer, way: str) -> None:
    assert "disk layer: " in complaint(disk, UNFOLLOWED[way])
    with pytest.raises(AssertionError, match="not followed"):
        disk.lose_power()


def test_an_empty_file_whose_maker_was_killed_before_it_was_noted_never_was(disk: DiskLayer) -> None:
    run_and_kill(disk, "os.fsync(put('a', b'x')); sync()")
    (disk.directory / "b").touch()
    disk.lose_power()
    assert sorted(path.name for path in disk.directory.iterdir()) == ["a"]


def test_a_write_behind_its_back_is_found(disk: DiskLayer) -> None:
    run_and_kill(disk, "os.fsync(put('a', b'x' * 9000)); sync()")
    disk.check()
    (disk.directory / "b").write_bytes(b"y")
    with pytest.raises(AssertionError, match="came into being unseen"):
        disk.lose_power()
    (disk.directory / "b").unlink()
    with (disk.directory / "a").open("r+b") as file:
        file.seek(8500)
        file.write(b"y")
    with pytest.raises(AssertionError, match="offset 8192 was written unseen"):
        disk.lose_power()
