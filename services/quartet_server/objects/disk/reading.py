"""Reading kept blobs, and telling damage from absence. All of it blocks but `stream`."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from quartet_server.errors import BlobCorrupt
from quartet_server.objects import sums
from quartet_server.objects.arguments import PIECE, absent
from quartet_server.objects.codec import Codec, CodecError, decode
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.disk.entry import Entry, key_of
from quartet_server.objects.disk.files import Files
from quartet_server.objects.disk.journal import Journal
from quartet_server.objects.filesystem import read_at, refusal

_ATTEMPTS = 10


class _File:
    """An open file, closed when nobody uses it any more: a reader that was cancelled leaves a thread that still reads."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def _look(piece: asyncio.Future[bytes]) -> None:
    if not piece.cancelled():
        piece.exception()


class Reader:
    """Reads the blobs of one journal and its files; used by any number of threads."""

    def __init__(self, journal: Journal, files: Files, damaged: set[bytes], verify: bool) -> None:
        """Read; what is found damaged goes to `damaged`. `verify` is for reads that do not say."""
        self._journal = journal
        self._files = files
        self._damaged = damaged
        self._verify = verify

    def find(self, zone: str, digest: Digest) -> Entry:
        """Return a blob's entry. Raises BlobNotFound."""
        entry = self._journal.find(zone, digest)
        if entry is None or entry.size != digest.size:
            raise absent(digest)
        return entry

    def is_stream(self, entry: Entry) -> bool:
        """Tell whether a blob is read in pieces: it has a file with its bytes as they are."""
        return entry.filed and entry.codec == Codec.NONE

    def load(self, zone: str, digest: Digest, verify: bool | None = None) -> bytes:
        """Return a whole blob. Raises BlobNotFound, BlobCorrupt, ObjectStoreUnreachable."""
        if digest == EMPTY:
            return b""
        for _ in range(_ATTEMPTS):  # a blob that is moved to another pack may be missed now and then, not often
            entry = self.find(zone, digest)
            try:
                kept = self._read(zone, digest, entry)
                if kept is None:
                    raise self.corrupt(zone, digest)
                data = decode(entry.codec, kept, digest.size)
            except (KeyError, FileNotFoundError):
                if self._journal.find(zone, digest) == entry:
                    raise self.corrupt(zone, digest) from None
                continue
            except CodecError as error:
                raise self.corrupt(zone, digest) from error
            except OSError as error:
                raise refusal(error) from error
            if (self._verify if verify is None else verify) and Digest.of(data) != digest:
                raise self.corrupt(zone, digest)
            return data
        raise absent(digest)

    def _read(self, zone: str, digest: Digest, entry: Entry) -> bytes | None:
        if entry.filed:
            return self._files.path(zone, digest).read_bytes()
        record = self._journal.record(entry)
        if record is None or (record.zone, record.digest) != (zone, digest):
            return None
        return record.payload

    def corrupt(self, zone: str, digest: Digest) -> BlobCorrupt:
        """Note that a blob is damaged; return the error that says so."""
        self._damaged.add(key_of(zone, digest.hash))
        return BlobCorrupt(f"what is kept under {digest} are other bytes", digest=str(digest))

    async def stream(
        self, pool: ThreadPoolExecutor, zone: str, digest: Digest, entry: Entry, first: int, end: int,
        verify: bool | None,
    ) -> AsyncGenerator[bytes, None]:  # fmt: skip
        """Yield the bytes from `first` to `end` of a blob that `is_stream`; work is done in `pool`.

        What nobody asked to be verified, but the store was told to, is held against the checksums of its pieces where
        there are any: they tell damage as surely as a disk's own, and cost a sixth.
        """
        loop = asyncio.get_running_loop()
        whole = (first, end) == (0, digest.size)
        file = await loop.run_in_executor(pool, self._open, zone, digest)
        kept = None
        if verify is None and self._verify:
            kept = await loop.run_in_executor(pool, self._sums, zone, digest, entry)
        check = hashlib.sha256() if whole and kept is None and (self._verify if verify is None else verify) else None

        def piece(offset: int) -> bytes:
            if kept is not None:
                return self._checked(file, offset, end, kept, zone, digest)
            data = self._piece(file, offset, min(PIECE, end - offset), zone, digest)
            if check is not None:
                check.update(data)
                if offset + len(data) == end and check.digest() != digest.hash:
                    raise self.corrupt(zone, digest)
            return data

        if verify and not whole:
            await loop.run_in_executor(pool, self._check, file, zone, digest)
        ahead: asyncio.Future[bytes] | None = loop.run_in_executor(pool, piece, first)
        while ahead is not None:
            data = await ahead
            first += len(data)
            if first < end:
                ahead = loop.run_in_executor(pool, piece, first)  # while this one is sent
                ahead.add_done_callback(_look)  # whoever stops early never asks
            else:
                ahead = None
            yield data

    def _open(self, zone: str, digest: Digest) -> _File:
        try:
            return _File(os.open(self._files.path(zone, digest), os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            if self._journal.find(zone, digest) is None:
                raise absent(digest) from None
            raise self.corrupt(zone, digest) from None
        except OSError as error:
            raise refusal(error) from error

    def _sums(self, zone: str, digest: Digest, entry: Entry) -> tuple[int, ...] | None:
        """Return the checksums of a blob's file, None where there are none to be had."""
        try:
            record = self._journal.record(entry)
        except (KeyError, OSError):  # the record has moved to another pack meanwhile, or the pack cannot be read
            return None
        if record is None or (record.zone, record.digest) != (zone, digest):
            return None
        return sums.unpacked(record.payload, digest.size)

    def _checked(self, file: _File, offset: int, end: int, kept: tuple[int, ...], zone: str, digest: Digest) -> bytes:
        """Return the bytes from `offset` to `end`, or to the end of its piece, all of which is checked."""
        number = offset // PIECE
        start = number * PIECE
        data = self._piece(file, start, min(PIECE, digest.size - start), zone, digest)
        if not sums.fits(data, kept[number]):
            raise self.corrupt(zone, digest)
        return data[offset - start : end - start]  # which copies nothing of a whole piece

    def _piece(self, file: _File, offset: int, size: int, zone: str, digest: Digest) -> bytes:
        try:
            piece = read_at(file.descriptor, offset, size)
        except OSError as error:
            raise refusal(error) from error
        if len(piece) < size:
            raise self.corrupt(zone, digest)
        return piece

    def _check(self, file: _File, zone: str, digest: Digest) -> None:
        check = hashlib.sha256()
        for offset in range(0, digest.size, PIECE):
            check.update(self._piece(file, offset, min(PIECE, digest.size - offset), zone, digest))
        if check.digest() != digest.hash:
            raise self.corrupt(zone, digest)
