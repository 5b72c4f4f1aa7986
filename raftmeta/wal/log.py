"""The log itself: entries are appended in memory, written and synced in groups, and read back from memory or disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, TypeVar

from raftmeta.wal import recovery, segment
from raftmeta.wal.contract import HardState, LogEntry
from raftmeta.wal.errors import NO_SPACE, WalCorrupt, WalError, WalFailed, WalFull, WalLocked, WalRange
from raftmeta.wal.files import DiskFiles, Files, Lock
from raftmeta.wal.record import HEAD_SIZE, MAX_DATA, BadRecord, Kind, encode, scan
from raftmeta.wal.reserve import Reserve
from raftmeta.wal.segment import HEADER_SIZE
from raftmeta.wal.state import State, StateFile

SEGMENT_BYTES = 8 * 1024 * 1024  # a trim removes whole segments: smaller ones give a quiet member its disk back sooner
CACHE_BYTES = 64 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_Result = TypeVar("_Result")


class Wal:
    """A Raft log in a directory of segments: `Log` on a disk. Made by `Wal.open`.

    Attributes:
        directory: Where it is.
        cut_bytes: Bytes of a torn, never synced tail that opening removed.
    """

    def __init__(
        self,
        directory: Path,
        files: Files,
        lock: Lock,
        found: recovery.Found,
        segment_bytes: int,
        cache_bytes: int,
    ) -> None:
        """Take over an opened and repaired log; use `Wal.open`."""
        self.directory = directory
        self.cut_bytes = found.torn
        self._files = files
        self._lock = lock
        self._state: StateFile = found.state
        self._segments = found.segments
        self._index = found.index
        self._tail = found.segments[-1]
        self._synced_offset = found.end
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._durable = found.index.next - 1
        self._cache: dict[int, LogEntry] = {}
        self._cache_first = found.index.next
        self._cache_used = 0
        self._segment_bytes = segment_bytes
        self._cache_bytes = cache_bytes
        self._full: WalFull | None = None
        self._failed: WalError | None = None
        self._reserve = Reserve(files, directory)

    @staticmethod
    def open(
        directory: Path,
        *,
        create: bool,
        files: Files | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        cache_bytes: int = CACHE_BYTES,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Wal:
        """Open the log in `directory`, or begin a new one there if `create` and there is none.

        Everything found is durable afterwards: what a crashed process had written but not synced is synced now.

        Args:
            directory: A directory for the log alone.
            create: Whether an absent log is begun; otherwise it is an error.
            files: The file system; the operating system's by default.
            segment_bytes: Size at which the next segment is begun.
            cache_bytes: Bound on the data of entries kept in memory (entries not yet synced are always kept).
            random: Source of random bytes, for the log's id.

        Raises:
            WalCorrupt: Synced bytes are damaged or missing, or there is no log and `create` is false.
            WalLocked: Another process has it open.
            WalFull: A new log found no space.
            WalFailed: The device failed.
        """
        files = files or DiskFiles()
        path = directory
        try:
            files.make_directory(directory)
            lock = files.lock(directory)
        except BlockingIOError:
            raise WalLocked(directory) from None
        except OSError as error:
            raise _trouble(directory, error) from error
        try:
            found = recovery.find(files, directory)
            if found is None or not found.segments:
                if found is None and not create:
                    raise WalCorrupt(directory, 0, "there is no log here")
                found = _begin(files, directory, found, random(8))
            path = found.segments[-1].path
            _repair(files, directory, found)
            return Wal(directory, files, lock, found, segment_bytes, cache_bytes)
        except OSError as error:
            lock.close()
            raise _trouble(path, error) from error
        except WalError:
            lock.close()
            raise

    @property
    def first_index(self) -> int:
        """See `Log.first_index`."""
        return self._index.base

    @property
    def last_index(self) -> int:
        """See `Log.last_index`."""
        return self._index.next - 1

    @property
    def last_term(self) -> int:
        """See `Log.last_term`."""
        return self._index.terms[-1] if self._index.terms else self._state.state.start_term

    @property
    def durable_index(self) -> int:
        """See `Log.durable_index`."""
        return self._durable

    @property
    def hard_state(self) -> HardState:
        """See `Log.hard_state`."""
        return HardState(self._state.state.term, self._state.state.voted_for)

    @property
    def full(self) -> bool:
        """See `Log.full`."""
        return self._full is not None

    @property
    def segments(self) -> int:
        """Number of segment files."""
        return len(self._segments)

    def append(self, index: int, term: int, data: bytes) -> None:
        """See `Log.append`; data longer than 16 MiB is a ValueError too."""
        self._check()
        if self._full is not None:
            raise WalFull(self._full.file, self._full.errno)
        if index != self.last_index + 1 or term < self.last_term or len(data) > MAX_DATA:
            raise ValueError(
                f"entry ({index}, term {term}, {len(data)} bytes) cannot follow ({self.last_index}, {self.last_term})"
            )
        offset = self._write(Kind.ENTRY, index, term, data)
        self._index.add(self._tail, term, offset, HEAD_SIZE + len(data))
        self._cache[index] = LogEntry(index, term, data)
        self._cache_used += len(data)

    def sync(self) -> int:
        """See `Log.sync`."""
        self._check()
        if self._pending:
            block = b"".join(self._pending)
            try:
                self._tail.file.write(self._synced_offset, block)
                self._tail.file.sync()
            except OSError as error:
                self._retreat(error)
            self._synced_offset += len(block)
            self._pending.clear()
            self._pending_bytes = 0
            self._durable = self.last_index
            self._note_synced()
            self._evict()
            if self._synced_offset >= self._segment_bytes:
                self._rotate()
        if self._full is not None:
            self._full = None
            self._reserve.restore()
        return self._durable

    def entries(self, first: int, count: int, max_bytes: int = 64 * 1024 * 1024) -> list[LogEntry]:
        """See `Log.entries`."""
        self._range(first, self.first_index, self.last_index + 1)
        result: list[LogEntry] = []
        last = min(first + count, self._index.next)
        while first < last and (not result or max_bytes > 0):
            cached = self._cache.get(first)
            batch = [cached] if cached is not None else self._read(first, last, max_bytes)
            for entry in batch:
                if result and len(entry.data) > max_bytes:
                    return result
                result.append(entry)
                max_bytes -= len(entry.data)
            first += len(batch)
        return result

    def term_of(self, index: int) -> int:
        """See `Log.term_of`."""
        self._range(index, self.first_index - 1, self.last_index)
        if index < self.first_index:
            return self._state.state.start_term
        return self._index.terms[index - self._index.base]

    def truncate_from(self, index: int) -> None:
        """See `Log.truncate_from`. Allowed on a full log, as it makes the log shorter."""
        self._check()
        self._range(index, self.first_index, self.last_index + 1)
        if index > self.last_index:
            return
        for gone in range(max(index, self._cache_first), self._index.next):
            self._cache_used -= len(self._cache.pop(gone).data)
        self._cache_first = min(self._cache_first, index)
        self._write(Kind.TRUNCATE, index, 0, b"")
        self._index.cut_from(index)
        self._durable = min(self._durable, index - 1)

    def trim_to(self, index: int) -> None:
        """See `Log.trim_to`."""
        self._check()
        if index < self.first_index:
            return
        self._range(index, self.first_index, self.last_index)
        if index > self._durable:
            self.sync()
        keep = 0
        while keep + 1 < len(self._segments) and self._segments[keep + 1].next_index <= index + 1:
            keep += 1
        term = self.term_of(index)
        first = self._segments[keep].sequence
        self._save(replace(self._state.state, start=index + 1, start_term=term, first_sequence=first))
        self._index.drop_before(index + 1)
        for gone in range(self._cache_first, index + 1):
            self._cache_used -= len(self._cache.pop(gone).data)
        self._cache_first = max(self._cache_first, index + 1)
        self._delete(keep)

    def reset(self, index: int, term: int) -> None:
        """See `Log.reset`.

        Raises:
            ValueError: The snapshot is older than the start of the log.
            WalFull: No room for a new segment, not even with the reserve; nothing has changed.
        """
        self._check()
        if index < self.first_index - 1:
            raise ValueError(f"a snapshot at {index} is older than the log, which starts at {self.first_index}")
        sequence = self._tail.sequence + 1
        state = self._state.state
        fresh = self._with_reserve(
            self.directory,
            lambda: segment.create(self._files, self.directory, state.log_id, sequence, index + 1, term, reset=True),
        )
        try:
            self._save(replace(state, start=index + 1, start_term=term, first_sequence=sequence))
        except WalError:
            fresh.file.close()  # the file is empty and unnamed by the state: the next segment or opening replaces it
            raise
        self._segments.append(fresh)
        self._tail, self._synced_offset = fresh, HEADER_SIZE
        self._pending.clear()
        self._pending_bytes = 0
        self._index = recovery.Index(index + 1)
        self._durable = index
        self._cache.clear()
        self._cache_first, self._cache_used = index + 1, 0
        self._full = None
        self._note_synced()
        self._delete(len(self._segments) - 1)

    def save_hard_state(self, term: int, voted_for: int) -> None:
        """See `Log.save_hard_state`."""
        self._check()
        old = self.hard_state
        if term < old.term or (term == old.term and old.voted_for not in (0, voted_for)):
            raise ValueError(f"term {term}, vote {voted_for} cannot follow term {old.term}, vote {old.voted_for}")
        if old != (term, voted_for):
            self._save(replace(self._state.state, term=term, voted_for=voted_for))

    def close(self) -> None:
        """See `Log.close`."""
        if self._failed is None:
            with contextlib.suppress(WalError):  # what is not synced was never acknowledged
                self.sync()
            self._failed = WalError(f"{self.directory}: the log is closed")
        for part in self._segments:
            part.file.close()
        self._state.close()
        self._lock.close()

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _range(self, index: int, lowest: int, highest: int) -> None:
        if not lowest <= index <= highest:
            raise WalRange(index, self.first_index, self.last_index)

    def _write(self, kind: Kind, index: int, term: int, data: bytes) -> int:
        """Queue a record for the next sync; returns the offset it will have."""
        record = encode(self._tail.seed, kind, index, term, self._synced_offset, data)
        offset = self._synced_offset + self._pending_bytes
        self._pending.append(record)
        self._pending_bytes += len(record)
        return offset

    def _retreat(self, error: OSError) -> NoReturn:
        """After a failed write: take back what reached the file when space was wanting, else give up for good.

        What was pending stays in memory. It is written afresh later, never synced again as it is, so that pages the
        kernel may have dropped cannot pass for durable.
        """
        if error.errno not in NO_SPACE:
            self._fail(self._tail.path, error)
        try:
            self._tail.file.truncate(self._synced_offset)
        except OSError as worse:
            self._fail(self._tail.path, worse)
        self._full = WalFull(self._tail.path, error.errno or 0)
        raise self._full from error

    def _fail(self, path: Path, error: OSError) -> NoReturn:
        self._failed = WalFailed(path, error)
        raise self._failed from error

    def _with_reserve(self, path: Path, action: Callable[[], _Result]) -> _Result:
        """Run something small that must work on a full disk, a second time with the reserve's space if need be."""
        try:
            return action()
        except OSError as error:
            if error.errno not in NO_SPACE:
                self._fail(path, error)
            if not self._reserve.release():
                raise WalFull(path, error.errno) from error
        try:
            return action()
        except OSError as error:
            if error.errno not in NO_SPACE:
                self._fail(path, error)
            raise WalFull(path, error.errno) from error

    def _save(self, state: State) -> None:
        """Save the state; a full disk leaves the old one, any other failure closes the log."""
        self._with_reserve(self._state.path, lambda: self._state.save(state))

    def _note_synced(self) -> None:
        try:
            self._state.write_mark(self._tail.sequence, self._synced_offset)
        except OSError as error:
            if error.errno not in NO_SPACE:
                self._fail(self._state.path, error)

    def _rotate(self) -> None:
        """Begin the next segment. Without space for it the log goes on in the old one."""
        log_id, sequence = self._state.state.log_id, self._tail.sequence + 1
        try:
            fresh = segment.create(
                self._files, self.directory, log_id, sequence, self._index.next, self.last_term, reset=False
            )
        except OSError as error:
            if error.errno not in NO_SPACE:
                self._fail(self._tail.path, error)
            return
        self._segments.append(fresh)
        self._tail, self._synced_offset = fresh, HEADER_SIZE
        self._note_synced()

    def _delete(self, keep: int) -> None:
        """Delete the segments before position `keep`; the state no longer needs them."""
        gone, self._segments = self._segments[:keep], self._segments[keep:]
        try:
            for part in gone:
                part.file.close()
                self._files.remove(part.path)
            if gone:
                self._files.sync_directory(self.directory)
        except OSError as error:
            self._fail(self.directory, error)

    def _evict(self) -> None:
        while self._cache_used > self._cache_bytes and self._cache_first <= self._durable:
            self._cache_used -= len(self._cache.pop(self._cache_first).data)
            self._cache_first += 1

    def _read(self, first: int, last: int, max_bytes: int) -> list[LogEntry]:
        """Entries from `first` that lie together in one segment, in one read of about a megabyte at most."""
        index = self._index
        run = max(number for number, (start, _) in enumerate(index.runs) if start <= first)
        if run + 1 < len(index.runs):
            last = min(last, index.runs[run + 1][0])
        part = index.runs[run][1]
        position = first - index.base
        start = index.offsets[position]
        end = start + index.sizes[position]
        limit = start + min(max_bytes, _READ_BYTES)
        for follower in range(position + 1, min(last, self._cache_first) - index.base):
            if index.offsets[follower] != end or end + index.sizes[follower] > limit:
                break
            end += index.sizes[follower]
        try:
            buffer = part.file.read(start, end - start)
        except OSError as error:
            self._fail(part.path, error)
        if len(buffer) < end - start:
            raise WalCorrupt(part.path, start + len(buffer), "file is shorter than it was")
        try:
            records = list(scan(buffer, 0, part.seed))
        except BadRecord as bad:
            raise WalCorrupt(part.path, start + bad.offset, bad.reason) from None
        return [
            LogEntry(found.index, found.term, buffer[found.offset + HEAD_SIZE : found.offset + found.size])
            for found in records
        ]


def _trouble(path: Path, error: OSError) -> WalError:
    return WalFull(path, error.errno) if error.errno in NO_SPACE else WalFailed(path, error)


def _begin(files: Files, directory: Path, found: recovery.Found | None, log_id: bytes) -> recovery.Found:
    """Make a new log: first the state, then a segment, so that a crash in between is seen for what it is."""
    state = found.state if found else StateFile.create(files, directory, log_id)
    first = segment.create(files, directory, state.state.log_id, 1, 1, 0, reset=False)
    return recovery.Found(state, [first], recovery.Index(1))


def _repair(files: Files, directory: Path, found: recovery.Found) -> None:
    """Remove leftovers and the torn tail, and make everything read durable.

    What follows the sync mark is written again before it is synced: if an earlier process saw a sync fail, the kernel
    holds those pages as clean, and a sync alone would promise what the disk does not have.
    """
    tail = found.segments[-1].file
    if found.torn:
        tail.truncate(found.end)
    sequence, offset = found.state.mark
    known = offset if sequence == found.segments[-1].sequence else HEADER_SIZE
    if known < found.end:
        tail.write(known, tail.read(known, found.end - known))
    tail.sync()
    found.state.repair()
    for path in found.leftovers:
        files.remove(path)
    files.sync_directory(directory)
    found.state.write_mark(found.segments[-1].sequence, found.end)
