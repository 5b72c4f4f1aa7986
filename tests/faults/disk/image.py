"""The shadow of a directory, seen from outside the process: taken on, compared, and put in the directory's place."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

BLOCK = 4096
SECTOR = 512
_CHUNK = 1 << 20
_VOLATILE = "lock.mdb"  # a shared mapping of LMDB's, worthless after the process


class UnseenWriteError(AssertionError):
    """Bytes of a file differ from the disk without ever having been marked as written: the layer missed a call."""


def take_on(directory: Path, shadow: Path) -> None:
    """Begin the shadow of `directory`: what is there now is on the disk."""
    for part in ("i", "m", "d"):
        shutil.rmtree(shadow / part, ignore_errors=True)
        (shadow / part).mkdir(parents=True)
    _take_on(directory, shadow, "root")


def _take_on(directory: Path, shadow: Path, name: str) -> None:
    kept = shadow / "d" / name
    kept.mkdir()
    (shadow / "m" / str(directory.stat().st_ino)).symlink_to(name)
    for path in sorted(directory.iterdir()):
        number = path.stat().st_ino
        if path.is_dir():
            _take_on(path, shadow, f"taken-{number}")
            (kept / path.name).symlink_to(f"taken-{number}")
        else:
            with path.open("rb") as source, (shadow / "i" / str(number)).open("wb") as target:
                _copy(source.fileno(), target.fileno())
            (kept / path.name).hardlink_to(shadow / "i" / str(number))


def compare(directory: Path, shadow: Path) -> None:
    """Raise `UnseenWriteError` when a file holds bytes that neither the disk has nor the layer saw written."""
    for path in sorted(directory.rglob("*")):
        if path.is_dir() or path.name == _VOLATILE:
            continue
        kept = shadow / "i" / str(path.stat().st_ino)
        if not kept.exists():
            if path.stat().st_size:
                raise UnseenWriteError(f"{path} came into being unseen")
            path.unlink()  # its maker was killed before the layer could note it
            continue
        marks = kept.with_suffix(".marks")
        for offset in _differences(path, kept, BLOCK):
            if not marks.exists() or not _byte(marks, offset // BLOCK):
                raise UnseenWriteError(f"{path}: offset {offset} was written unseen")


def restore(directory: Path, shadow: Path, dice: random.Random | None) -> None:
    """Put in the place of `directory` what a disk without power held: what was synced, and with `dice` some of the rest.

    Without `dice` it is exactly what was synced. With them, of everything else a part that they choose has reached the disk
    as well: the names either all or not at all, of each file nothing, everything, or sectors of 512 bytes here and there.
    """
    live = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            number = path.stat().st_ino
            live[(shadow / "i" / str(number)).stat().st_ino] = path
    after = shadow / "after"
    shutil.rmtree(after, ignore_errors=True)
    if dice is not None and dice.random() < 0.5:
        _write_seen(directory, shadow, after, dice)
    else:
        _write_kept(shadow / "d" / "root", live, after, dice)
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in after.iterdir():
        shutil.move(path, directory / path.name)
    after.rmdir()
    take_on(directory, shadow)


def _write_kept(kept: Path, live: dict[int, Path], target: Path, dice: random.Random | None) -> None:
    target.mkdir()
    for path in sorted(kept.iterdir()):
        if path.is_symlink():
            _write_kept(kept.parent / path.readlink(), live, target / path.name, dice)
        else:
            _write_file(path, live.get(path.stat().st_ino), target / path.name, dice)


def _write_seen(directory: Path, shadow: Path, target: Path, dice: random.Random) -> None:
    target.mkdir()
    for path in sorted(directory.iterdir()):
        if path.is_dir():
            _write_seen(path, shadow, target / path.name, dice)
        else:
            _write_file(shadow / "i" / str(path.stat().st_ino), path, target / path.name, dice)


def _write_file(kept: Path, seen: Path | None, target: Path, dice: random.Random | None) -> None:
    """Write what the disk has of a file; `seen` is the file as programs see it, if it still is there."""
    fate = dice.choice(["nothing", "everything", "some"]) if dice is not None and seen is not None else "nothing"
    if target.name == _VOLATILE:
        target.touch()
        return
    with kept.open("rb") as source, target.open("w+b") as out:
        _copy(source.fileno(), out.fileno())
        if seen is None or dice is None or fate == "nothing":
            return
        if fate == "everything" or dice.random() < 0.5:
            out.truncate(seen.stat().st_size)
        size = os.fstat(out.fileno()).st_size
        with seen.open("rb") as newer:
            for offset in _differences(seen, kept, SECTOR):
                if offset < size and (fate == "everything" or dice.random() < 0.5):
                    sector = os.pread(newer.fileno(), min(SECTOR, size - offset), offset).ljust(
                        min(SECTOR, size - offset), b"\0"
                    )
                    os.pwrite(out.fileno(), sector, offset)


def _differences(one: Path, other: Path, unit: int) -> Iterator[int]:
    """Yield the offsets of the units of `unit` bytes in which two files differ; beyond its end a file is zeros."""
    with one.open("rb") as first, other.open("rb") as second:
        offset = 0
        while True:
            left, right = first.read(_CHUNK), second.read(_CHUNK)
            if not left and not right:
                return
            if left != right:
                size = max(len(left), len(right))
                left, right = left.ljust(size, b"\0"), right.ljust(size, b"\0")
                for at in range(0, size, unit):
                    if left[at : at + unit] != right[at : at + unit]:
                        yield offset + at
            offset += _CHUNK


def _byte(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(1)[0]


def _copy(source: int, target: int) -> None:
    """Copy a file, holes as holes."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end:
            data = os.pread(source, min(_CHUNK, end - at), at)
            os.pwrite(target, data, at)
            at += len(data)
