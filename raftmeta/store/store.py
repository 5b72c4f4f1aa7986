"""One LMDB environment in a directory that can be copied and replaced as a whole, safely at any moment."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from raftmeta.store.copies import RATE, Copied, Copies
from raftmeta.store.environment import (
    CHECKPOINT,
    DATA,
    MAX_TABLES,
    Environment,
    StoreError,
    StoreFull,
    advice,
    check_length,
)
from raftmeta.store.layout import FORMAT, SPACES
from raftmeta.store.view import Tables, View
from raftmeta.store.writes import WriteView

_POINTER = "CURRENT"
DEFAULT_MAP_SIZE = 16 << 30
CHECKPOINT_INTERVAL = 0.25

_log = logging.getLogger(__name__)


class Store:
    """The durable state of one member.

    Threads: `write` is for one thread at a time (a second one waits); `read` is for any number, up to 1,000 at once. A
    read transaction sees one applied index and must be short: pages it can see are not reused. A thread makes what was
    written durable, `interval` seconds after the first write it has not covered. A store that was not closed opens at
    the last moment that was made durable, whatever the disk has of later ones: who writes here must be able to repeat
    what came after `durable`.

    Attributes:
        directory: Where it lives: a pointer file CURRENT and the state directory it names.
    """

    def __init__(
        self,
        directory: Path,
        *,
        map_size: int = DEFAULT_MAP_SIZE,
        interval: float = CHECKPOINT_INTERVAL,
        copy_rate: float = RATE,
    ) -> None:
        """Open or create the store. `map_size` in bytes bounds it for the life of the process; the file is sparse.

        Copies are made at `copy_rate` bytes a second at most.

        Raises:
            StoreError: The directory holds something that is not a usable state, or another process has it open.
        """
        self.directory = directory
        self._map_size = map_size
        self._interval = interval
        directory.mkdir(parents=True, exist_ok=True)
        _fsync(directory.parent)  # also of one that is there: who made it may have been killed before it was durable
        self._claim = _claim(directory)
        try:
            self._environment = self._opened(directory)
        except BaseException:
            os.close(self._claim)
            raise
        self._copies = Copies(copy_rate)
        self._closing = threading.Event()
        self._written = threading.Event()
        self._hurry = threading.Event()
        self._saver = threading.Thread(target=self._save, name="store", daemon=True)
        self._saver.start()

    def _opened(self, directory: Path) -> Environment:
        name = self._current()
        if name is None:
            name = "state-1"
            if any(directory.glob("state-*/" + DATA)):
                raise StoreError(advice(directory, f"there is a state but no {_POINTER} file"))
            (directory / name).mkdir(exist_ok=True)
            self._point_at(name)
        elif not (directory / name / DATA).exists() and any((directory / name).glob("*")):
            raise StoreError(advice(directory, f"{name}/{DATA} is missing"))
        elif not (directory / name).is_dir():
            raise StoreError(advice(directory, f"{name} is missing"))
        self._name = name
        for stale in directory.glob("state-*"):
            if stale.name != name:
                shutil.rmtree(stale)
        return Environment(directory / name, self._map_size)

    def read(self, *, counted: bool = False) -> Reading:
        """Open a read transaction: `with store.read() as view`; `counted` ranges are counted by blocks: see `View.count`.

        Raises StoreError when the store is closed.
        """
        return Reading(self._entered(), counted=counted)

    @contextmanager
    def write(self) -> Iterator[WriteView]:
        """Open the write transaction: visible when the block ends, dropped when it raises; durable soon after.

        Raises StoreFull when there is no room, before the block is begun. Raises StoreError when what was written before
        could not be made durable.
        """
        environment = self._entered()
        try:
            with environment.write() as view:
                yield view
            if environment.crowded:
                self._hurry.set()
        finally:
            environment.leave()
        if not self._written.is_set():
            self._written.set()

    def durable(self) -> tuple[int, int]:
        """Return (index, term) of the last entry whose effects outlast the process and the power."""
        return self._environment.durable

    def flush(self) -> None:
        """Move what was written so far from memory into LMDB's file, without waiting for the disk. Raises as `write`."""
        environment = self._entered()
        try:
            environment.flush()
        finally:
            environment.leave()

    def checkpoint(self) -> None:
        """Make everything written so far durable.

        Raises StoreFull, or lmdb.Error or OSError; nothing more can be written after these.
        """
        environment = self._entered()
        try:
            environment.checkpoint()
        finally:
            environment.leave()

    def _save(self) -> None:
        """Make a checkpoint in time after the first write that none covers, and early when much is buffered."""
        while True:
            self._written.wait()
            self._hurry.wait(self._interval)
            if self._closing.is_set():
                return
            self._hurry.clear()
            self._written.clear()
            try:
                self.checkpoint()
            except StoreFull:  # the next write tries again and tells whom it concerns
                self._written.set()
            except (StoreError, lmdb.Error, OSError) as error:  # the next write raises it to whom it may concern
                _log.error("the state in %s could not be made durable: %s", self.directory, error)

    def copy(self, directory: Path) -> Copied:
        """Write a compacted copy of one moment into the empty `directory`. Blocks no one; takes its time: see `Copies`.

        Afterwards the store itself is durable at least up to that moment: the log may be cut there.

        Raises:
            StoreFull: There is no room for it.
            StoreError: It could not be made, or `end_copies` was called.
            lmdb.Error, OSError: As `checkpoint`.
        """
        environment = self._entered()
        try:
            environment.flush()
            try:
                copied = self._copies.make(environment.path, environment.map_size, directory)
            finally:
                environment.env.reader_check()  # a copier that was killed would keep pages from being used again
            environment.checkpoint()
        finally:
            environment.leave()
        return copied

    def end_copies(self) -> None:
        """End the copies that are being made, and make no more: their callers get a StoreError."""
        self._copies.end()

    def replace(self, directory: Path) -> None:
        """Make the copy in `directory` the state, consuming it. A crash at any moment leaves the old or the new one.

        Raises:
            StoreError: The copy is not usable; nothing was changed.
        """
        name = f"state-{int(self._name.split('-')[1]) + 1}"
        target = self.directory / name
        if target.exists():
            shutil.rmtree(target)
        try:
            directory.rename(target)
        except OSError:  # another file system
            shutil.copytree(directory, target)
            shutil.rmtree(directory)
        for leftover in ("lock.mdb", CHECKPOINT):
            if (target / leftover).exists():
                (target / leftover).unlink()
        _fsync(target / DATA)
        _fsync(target)
        new = Environment(target, self._map_size)
        self._point_at(name)
        old, self._environment = self._environment, new
        old_name, self._name = self._name, name
        old.retire()
        shutil.rmtree(self.directory / old_name, ignore_errors=True)  # replaced it is; the next start tries again

    def file_size(self) -> int:
        """Return the bytes up to the last page ever used: what a file that is not sparse would take."""
        environment = self._entered()
        try:
            env = environment.env
            return int((env.info()["last_pgno"] + 1) * env.stat()["psize"])
        finally:
            environment.leave()

    def close(self) -> None:
        """Make everything durable and close, once the transactions now open have ended; safe to call twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._copies.end()
        self._written.set()
        self._hurry.set()
        self._saver.join()
        try:
            self.checkpoint()
        except (
            StoreError,
            StoreFull,
            lmdb.Error,
            OSError,
        ) as error:  # the next opening finds the last state that was made durable
            _log.error("the state in %s could not be made durable: %s", self.directory, error)
        self._environment.retire()
        os.close(self._claim)

    def _entered(self) -> Environment:
        for _ in range(100):  # replaced between looking and entering: look again
            environment = self._environment
            if environment.enter():
                return environment
        raise StoreError(f"{self.directory} is closed")

    def _current(self) -> str | None:
        try:
            name = (self.directory / _POINTER).read_text("ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(advice(self.directory, f"{_POINTER} cannot be read: {error}")) from error
        if not name.startswith("state-") or not name[6:].isdecimal():
            raise StoreError(advice(self.directory, f"{_POINTER} says {name!r}"))
        return name

    def _point_at(self, name: str) -> None:
        temporary = self.directory / f"{_POINTER}.new"
        temporary.write_text(name + "\n", "ascii")
        _fsync(temporary)
        _fsync(self.directory)
        temporary.replace(self.directory / _POINTER)
        _fsync(self.directory)


class Reading:
    """A read transaction, as a context."""

    __slots__ = ("_counted", "_environment", "_view")

    def __init__(self, environment: Environment, *, counted: bool) -> None:
        """Read in an environment that was entered."""
        self._environment = environment
        self._counted = counted

    def __enter__(self) -> View:
        """Begin."""
        self._view = self._environment.read(counted=self._counted)
        return self._view

    def __exit__(self, *_: object) -> None:
        """End."""
        self._view.txn.abort()
        self._environment.leave()


def inspect_copy(directory: Path) -> tuple[int, int]:
    """Return (index, term) of the copy in `directory`.

    Raises:
        StoreError: It is not a usable state.
    """
    if not (directory / DATA).exists():
        raise StoreError(advice(directory, f"{DATA} is missing"))
    try:
        with lmdb.open(str(directory), readonly=True, lock=False, max_dbs=MAX_TABLES) as env:
            check_length(directory, env)
            tables = Tables.open(env, SPACES, create=False)
            with env.begin() as txn:
                view = View(txn, tables)
                if view.meta(b"format") != FORMAT:
                    raise StoreError(advice(directory, "its format is not the one this version reads"))
                return view.applied()
    except lmdb.Error as error:
        raise StoreError(advice(directory, str(error))) from error


def _claim(directory: Path) -> int:
    """Claim the directory for this process until it ends. Raises StoreError when it is taken."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"{directory} is open in another process") from error
    return descriptor


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
