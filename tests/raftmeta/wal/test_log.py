"""The log's contract on a good disk: append, read, truncate, trim, reset, term and vote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.disks import MemoryDisk

from raftmeta.wal import DiskFiles, Files, HardState, LogEntry, Wal, WalCorrupt, WalError, WalLocked, WalRange

D = Path("/data/wal")


def opened(files: Files, directory: Path = D, segment_bytes: int = 400, cache_bytes: int = 100) -> Wal:
    return Wal.open(directory, create=True, files=files, segment_bytes=segment_bytes, cache_bytes=cache_bytes)


def fill(log: Wal, first: int, last: int, term: int = 1) -> list[LogEntry]:
    made = [LogEntry(index, term, f"{term}:{index}".encode() * 3) for index in range(first, last + 1)]
    for entry in made:
        log.append(entry.index, entry.term, entry.data)
    return made


def everything(log: Wal) -> list[LogEntry]:
    return log.entries(log.first_index, 10_000)


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, Path]:
    return (MemoryDisk(), D) if request.param == "memory" else (DiskFiles(), tmp_path / "a" / "wal")


def test_a_new_log_is_empty(place: tuple[Files, Path]) -> None:
    log = opened(*place)
    assert (log.first_index, log.last_index, log.last_term, log.durable_index) == (1, 0, 0, 0)
    assert log.hard_state == HardState(0, 0)
    assert log.term_of(0) == 0
    log.close()


def test_entries_are_read_back_at_once_and_after_reopening(place: tuple[Files, Path]) -> None:
    log = opened(*place)
    made = fill(log, 1, 50)
    assert log.durable_index == 0
    assert everything(log) == made
    assert log.sync() == 50
    made += fill(log, 51, 60, term=3)
    log.sync()
    assert log.segments > 1
    assert everything(log) == made
    log.close()
    again = opened(*place)
    assert everything(again) == made
    assert (again.last_term, again.term_of(50), again.term_of(51), again.durable_index) == (3, 1, 3, 60)
    assert again.entries(48, 5) == made[47:52]
    again.close()


def test_reading_stops_after_the_bytes_asked_for_but_gives_at_least_one_entry() -> None:
    log = opened(MemoryDisk(), segment_bytes=10_000, cache_bytes=150)
    made = [LogEntry(index, 1, b"x" * 100) for index in range(1, 8)]
    for entry in made:
        log.append(entry.index, 1, entry.data)
        log.sync()
    for first in (1, 5, 7):
        assert log.entries(first, 10, max_bytes=1) == made[first - 1 : first]
        assert log.entries(first, 10, max_bytes=250) == made[first - 1 : first + 1]
    assert log.entries(1, 3) == made[:3]
    log.close()


@pytest.mark.parametrize("cut", [1, 2, 20, 39, 40])
@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("reopen", ["close", "kill"])
def test_truncation_removes_a_suffix_and_appending_goes_on_from_there(cut: int, synced: bool, reopen: str) -> None:
    disk = MemoryDisk()
    log = opened(disk)
    made = fill(log, 1, 20)
    log.sync()
    made += fill(log, 21, 40)
    if synced:
        log.sync()
    log.truncate_from(cut)
    assert log.last_index == cut - 1
    assert log.durable_index == min(cut - 1, 40 if synced else 20)
    made = made[: cut - 1] + fill(log, cut, cut + 5, term=2)
    assert everything(log) == made
    assert log.sync() == cut + 5
    if reopen == "close":
        log.close()
    else:
        disk.kill()
    log = opened(disk)
    assert everything(log) == made
    assert log.term_of(cut) == 2
    log.close()


@pytest.mark.parametrize("upto", [1, 7, 30, 59, 60])
def test_trimming_forgets_a_prefix_and_deletes_whole_segments(upto: int, place: tuple[Files, Path]) -> None:
    log = opened(*place)
    fill(log, 1, 10)
    for index in range(11, 61):
        fill(log, index, index, term=2)
        log.sync()
    before = log.segments
    log.trim_to(upto)
    term = 1 if upto <= 10 else 2
    for _ in range(2):
        assert (log.first_index, log.last_index, log.term_of(upto), log.last_term) == (upto + 1, 60, term, 2)
        assert len(everything(log)) == 60 - upto
        with pytest.raises(WalRange):
            log.entries(upto, 1)
        with pytest.raises(WalRange):
            log.term_of(upto - 1)
        assert upto < 30 or log.segments < before
        log.close()
        log = opened(*place)
    log.trim_to(upto - 1)
    assert log.first_index == upto + 1
    fill(log, 61, 70, term=2)
    log.sync()
    assert log.entries(65, 1)[0].index == 65
    log.close()
    names = [name for name in place[0].names(place[1]) if name.endswith(".wal")]
    assert len(names) == log.segments


def test_trimming_syncs_what_it_trims() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    fill(log, 1, 9)
    log.trim_to(8)
    disk.crash()
    log = opened(disk)
    assert [entry.index for entry in everything(log)] == [9]


@pytest.mark.parametrize("index", [0, 5, 30, 100])
def test_a_reset_starts_the_log_anew_after_a_snapshot(index: int, place: tuple[Files, Path]) -> None:
    log = opened(*place)
    fill(log, 1, 30)
    log.sync()
    fill(log, 31, 33)
    log.reset(index, 7)
    for _ in range(2):
        assert (log.first_index, log.last_index, log.last_term, log.durable_index) == (index + 1, index, 7, index)
        assert log.term_of(index) == 7
        assert log.segments == 1
        log.close()
        log = opened(*place)
    made = fill(log, index + 1, index + 40, term=7)
    log.sync()
    log.close()
    log = opened(*place)
    assert everything(log) == made
    log.close()


def test_a_snapshot_older_than_the_log_is_refused() -> None:
    log = opened(MemoryDisk())
    fill(log, 1, 10)
    log.trim_to(5)
    with pytest.raises(ValueError, match="older than the log"):
        log.reset(4, 1)


@pytest.mark.parametrize(
    ("index", "term", "size"), [(3, 1, 1), (1, 1, 1), (0, 1, 1), (2, 0, 1), (2, 1, 16 * 1024 * 1024 + 1)]
)
def test_an_entry_that_cannot_follow_is_refused(index: int, term: int, size: int) -> None:
    log = opened(MemoryDisk())
    fill(log, 1, 1)
    with pytest.raises(ValueError, match="cannot follow"):
        log.append(index, term, bytes(size))
    assert log.last_index == 1


@pytest.mark.parametrize(
    ("action", "index"), [("entries", 0), ("entries", 5), ("truncate", 5), ("term", 4), ("trim", 4)]
)
def test_an_index_outside_the_log_is_refused(action: str, index: int) -> None:
    log = opened(MemoryDisk())
    fill(log, 1, 3)
    actions: dict[str, Callable[[], object]] = {
        "entries": lambda: log.entries(index, 1),
        "truncate": lambda: log.truncate_from(index),
        "term": lambda: log.term_of(index),
        "trim": lambda: log.trim_to(index),
    }
    with pytest.raises(WalRange):
        actions[action]()


def test_term_and_vote_are_durable_on_return(place: tuple[Files, Path]) -> None:
    files, directory = place
    log = opened(files, directory)
    for term, vote in [(1, 0), (1, 5), (2, 0), (9, 2**64 - 1)]:
        log.save_hard_state(term, vote)
        if isinstance(files, MemoryDisk):
            files.crash()
        else:
            log.close()
        log = opened(files, directory)
        assert log.hard_state == (term, vote)
    log.close()


@pytest.mark.parametrize(("term", "vote"), [(4, 1), (5, 2), (5, 0)])
def test_a_term_never_goes_down_and_a_vote_never_changes(term: int, vote: int) -> None:
    log = opened(MemoryDisk())
    log.save_hard_state(5, 1)
    with pytest.raises(ValueError, match="cannot follow"):
        log.save_hard_state(term, vote)
    assert log.hard_state == (5, 1)


def test_a_log_belongs_to_one_process_at_a_time(place: tuple[Files, Path]) -> None:
    log = opened(*place)
    with pytest.raises(WalLocked, match="in use by another process"):
        opened(*place)
    log.close()
    log.close()
    opened(*place).close()


def test_an_absent_log_is_begun_only_when_asked(place: tuple[Files, Path]) -> None:
    with pytest.raises(WalCorrupt, match="no log here"):
        Wal.open(place[1], create=False, files=place[0])
    opened(*place).close()
    Wal.open(place[1], create=False, files=place[0]).close()


def test_a_closed_log_refuses_everything() -> None:
    log = opened(MemoryDisk())
    log.close()
    for action in (log.sync, lambda: log.append(1, 1, b""), lambda: log.save_hard_state(1, 1), lambda: log.reset(1, 1)):
        with pytest.raises(WalError, match="closed"):
            action()


def test_an_empty_sync_touches_nothing() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    fill(log, 1, 3)
    log.sync()
    before = disk.operations
    log.sync()
    assert disk.operations == before


def test_one_group_costs_one_sync() -> None:
    disk = MemoryDisk()
    log = opened(disk, segment_bytes=1_000_000)
    syncs: list[Path] = []
    disk.fault = lambda operation, path: syncs.append(path) if operation == "sync" else None
    fill(log, 1, 500)
    log.sync()
    assert len(syncs) == 1
