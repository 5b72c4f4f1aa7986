"""The state file: term, vote and start of the log, twice, and a hint how far the log was synced.

Layout: three blocks of 4,096 bytes, allocated once, so that rewriting them needs no space. Blocks 0 and 1 hold the same
state; a save writes and syncs one after the other, so that one torn or damaged block never loses a state that was saved.
Block 2 holds the sync mark, which is written after every sync of the log and synced with the next save.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import google_crc32c

from raftmeta.wal.errors import WalCorrupt
from raftmeta.wal.files import File, Files, create_durably

VERSION = 1
NAME = "state"
_BLOCK = 4096
_MARK_AT = 2 * _BLOCK
_SIZE = 3 * _BLOCK
_MAGIC = b"QUARTSTA"
_COPY = struct.Struct("<I8sQQQQQQ")  # version, log id, generation, term, vote, start, start term, first sequence
_MARK = struct.Struct("<QQ")
_SUM = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class State:
    """What must survive everything.

    Attributes:
        log_id: 8 random bytes drawn when the log was made.
        generation: Counts saves.
        term: Raft term.
        voted_for: Member voted for in `term`; 0 for nobody.
        start: First index of the log; everything before it is in a snapshot.
        start_term: Term of entry start - 1.
        first_sequence: Lowest segment that belongs to the log; lower ones are leftovers.
    """

    log_id: bytes
    generation: int = 0
    term: int = 0
    voted_for: int = 0
    start: int = 1
    start_term: int = 0
    first_sequence: int = 1


def _encode(state: State) -> bytes:
    rest = _COPY.pack(
        VERSION,
        state.log_id,
        state.generation,
        state.term,
        state.voted_for,
        state.start,
        state.start_term,
        state.first_sequence,
    )
    return (_MAGIC + _SUM.pack(google_crc32c.value(rest)) + rest).ljust(_BLOCK, b"\0")


def _decode(path: Path, block: bytes) -> State | None:
    body = block[12 : 12 + _COPY.size]
    if block[:8] != _MAGIC or len(body) < _COPY.size or block[8:12] != _SUM.pack(google_crc32c.value(body)):
        return None
    version, log_id, *numbers = _COPY.unpack(body)
    if version != VERSION:
        raise WalCorrupt(path, 12, f"state has format version {version}, this program reads {VERSION}")
    return State(log_id, *numbers)


class StateFile:
    """The state file, open. Raises OSError as its `File` does; the caller knows what that means for the log."""

    def __init__(self, path: Path, file: File, state: State, mark: tuple[int, int], whole: bool) -> None:
        """Use `create` or `read` instead."""
        self.path = path
        self.state = state
        self.mark = mark
        self.whole = whole
        self._file = file

    @staticmethod
    def create(files: Files, directory: Path, log_id: bytes) -> StateFile:
        """Make the state file of a new log, durably."""
        state = State(log_id)
        file = create_durably(files, directory / NAME, (_encode(state) * 2).ljust(_SIZE, b"\0"))
        return StateFile(directory / NAME, file, state, (0, 0), whole=True)

    @staticmethod
    def read(files: Files, directory: Path) -> StateFile:
        """Open the state file and find the newest state.

        Raises:
            WalCorrupt: Neither copy is valid: without term and vote this member could vote twice.
        """
        path = directory / NAME
        file = files.open(path)
        buffer = file.read(0, _SIZE)
        try:
            copies = [_decode(path, buffer[:_BLOCK]), _decode(path, buffer[_BLOCK:_MARK_AT])]
        except WalCorrupt:
            file.close()
            raise
        valid = [copy for copy in copies if copy is not None]
        if not valid:
            file.close()
            raise WalCorrupt(path, 0, "neither copy of the term and vote is valid")
        state = max(valid, key=lambda copy: copy.generation)
        body = buffer[_MARK_AT : _MARK_AT + _MARK.size]
        good = buffer[_MARK_AT + _MARK.size :][:4] == _SUM.pack(google_crc32c.extend(_seed(state), body))
        mark = _MARK.unpack(body) if good and len(body) == _MARK.size else (0, 0)
        return StateFile(path, file, state, mark, whole=copies[0] == copies[1] and len(buffer) == _SIZE)

    def repair(self) -> None:
        """Make both copies hold the state that was read; the good copy is never the first to be rewritten."""
        if not self.whole:
            block = _encode(self.state)
            order = (0, _BLOCK) if _decode(self.path, self._file.read(0, _BLOCK)) != self.state else (_BLOCK, 0)
            for offset in order:
                self._file.write(offset, block)
                self._file.sync()
            self._file.write(_SIZE - 1, b"\0")
            self._file.sync()
            self.whole = True

    def save(self, state: State) -> None:
        """Make a changed state durable; on an error the old one stands here, and the old or the new one on disk."""
        state = replace(state, generation=self.state.generation + 1)
        block = _encode(state)
        for offset in (0, _BLOCK):
            self._file.write(offset, block)
            self._file.sync()
        self.state = state

    def write_mark(self, sequence: int, offset: int) -> None:
        """Note that everything up to `offset` of segment `sequence` is durable. Not synced: a hint is enough."""
        body = _MARK.pack(sequence, offset)
        self._file.write(_MARK_AT, body + _SUM.pack(google_crc32c.extend(_seed(self.state), body)))
        self.mark = (sequence, offset)

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def _seed(state: State) -> int:
    return int(google_crc32c.value(state.log_id))
