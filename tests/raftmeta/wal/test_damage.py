"""Flipped bits, cut and missing files: the log either holds everything that was synced or refuses to open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from harness.disks import MemoryDisk
from hypothesis import given, settings

from raftmeta.wal import LogEntry, Wal, WalCorrupt

D = Path("/data/wal")
STATE = D / "state"


def entry(index: int) -> LogEntry:
    return LogEntry(index, 1 + index // 9, b"entry %d " % index * (index % 7))


def built() -> tuple[dict[Path, bytes], int]:
    """The files of a log of several segments, trimmed, with a truncation in it; and where its last group began."""
    disk = MemoryDisk()
    log = Wal.open(D, create=True, files=disk, segment_bytes=600, random=lambda n: b"r" * n)
    log.save_hard_state(7, 3)
    for first in range(1, 28, 3):
        for index in range(first, first + 3):
            log.append(index, entry(index).term, entry(index).data)
        log.sync()
    log.append(28, 9, b"void")
    log.append(29, 9, b"void")
    log.sync()
    log.truncate_from(28)
    for index in (28, 29):
        log.append(index, entry(index).term, entry(index).data)
    log.sync()
    log.trim_to(10)
    before = log.durable_index
    for index in (30, 31, 32):
        log.append(index, entry(index).term, entry(index).data)
    log.sync()
    disk.kill()
    return disk.contents(), before


FILES, BEFORE_LAST = built()
SEGMENTS = sorted(path for path in FILES if path.suffix == ".wal")
EXPECTED = [entry(index) for index in range(11, 33)]


def outcome(files: dict[Path, bytes], least: int = 32) -> str:
    """Open a damaged log; it must be refused, or hold term, vote and the entries up to `least` at the least."""
    disk = MemoryDisk.holding(files)
    refusal: WalCorrupt | None = None
    try:
        log = Wal.open(D, create=True, files=disk)
        found = log.entries(log.first_index, 100)
    except WalCorrupt as error:
        refusal = error
    if refusal is not None:
        assert refusal.file.parent == D
        assert "`python -m raftmeta check` with" in str(refusal)
        return "refused"
    assert log.hard_state == (7, 3)
    assert log.first_index == 11
    assert log.last_index >= least
    assert found == EXPECTED[: len(found)]
    log.append(log.last_index + 1, 99, b"more")
    log.sync()
    disk.crash()
    again = Wal.open(D, create=False, files=disk)
    assert again.entries(11, 100)[:-1] == found
    return "opened"


def flips() -> Iterator[tuple[Path, int]]:
    for path in SEGMENTS:
        yield from ((path, offset) for offset in range(len(FILES[path])))
    yield from ((STATE, block + offset) for block in (0, 4096, 8192) for offset in range(80))


def flipped(files: dict[Path, bytes], path: Path, offset: int, mask: int) -> dict[Path, bytes]:
    data = bytearray(files[path])
    data[offset] ^= mask
    return files | {path: bytes(data)}


def test_the_undamaged_log_opens() -> None:
    assert len(SEGMENTS) >= 3
    assert outcome(FILES) == "opened"


def test_a_flip_in_any_byte_is_noticed_or_harmless() -> None:
    for number, (path, offset) in enumerate(flips()):
        result = outcome(flipped(FILES, path, offset, 1 << number % 8))
        assert result == ("opened" if path == STATE else "refused"), (path, offset)


def test_a_flip_is_noticed_without_the_sync_mark_unless_it_is_in_the_last_group() -> None:
    unmarked = flipped(FILES, STATE, 8192, 1)
    for number, (path, offset) in enumerate(flips()):
        if path != STATE:
            outcome(flipped(unmarked, path, offset, 1 << number % 8), least=BEFORE_LAST)


def test_a_cut_anywhere_is_noticed_or_harmless() -> None:
    for path in SEGMENTS:
        for size in range(len(FILES[path])):
            assert outcome(FILES | {path: FILES[path][:size]}) == "refused", (path, size)
    for size in range(0, len(FILES[STATE]), 7):
        assert outcome(FILES | {STATE: FILES[STATE][:size]}) == ("opened" if size >= 4096 or size >= 72 else "refused")


def test_a_missing_file_is_noticed() -> None:
    for path in [*SEGMENTS, STATE]:
        assert outcome({other: data for other, data in FILES.items() if other != path}) == "refused", path


def test_an_empty_state_file_is_never_term_zero() -> None:
    with pytest.raises(WalCorrupt, match="neither copy of the term and vote is valid"):
        Wal.open(D, create=True, files=MemoryDisk.holding(FILES | {STATE: b""}))


@pytest.mark.parametrize("block", [0, 4096])
def test_one_good_copy_of_the_state_is_enough_and_the_other_is_repaired(block: int) -> None:
    wiped = FILES[STATE][:block] + bytes(4096) + FILES[STATE][block + 4096 :]
    disk = MemoryDisk.holding(FILES | {STATE: wiped})
    log = Wal.open(D, create=False, files=disk)
    assert log.hard_state == (7, 3)
    assert disk.contents()[STATE][:8192] == FILES[STATE][:8192]


def test_a_torn_tail_that_was_never_synced_is_cut() -> None:
    last = SEGMENTS[-1]
    disk = MemoryDisk.holding(FILES)
    log = Wal.open(D, create=False, files=disk)
    for index in (33, 34):
        log.append(index, 99, b"never synced")
    log.sync()
    tail = disk.contents()[last][len(FILES[last]) :]
    whole = len(tail) // 2
    for junk in [bytes(700), b"x", bytes(whole) + tail[whole:], *(tail[:size] for size in range(len(tail)))]:
        disk = MemoryDisk.holding(FILES | {last: FILES[last] + junk})
        log = Wal.open(D, create=False, files=disk)
        kept = 1 if junk[:whole] == tail[:whole] else 0
        assert log.cut_bytes == len(junk) - kept * whole
        assert log.entries(11, 22) == EXPECTED
        assert log.last_index == 32 + kept
        assert disk.contents()[last] == FILES[last] + tail[: kept * whole]


def test_segments_of_another_log_or_under_another_number_are_refused() -> None:
    other = MemoryDisk()
    Wal.open(D, create=True, files=other, random=lambda n: b"o" * n).close()
    foreign = other.contents()[D / f"{1:016x}.wal"]
    assert outcome(FILES | {SEGMENTS[-1]: foreign}) == "refused"
    assert outcome(FILES | {SEGMENTS[0]: FILES[SEGMENTS[1]]}) == "refused"


def test_damage_that_appears_while_running_is_found_when_it_is_read() -> None:
    disk = MemoryDisk.holding(FILES)
    log = Wal.open(D, create=False, files=disk)
    file = disk.open(SEGMENTS[0])
    file.write(file.size() - 1, b"\xff")
    with pytest.raises(WalCorrupt, match="checksum of the record data differs"):
        log.entries(11, 100)


@given(
    st.lists(
        st.tuples(st.sampled_from([*SEGMENTS, STATE]), st.floats(0, 0.999), st.integers(1, 255)), min_size=2, max_size=5
    )
)
@settings(max_examples=150, deadline=None)
def test_several_damaged_bytes_never_give_a_wrong_entry(damage: list[tuple[Path, float, int]]) -> None:
    files = FILES
    for path, place, mask in damage:
        files = flipped(files, path, int(place * len(files[path])), mask)
    outcome(files, least=BEFORE_LAST)
