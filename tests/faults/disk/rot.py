"""Damage to the files of a stopped member, one structure at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raftmeta.wal.record import HEAD_SIZE
from raftmeta.wal.segment import HEADER_SIZE

_RECORD = b"\xf5qW\x9d"
_PAGE = 4096
Damage = Callable[[Path], None]


def flip(path: Path, offset: int) -> None:
    """Flip one bit of the byte at `offset`; a negative one counts from the end."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


def cut(path: Path, count: int) -> None:
    """Cut `count` bytes off the end of a file."""
    path.write_bytes(path.read_bytes()[:-count])


def wipe(path: Path) -> None:
    """Make a file all zeros."""
    path.write_bytes(bytes(path.stat().st_size))


def log(data_dir: Path) -> Path:
    """The segment of a log that has only one."""
    [path] = (data_dir / "raft" / "wal").glob("*.wal")
    return path


def record(data_dir: Path, number: int) -> int:
    """Where the `number`-th record of the log begins; a negative one counts from the end."""
    data = log(data_dir).read_bytes()
    offsets, at = [], HEADER_SIZE
    while at < len(data):
        assert data[at : at + 4] == _RECORD
        offsets.append(at)
        at += HEAD_SIZE + int.from_bytes(data[at + 12 : at + 16], "little")
    return offsets[number]


def state(data_dir: Path, name: str = "data.mdb") -> Path:
    """A file of the store."""
    return data_dir / "store" / (data_dir / "store" / "CURRENT").read_text().strip() / name


def newest_checkpoint(data_dir: Path) -> int:
    """Where the first copy of the newest checkpoint begins."""
    data = state(data_dir, "checkpoint").read_bytes()
    return max(range(0, len(data), len(data) // 4), key=lambda at: int.from_bytes(data[at + 16 : at + 24], "little"))


def flip_everywhere(path: Path, found: bytes) -> None:
    """Flip a bit in the middle of every occurrence of `found`: LMDB's file has old copies of pages too."""
    data = path.read_bytes()
    assert found in data
    damaged = bytearray(found)
    damaged[len(found) // 2] ^= 4
    path.write_bytes(data.replace(found, bytes(damaged)))


def flip_page(data_dir: Path, found: bytes, offset: int) -> None:
    """Flip a bit at `offset` in the header of every page of LMDB's file that holds `found`."""
    path = state(data_dir)
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(found, at + 1)) >= 0:
        data[at - at % _PAGE + offset] ^= 4
    path.write_bytes(data)
