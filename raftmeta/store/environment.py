"""One open LMDB environment: steps that wait for no disk, checkpoints that do, and an end when nobody uses it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from raftmeta.store.buffer import Buffer
from raftmeta.store.checkpoint import CheckpointError, CheckpointFile, go_back
from raftmeta.store.counts import Counts
from raftmeta.store.layout import FORMAT, PREFIX, SPACES
from raftmeta.store.view import Tables, View
from raftmeta.store.writes import WriteView

DATA = "data.mdb"
CHECKPOINT = "checkpoint"
_READERS = 1_024
_ROOM = 1 << 20
_REFUSALS = 5
MAX_TABLES = 32
LOW_WATER, HIGH_WATER = 4 << 20, 16 << 20  # bytes buffered: flushed early, a step waits for it


class StoreError(Exception):
    """The directory does not hold a state this version can use; the message says what to do about it."""


class StoreFull(Exception):  # noqa: N818 - it says what is wrong
    """There is no room for a write; nothing was written."""


class Environment:
    """An open LMDB environment that closes once it is retired and its last transaction has ended.

    A step is visible at once, in a buffer; a `flush` moves what is buffered into LMDB, and the next `checkpoint` makes
    it durable. Whatever happened in between, opening finds the state of the last checkpoint: its meta pages are put
    back, and none of the pages they reach was written since, because a read transaction on that state is kept open
    until the next checkpoint is on disk.

    Attributes:
        path: Its directory.
        map_size: Bytes that it may grow to.
        env: The environment.
        tables: Its tables.
        durable: (index, term) of the last entry applied when the last checkpoint was made.
    """

    def __init__(self, path: Path, map_size: int) -> None:
        """Open the state in `path` at its last checkpoint, or a new one. Raises StoreError, OSError."""
        self.path = path
        self.map_size = map_size
        self._data = path / DATA
        self._file: CheckpointFile | None = None
        self._pin: lmdb.Transaction[bytes] | None = None
        self._descriptor = -1
        try:
            if (path / CHECKPOINT).exists():
                self._file = CheckpointFile.open(path / CHECKPOINT)
                go_back(self._data, self._file.metas)
            else:
                _prepare(path, map_size)
            self.env = _open(path, map_size, sync=False)
        except (lmdb.Error, CheckpointError) as error:
            self._release()
            raise StoreError(advice(path, str(error))) from error
        except (OSError, StoreError):
            self._release()
            raise
        try:
            self.env.reader_check()  # of a process that copied this state for one that is gone
            check_length(path, self.env)
            self.tables = Tables.open(self.env, SPACES, create=False)
            self._check_format(path)
            self._descriptor = os.open(self._data, os.O_RDONLY | os.O_CLOEXEC)
            self._meta_bytes = 2 * int(self.env.stat()["psize"])
            self._pin = self.env.begin()
            present = View(self._pin, self.tables)
            self.durable = present.applied()
            self._counts = Counts((present.rows_alive(space, b"", None) for space in SPACES), PREFIX)
            if self._file is None:
                self._file = CheckpointFile.create(path / CHECKPOINT, self._metas())
        except (lmdb.Error, OSError, StoreError) as error:
            self._close()
            if isinstance(error, lmdb.Error):
                raise StoreError(advice(path, str(error))) from error
            raise
        self._unsaved = False
        # number of the last step, and the buffers that hold what LMDB has not, newest first
        self._front: tuple[int, tuple[Buffer, ...]] = (0, (Buffer(1, len(self.tables.all)),))
        self._flushed = 0  # generation of the last buffer of which LMDB may have anything
        self._held_up = False  # the last flush found no room
        self._refused = 0  # flushes in a row that were refused though there seems to be room
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._flushing = threading.Lock()
        self._checkpointing = threading.Lock()
        self._failure: BaseException | None = None
        self._users = 0
        self._retired = False

    def _check_format(self, path: Path) -> None:
        with self.env.begin() as txn:
            found = txn.get(b"format", db=self.tables.bookkeeping.handle)
        if found != FORMAT:
            raise StoreError(advice(path, f"its format is {found!r}, this version reads {FORMAT!r}"))

    def enter(self) -> bool:
        """Count a transaction in; False when the environment is retired."""
        with self._lock:
            if self._retired:
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        """Count a transaction out."""
        with self._lock:
            self._users -= 1
            last = self._retired and self._users == 0
        if last:
            self._close()

    def retire(self) -> None:
        """Take no more transactions; close after the last one."""
        with self._lock:
            self._retired = True
            last = self._users == 0
        if last:
            self._close()

    def read(self, *, counted: bool = False) -> View:
        """Begin a read transaction of the last step, which the caller ends by `txn.abort()`; see `View.count`."""
        while True:
            step, buffers = self._front
            txn = self.env.begin()
            if self._flushed < buffers[0].generation:
                return View(txn, self.tables, step, buffers, self._counts if counted else None)
            txn.abort()  # LMDB may have later steps than the one that was looked at: look again

    @contextmanager
    def write(self) -> Iterator[WriteView]:
        """Begin a step: visible when the block ends, gone without a trace when it raises.

        Raises StoreError when an earlier checkpoint failed: what was written since may never reach the disk. Raises
        StoreFull when the disk or the map is: the block was not begun, and may be tried again.
        """
        if self._held_up or self._front[1][0].size > HIGH_WATER:
            self.flush()
        with self._writing:
            self._check()
            step, buffers = self._front
            txn = self.env.begin()
            try:
                view = WriteView(txn, self.tables, step + 1, buffers)
                try:
                    yield view
                except BaseException:
                    buffers[0].forget(step + 1)
                    raise
                self._show(view, step + 1, buffers)
            finally:
                txn.abort()

    def _show(self, view: WriteView, step: int, buffers: tuple[Buffer, ...]) -> None:
        """Make a step visible, and its keys counted, at one moment."""
        counts, large = self._counts, dict[tuple[int, bytes], None]()
        with counts.lock:
            for space, row, by in view.flips:
                if counts.spaces[space].change(row, by):
                    large[space, row] = None
            counts.step = step
            self._front = step, buffers
        for space, row in large:
            blocks = counts.spaces[space]
            if not blocks.too_large(row):
                continue  # divided because of another of its keys
            first, end = blocks.bounds(row)  # only steps change the blocks, and there is one at a time
            rows = list(view.rows_alive(space, first, end))
            with counts.lock:
                blocks.divided(first, rows)

    @property
    def crowded(self) -> bool:
        """Whether a flush should not wait for its time."""
        return self._front[1][0].size > LOW_WATER

    def flush(self) -> None:
        """Move what is buffered into LMDB; steps go on meanwhile. Raises StoreError and StoreFull as `write` does."""
        with self._flushing:
            self._check()
            if len(self._front[1]) > 1:
                self._move()  # what found no room before
            with self._writing:
                step, buffers = self._front
                if not buffers[0].size:
                    return
                self._front = step, (Buffer(buffers[0].generation + 1, len(self.tables.all)), *buffers)
            self._move()

    def _move(self) -> None:
        """Write the older one of two buffers into LMDB and let go of it."""
        buffer = self._front[1][1]
        self._flushed = buffer.generation  # before LMDB has it: see `read`
        try:
            with self.env.begin(write=True) as txn:
                buffer.write(txn, self.tables.all)
        except lmdb.MapFullError as error:
            self._held_up = True
            raise StoreFull(f"{self._data}: the map is full; restart with a larger quota") from error
        except lmdb.DiskError as error:
            # LMDB calls a write that found room for a part of it an I/O error, and there may be room again by now: it
            # is the device only if it comes back. Nothing is lost meanwhile: the buffer stays, and the log has it all.
            self._refused = 0 if self._no_room() else self._refused + 1
            if self._refused > _REFUSALS:
                self._failure = error
                raise
            self._held_up = True
            raise StoreFull(f"{self._data}: no space left on device") from error
        except lmdb.Error as error:
            self._failure = error
            raise
        self._held_up = False
        self._refused = 0
        self._unsaved = True
        with self._writing:
            self._front = self._front[0], self._front[1][:1]

    def _check(self) -> None:
        if self._failure is not None:
            raise StoreError(f"{self._data} could not be made durable: {self._failure}") from self._failure

    def _no_room(self) -> bool:
        """Tell whether the file system is as good as full."""
        found = os.statvfs(self._data)
        return found.f_bavail * found.f_frsize < _ROOM

    def checkpoint(self) -> None:
        """Make every step so far durable, and the state to which an opening returns.

        Raises StoreFull, or lmdb.Error or OSError when the disk fails; nothing more is written then.
        """
        with self._checkpointing:
            self.flush()
            with (
                self._flushing
            ):  # between two commits the meta pages are whole, and no page they reach is being written
                if not self._unsaved:
                    return
                self._unsaved = False
                pin = self.env.begin()
                metas = self._metas()
            try:
                durable = View(pin, self.tables).applied()
                self.env.sync(True)
                assert self._file is not None
                self._file.save(metas)
            except (lmdb.Error, OSError) as error:
                self._failure = error
                pin.abort()
                raise
            before, self._pin = self._pin, pin
            assert before is not None
            before.abort()  # only now may the pages of the checkpoint before be written again
            self.durable = durable

    def _metas(self) -> bytes:
        return os.pread(self._descriptor, self._meta_bytes, 0)

    def _close(self) -> None:
        self._release()
        self.env.close()

    def _release(self) -> None:
        if self._pin is not None:
            self._pin.abort()
        if self._file is not None:
            self._file.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _open(path: Path, map_size: int, *, sync: bool) -> lmdb.Environment:
    return lmdb.open(
        str(path), map_size=map_size, max_dbs=MAX_TABLES, max_readers=_READERS, sync=sync, metasync=sync, writemap=False
    )


def _prepare(path: Path, map_size: int) -> None:
    """Make the tables of a new state durable; one that was copied here has them and is durable already."""
    with _open(path, map_size, sync=True) as env:
        check_length(path, env)
        tables = Tables.open(env, SPACES)
        with env.begin(write=True) as txn:
            if txn.get(b"format", db=tables.bookkeeping.handle) is None:
                txn.put(b"format", FORMAT, db=tables.bookkeeping.handle)
        env.sync(True)


def check_length(path: Path, env: lmdb.Environment) -> None:
    """Refuse a file shorter than its pages: reading the missing ones through the map would kill the process."""
    used = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    size = (path / DATA).stat().st_size
    if size < used:
        raise StoreError(advice(path, f"{DATA} has {size} bytes of {used}"))


def advice(path: Path, fact: str) -> str:
    """Return what to say about a state that cannot be used."""
    return (
        f"{path} does not hold a usable state: {fact}. `python -m raftmeta check` with this member's --data-dir lists the"
        " damage. While the other members have a quorum: remove this member, start it again with an empty directory and"
        " add it back. Without a quorum: `python -m raftmeta restore` from a snapshot."
    )
