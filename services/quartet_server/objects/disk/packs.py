"""Packs: append-only files of records, cut into files of bounded size so that the space of deleted blobs can be given back."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import google_crc32c

from quartet_server.objects.disk.record import Damage, Found, Record, pack, scan, unpack
from quartet_server.objects.filesystem import create, read_at, remove, sync_directory, write_all

_REST = struct.Struct("<IQ16s")  # number, end of the pack before, nonce
_MAGIC = b"QUARTPK1"
HEADER_BYTES = 40  # magic, CRC of the rest, the rest
_NAME = re.compile(r"([0-9a-f]{8})\.pack")


class PackAbandoned(OSError):  # noqa: N818 - it says what is wrong
    """A write failed, and so did taking it back."""


class PackDamaged(Exception):  # noqa: N818 - it says what is wrong
    """A pack's header cannot be read: what it holds is lost."""


class Pack:
    """One pack, open; its file is closed when nobody uses it any more, so that reads outlive its removal.

    Attributes:
        number: Its place among the packs, from 1; later ones were begun later.
        end: Where the next record goes: all before it is synced.
        previous_end: Where the pack before this one ended when this one was begun.
    """

    def __init__(self, number: int, descriptor: int, seed: int, end: int, previous_end: int) -> None:
        """Own `descriptor`; `seed` starts the checksums of its records."""
        self.number = number
        self.end = end
        self.previous_end = previous_end
        self._descriptor = descriptor
        self._seed = seed

    def __del__(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    @classmethod
    def begin(cls, folder: Path, number: int, nonce: bytes, previous_end: int) -> Pack:
        """Make an empty pack, durably and whole.

        `nonce` is 16 bytes that nobody can guess: they go into every checksum, so that no blob can hold something that
        passes for a record. Raises OSError, and leaves nothing then.
        """
        path, temporary = folder / f"{number:08x}.pack", folder / f"{number:08x}.tmp"
        remove(temporary)
        descriptor = create(temporary)
        header = _header(number, previous_end, nonce)
        try:
            write_all(descriptor, [header], 0)
            os.fdatasync(descriptor)
            temporary.rename(path)
            sync_directory(folder)
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                remove(temporary)
            raise
        return cls(number, descriptor, google_crc32c.value(header), HEADER_BYTES, previous_end)

    @classmethod
    def open(cls, path: Path) -> Pack:
        """Open a pack and trust its length. Raises PackDamaged, OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            header = read_at(descriptor, 0, HEADER_BYTES)
            size = os.fstat(descriptor).st_size
        except OSError:
            os.close(descriptor)
            raise
        number, previous_end, nonce = _REST.unpack(header[12:].ljust(_REST.size, b"\0"))
        if header != _header(number, previous_end, nonce) or number != number_of(path.name):
            os.close(descriptor)
            raise PackDamaged(f"{path.name}: its header is damaged, or it was renamed")
        return cls(number, descriptor, google_crc32c.value(header), size, previous_end)

    def append(self, records: list[Record]) -> list[int]:
        """Write records as one batch and sync; return where each begins.

        Raises:
            OSError: Nothing was written, as far as anybody will ever see.
            PackAbandoned: As OSError, but only if nothing more is written to this pack, whose `end` the next one says.
        """
        parts, places, offset = list[bytes](), list[int](), self.end
        for record in records:
            parts += pack(record, self._seed, self.end)
            places.append(offset)
            offset += record.length
        try:
            write_all(self._descriptor, parts, self.end)
            os.fdatasync(self._descriptor)
        except OSError as error:
            try:
                os.ftruncate(self._descriptor, self.end)
                os.fdatasync(self._descriptor)
            except OSError:
                raise PackAbandoned(error.errno, error.strerror) from error
            raise
        self.end = offset
        return places

    def read(self, offset: int, length: int) -> Record | None:
        """Return the record of `length` bytes at `offset`; None if it is not sound. Raises OSError."""
        found = unpack(read_at(self._descriptor, offset, length), 0, self._seed, offset)
        return None if found is None else found.record

    def recover(self, start: int, *, last: bool) -> Iterator[Found | Damage]:
        """Yield what is in the pack from `start`, where a record begins (0: all), up to `end`.

        In the `last` pack a torn end is cut, and what is left is synced when the iteration is over. Raises OSError.
        """
        start = max(start, HEADER_BYTES)
        data = read_at(self._descriptor, start, max(0, self.end - start))
        end = start
        for item in scan(data, start, self._seed):
            end = item.end if isinstance(item, Damage) else item.offset + item.record.length
            yield item
        if end < self.end and not last:
            yield Damage(end, self.end)
        elif end < self.end:
            os.ftruncate(self._descriptor, end)
            self.end = end
        if last:
            os.fsync(self._descriptor)  # a killed process may have written what was never synced

    def records(self, start: int) -> Iterator[Found | Damage]:
        """Yield what is in the pack from `start`, where a record begins (0: all), up to `end`. Raises OSError."""
        start = max(start, HEADER_BYTES)
        yield from scan(read_at(self._descriptor, start, self.end - start), start, self._seed)


def number_of(name: str) -> int | None:
    """The number in a pack's file name; None for another file."""
    match = _NAME.fullmatch(name)
    return int(match[1], 16) if match else None


def _header(number: int, previous_end: int, nonce: bytes) -> bytes:
    rest = _REST.pack(number, previous_end, nonce)
    return _MAGIC + int(google_crc32c.value(rest)).to_bytes(4, "little") + rest
