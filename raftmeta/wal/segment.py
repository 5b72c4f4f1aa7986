"""Segments: the files the log is cut into, so that its beginning can be forgotten by deleting whole files."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from raftmeta.wal.errors import WalCorrupt
from raftmeta.wal.files import File, Files, create_durably
from raftmeta.wal.record import seed_of

VERSION = 1
_HEADER = struct.Struct(
    "<8sII8sQQQQ"
)  # magic, CRC of the rest, version, log id, sequence, next index, previous term, flags
_MAGIC = b"QUARTWAL"
HEADER_SIZE = 64
_RESET = 1
_NAME = re.compile(r"([0-9a-f]{16})\.wal")


@dataclass(slots=True, eq=False)
class Segment:
    """One file of the log.

    Attributes:
        path: Where it is.
        file: It, open.
        sequence: Its number; segments are read in this order.
        seed: Start value of its records' checksums.
        next_index: Index the log would have appended next when the segment was made.
        previous_term: Term of the entry before that.
        reset: Whether it starts the log anew after a snapshot was installed.
    """

    path: Path
    file: File
    sequence: int
    seed: int
    next_index: int
    previous_term: int
    reset: bool


def sequence_of(name: str) -> int | None:
    """The number in a segment's file name; None for another file."""
    match = _NAME.fullmatch(name)
    return int(match[1], 16) if match else None


def create(
    files: Files, directory: Path, log_id: bytes, sequence: int, next_index: int, previous_term: int, reset: bool
) -> Segment:
    """Make an empty segment, durably and whole. Raises OSError."""
    rest = struct.pack("<I8sQQQQ", VERSION, log_id, sequence, next_index, previous_term, _RESET if reset else 0)
    header = _MAGIC + int(google_crc32c.value(rest)).to_bytes(4, "little") + rest
    path = directory / f"{sequence:016x}.wal"
    file = create_durably(files, path, header.ljust(HEADER_SIZE, b"\0"))
    return Segment(path, file, sequence, seed_of(log_id, sequence), next_index, previous_term, reset)


def read(files: Files, path: Path, log_id: bytes) -> tuple[Segment, bytes]:
    """Open a segment and check its header; returns it and all its bytes.

    Raises:
        WalCorrupt: The header, which was synced before the file got its name, is damaged or another log's.
    """
    file = files.open(path)
    buffer = file.read(0, file.size())
    if len(buffer) < HEADER_SIZE:
        file.close()
        raise WalCorrupt(path, len(buffer), "segment header cut short")
    magic, checksum, version, owner, sequence, next_index, previous_term, flags = _HEADER.unpack_from(buffer)
    if magic != _MAGIC or google_crc32c.value(buffer[12 : _HEADER.size]) != checksum or any(buffer[_HEADER.size : 64]):
        fault = "segment header is damaged"
    elif version != VERSION:
        fault = f"segment has format version {version}, this program reads {VERSION}: was it written by a newer one?"
    elif owner != log_id:
        fault = "segment belongs to another log"
    elif sequence != sequence_of(path.name):
        fault = f"segment is number {sequence:x}: it was renamed"
    else:
        seed = seed_of(log_id, sequence)
        return Segment(path, file, sequence, seed, next_index, previous_term, bool(flags & _RESET)), buffer
    file.close()
    raise WalCorrupt(path, 0, fault)
