"""Reading a log back: what is there, what may be cut, and what must not be touched."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path

from raftmeta.wal.errors import WalCorrupt
from raftmeta.wal.files import Files
from raftmeta.wal.record import BadRecord, Kind, Record, known_synced, scan
from raftmeta.wal.segment import HEADER_SIZE, Segment, read, sequence_of
from raftmeta.wal.state import NAME, StateFile


@dataclass(slots=True)
class Index:
    """Where every entry of the log is.

    Attributes:
        base: Log index of the first element of the arrays.
        terms: Term by position.
        offsets: Offset of the record in its segment.
        sizes: Length of the record in its segment.
        runs: (first log index, segment) in order: which segment holds which entries.
        next: Log index after the last entry.
    """

    base: int
    terms: array[int] = field(default_factory=lambda: array("Q"))
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    runs: list[tuple[int, Segment]] = field(default_factory=list)
    next: int = 0

    def __post_init__(self) -> None:
        """An empty log ends where it begins."""
        self.next = self.base

    def add(self, segment: Segment, term: int, offset: int, size: int) -> None:
        """Note the next entry."""
        if not self.runs or self.runs[-1][1] is not segment:
            self.runs.append((self.next, segment))
        self.next += 1
        self.terms.append(term)
        self.offsets.append(offset)
        self.sizes.append(size)

    def cut_from(self, index: int) -> None:
        """Forget `index` and everything after it; an index below `base` empties the arrays and becomes the base."""
        keep = max(0, index - self.base)
        for values in (self.terms, self.offsets, self.sizes):
            del values[keep:]
        self.base = min(self.base, index)
        self.next = self.base + len(self.terms)
        while self.runs and self.runs[-1][0] >= index:
            self.runs.pop()

    def drop_before(self, index: int) -> None:
        """Forget everything before `index`, which is at most `next`."""
        gone = index - self.base
        if gone > 0:
            for values in (self.terms, self.offsets, self.sizes):
                del values[:gone]
            self.base = index
            while len(self.runs) > 1 and self.runs[1][0] <= index:
                self.runs.pop(0)
            if self.runs and not self.terms:
                self.runs.clear()


@dataclass(slots=True)
class Found:
    """A log as it was found on disk. Nothing has been changed yet.

    Attributes:
        state: The state file, open.
        segments: The segments of the log, open, in order; at least one.
        index: Its entries, from `state.start` on.
        end: Offset after the last valid record of the last segment.
        torn: Bytes after `end`, never synced, to be cut.
        leftovers: Files of an interrupted creation, trim or reset, to be deleted.
    """

    state: StateFile
    segments: list[Segment]
    index: Index
    end: int = HEADER_SIZE
    torn: int = 0
    leftovers: list[Path] = field(default_factory=list)

    def close(self) -> None:
        """Release every file."""
        self.state.close()
        for segment in self.segments:
            segment.file.close()


def find(files: Files, directory: Path) -> Found | None:
    """Read the log in `directory`; None when there is none and never was one.

    Raises:
        WalCorrupt: Something that was synced is damaged or missing.
        OSError: As the system calls do.
    """
    names = files.names(directory)
    sequences = sorted(number for name in names if (number := sequence_of(name)) is not None)
    if NAME not in names:
        if sequences:
            raise WalCorrupt(directory / NAME, 0, "the file with term and vote is missing")
        return None
    state = StateFile.read(files, directory)
    found = Found(state, [], Index(state.state.start))
    try:
        found.leftovers = [directory / name for name in names if name.endswith(".tmp")]
        _read_segments(files, directory, sequences, found)
    except BaseException:
        found.close()
        raise
    return found


def _read_segments(files: Files, directory: Path, sequences: list[int], found: Found) -> None:
    state, mark = found.state.state, found.state.mark
    if (
        not sequences and state.generation == 0 and mark == (0, 0)
    ):  # the creation was interrupted before the first segment
        return
    live = [number for number in sequences if number >= state.first_sequence]
    found.leftovers += [directory / f"{number:016x}.wal" for number in sequences if number < state.first_sequence]
    expected = range(state.first_sequence, max([*live, mark[0], state.first_sequence]) + 1)
    for number in expected:
        if number not in live:
            raise WalCorrupt(directory / f"{number:016x}.wal", 0, "segment is missing")
    for number in live:
        path = directory / f"{number:016x}.wal"
        segment, buffer = read(files, path, state.log_id)
        found.segments.append(segment)
        last = number == live[-1]
        if not _chains(segment, found):
            if last and segment.reset and len(buffer) == HEADER_SIZE and len(live) > 1:
                segment.file.close()  # a reset that stopped before the state named its segment
                found.segments.pop()
                found.leftovers.append(path)
                break
            raise WalCorrupt(path, 16, f"segment starts at index {segment.next_index}, not {found.index.next}")
        _replay(segment, buffer, found, mark, last)
    if found.index.next < state.start or found.index.base > state.start:
        held = f"[{found.index.base}, {found.index.next - 1}]"
        raise WalCorrupt(found.segments[-1].path, found.end, f"log {held} does not reach its start {state.start}")
    found.index.drop_before(state.start)


def _chains(segment: Segment, found: Found) -> bool:
    """Whether `segment` continues the log read so far; the first one begins it."""
    index = found.index
    if len(found.segments) == 1:
        index.base = index.next = segment.next_index
        return segment.next_index <= found.state.state.start
    term = index.terms[-1] if index.terms else found.segments[0].previous_term
    return segment.next_index == index.next and (segment.previous_term == term or not index.terms)


def _replay(segment: Segment, buffer: bytes, found: Found, mark: tuple[int, int], last: bool) -> None:
    """Take a segment's records into the index, and judge what follows the last valid one."""
    offset = HEADER_SIZE
    try:
        for record in scan(buffer, HEADER_SIZE, segment.seed):
            _take(segment, record, found.index)
            offset = record.offset + record.size
    except BadRecord as bad:
        synced = max(known_synced(buffer, bad.offset, segment.seed), mark[1] if mark[0] == segment.sequence else 0)
        if not last:
            raise WalCorrupt(segment.path, bad.offset, f"{bad.reason}, and a newer segment exists") from None
        if synced > bad.offset:
            raise WalCorrupt(segment.path, bad.offset, f"{bad.reason}, in a part synced up to {synced}") from None
    if mark[0] == segment.sequence and mark[1] > len(buffer):
        raise WalCorrupt(segment.path, len(buffer), f"segment was cut: it had been synced up to {mark[1]}")
    found.end = offset
    found.torn = len(buffer) - offset


def _take(segment: Segment, record: Record, index: Index) -> None:
    if record.kind == Kind.TRUNCATE:
        if not 0 < record.index <= index.next:
            raise WalCorrupt(segment.path, record.offset, f"truncation at {record.index} after {index.next - 1}")
        index.cut_from(record.index)
        return
    if record.kind != Kind.ENTRY:
        raise WalCorrupt(segment.path, record.offset, f"record kind {record.kind} is from a newer version")
    previous = index.terms[-1] if index.terms else 0
    if record.index != index.next or record.term < previous:
        found = f"entry ({record.index}, term {record.term}) after ({index.next - 1}, term {previous})"
        raise WalCorrupt(segment.path, record.offset, found)
    index.add(segment, record.term, record.offset, record.size)
