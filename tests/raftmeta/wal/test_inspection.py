"""Checking a log offline says what it holds or what is wrong, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftmeta.wal import HardState, Inspection, Log, Wal, WalCorrupt, WalLocked, inspect


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_sound_log_is_described_and_left_alone(tmp_path: Path) -> None:
    log: Log = Wal.open(tmp_path / "wal", create=True, segment_bytes=300)
    log.save_hard_state(4, 2)
    for index in range(1, 21):
        log.append(index, 4, b"x" * 50)
        log.sync()
    log.trim_to(3)
    with pytest.raises(WalLocked):
        inspect(tmp_path / "wal")
    log.close()
    segment = max((tmp_path / "wal").glob("*.wal"))
    segment.write_bytes(segment.read_bytes() + b"torn")
    before = contents(tmp_path / "wal")
    found = inspect(tmp_path / "wal")
    segments = len([name for name in before if name.endswith(".wal")])
    assert found == Inspection(4, 20, HardState(4, 2), segments, 4)
    assert contents(tmp_path / "wal") == before


def test_a_damaged_or_absent_log_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WalCorrupt, match="no log here"):
        inspect(tmp_path / "none")
    with pytest.raises(WalCorrupt, match="no log here"):
        inspect(tmp_path)
    Wal.open(tmp_path / "wal", create=True).close()
    (tmp_path / "wal" / "state").write_bytes(b"")
    with pytest.raises(WalCorrupt, match=r"state: offset 0: neither copy"):
        inspect(tmp_path / "wal")
