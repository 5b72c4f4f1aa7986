"""Copies of a state, made by a process of their own: what they hold, and what is left when one of the two processes dies."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from raftmeta.store import Store, StoreError, StoreFull
from raftmeta.store.copies import Copied

MAP_SIZE = 1 << 26
ROWS, SIZE = 200, 10_000
SLOW = 1 << 16  # bytes a second: the copy of these rows takes half a minute
ROOT = Path(__file__).parents[3]


def fill(store: Store, rows: int = ROWS) -> None:
    with store.write() as view:
        for row in range(rows):
            view.set_meta(b"row%05d" % row, bytes(SIZE))
        view.set_applied(rows, 3)


@contextlib.contextmanager
def opened(directory: Path, copy_rate: float = 1 << 30) -> Iterator[Store]:
    store = Store(directory, map_size=MAP_SIZE, copy_rate=copy_rate)
    try:
        yield store
    finally:
        store.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, f"{what} did not come about"
        time.sleep(0.01)


def copiers(of: int | None = None) -> list[psutil.Process]:
    """The copiers that a process runs; this one if none is named."""
    children = psutil.Process(of).children()
    return [child for child in children if "raftmeta.store.copier" in " ".join(child.cmdline())]


class Copying(threading.Thread):
    """Has a store copied beside the test, and keeps how that ended."""

    def __init__(self, store: Store, directory: Path) -> None:
        super().__init__()
        directory.mkdir()
        self.store, self.directory = store, directory
        self.outcome: Copied | Exception | None = None

    def run(self) -> None:
        try:
            self.outcome = self.store.copy(self.directory)
        except Exception as error:
            self.outcome = error

    def begin(self) -> None:
        """Start, and wait until a part of the copy is there."""
        self.start()
        file = self.directory / "data.mdb"
        wait_for(lambda: file.exists() and file.stat().st_size > 0, "a copy")


def test_a_copy_is_one_moment_and_its_digest_is_that_of_its_file(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        fill(store)
        (tmp_path / "copy").mkdir()
        copied = store.copy(tmp_path / "copy")
        data = (tmp_path / "copy" / "data.mdb").read_bytes()
        assert (copied.index, copied.term) == (ROWS, 3)
        assert copied.size == len(data) > ROWS * SIZE
        assert copied.sha256 == hashlib.sha256(data).digest()
        assert store.durable() == (ROWS, 3)


def test_a_copy_does_not_see_what_is_written_while_it_is_made_and_nobody_waits_for_it(tmp_path: Path) -> None:
    with opened(tmp_path / "store", 1 << 22) as store, opened(tmp_path / "other") as other:
        fill(store)
        copying = Copying(store, tmp_path / "copy")
        copying.begin()
        for index in range(ROWS + 1, ROWS + 50):
            with store.write() as view:
                view.set_meta(b"row00007", b"%d" % index)
                view.set_applied(index, 3)
            store.checkpoint()
        copying.join()
        assert isinstance(copying.outcome, Copied)
        assert copying.outcome.index == ROWS
        other.replace(tmp_path / "copy")
        with other.read() as view:
            assert view.applied() == (ROWS, 3)
            assert view.meta(b"row00007") == bytes(SIZE)


def test_a_copier_that_is_killed_leaves_neither_a_file_nor_pages_that_are_never_used_again(tmp_path: Path) -> None:
    with opened(tmp_path / "store", SLOW) as store:
        fill(store)
        copying = Copying(store, tmp_path / "copy")
        copying.begin()
        (process,) = copiers()
        before = store._environment.env.readers()
        process.kill()
        copying.join()
        assert isinstance(copying.outcome, StoreError)
        assert "was not copied" in str(copying.outcome)
        assert list((tmp_path / "copy").iterdir()) == []
        assert str(process.pid) in before
        assert str(process.pid) not in store._environment.env.readers()


def test_a_store_that_is_closed_ends_its_copies(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", map_size=MAP_SIZE, copy_rate=SLOW)
    fill(store)
    copying = Copying(store, tmp_path / "copy")
    copying.begin()
    store.close()
    copying.join()
    assert isinstance(copying.outcome, StoreError)
    assert list((tmp_path / "copy").iterdir()) == []
    assert copiers() == []


_COPIES_FOR_LONG = """
import pathlib, sys
from raftmeta.store import Store
store = Store(pathlib.Path(sys.argv[1]), map_size=int(sys.argv[2]), copy_rate=float(sys.argv[3]))
store.copy(pathlib.Path(sys.argv[4]))
"""


def test_a_copier_ends_when_its_parent_is_killed_and_the_store_opens_again(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        fill(store)
    copy = tmp_path / "copy"
    copy.mkdir()
    arguments = [str(tmp_path / "store"), str(MAP_SIZE), str(SLOW), str(copy)]
    parent = subprocess.Popen([sys.executable, "-c", _COPIES_FOR_LONG, *arguments], cwd=ROOT)
    try:
        wait_for(lambda: any(path.stat().st_size for path in copy.iterdir()), "a copy")
        (process,) = copiers(parent.pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    with opened(tmp_path / "store") as store:  # whether the copier has ended yet or not
        wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the copier's end")
        with store.read() as view:
            assert view.applied() == (ROWS, 3)
        (tmp_path / "another").mkdir()
        assert store.copy(tmp_path / "another").index == ROWS
        assert str(process.pid) not in store._environment.env.readers()


def test_a_disk_too_full_for_a_copy_is_told_as_such_and_the_copy_removed(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(small)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {made.stderr.strip()}")
    try:
        with opened(tmp_path / "store") as store:
            fill(store)
            with pytest.raises(StoreFull):
                store.copy(small)
            assert list(small.iterdir()) == []
            with store.write() as view:
                view.set_applied(ROWS + 1, 3)
            (tmp_path / "copy").mkdir()
            assert store.copy(tmp_path / "copy").index == ROWS + 1
    finally:
        subprocess.run(["umount", str(small)], check=True)
