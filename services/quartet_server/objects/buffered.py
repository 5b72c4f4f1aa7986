"""A writer for stores that keep a blob in one step: it gathers the pieces and hashes them on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from quartet_server.errors import DigestMismatch, LimitReached
from quartet_server.objects.digest import LARGEST, Digest


class Intake:
    """Hashes and counts the bytes of an upload and holds them against what was declared.

    Attributes:
        size: Bytes taken so far.
    """

    def __init__(self, declared: Digest | None, limit: int | None) -> None:
        """Begin an upload of the `declared` blob, or of one of unknown digest and at most `limit` bytes."""
        self._declared = declared
        self._limit = LARGEST if limit is None else limit
        self._hash = hashlib.sha256()
        self.size = 0

    def check_room(self, more: int) -> None:
        """Raise DigestMismatch or LimitReached if `more` bytes are too many."""
        size = self.size + more
        if self._declared is not None and size > self._declared.size:
            raise DigestMismatch(
                f"{self._declared.hex} has {self._declared.size} bytes, more came", declared=str(self._declared)
            )
        if size > self._limit:
            raise LimitReached(f"more than {self._limit} bytes", limit=self._limit)

    def take(self, data: bytes) -> None:
        """Count bytes that `check_room` allowed. Hashing large pieces releases the GIL."""
        self._hash.update(data)
        self.size += len(data)

    def digest(self) -> Digest:
        """Return the digest of what was taken. Raises DigestMismatch if another was declared."""
        found = Digest(self._hash.digest(), self.size)
        if self._declared is not None:
            self._declared.check(found)
        return found


class BufferedWriter:
    """A `BlobWriter` that holds everything in memory until it is committed: for stores in memory, and for small blobs."""

    def __init__(
        self, keep: Callable[[Digest, bytes], Awaitable[None]], declared: Digest | None, limit: int | None
    ) -> None:
        """Gather bytes and hand them to `keep` at the end."""
        self._keep = keep
        self._intake = Intake(declared, limit)
        self._pieces: list[bytes] = []
        self._committed: Digest | None = None
        self._over = False

    @property
    def size(self) -> int:
        """See `BlobWriter.size`."""
        return self._intake.size

    async def write(self, data: bytes) -> None:
        """See `BlobWriter.write`."""
        self._check_open()
        try:
            self._intake.check_room(len(data))
        except (DigestMismatch, LimitReached):
            await self.abort()
            raise
        self._intake.take(data)
        self._pieces.append(data)

    async def commit(self) -> Digest:
        """See `BlobWriter.commit`."""
        if self._committed is not None:
            return self._committed
        self._check_open()
        self._over = True
        pieces, self._pieces = self._pieces, []
        digest = self._intake.digest()
        await self._keep(digest, b"".join(pieces))
        self._committed = digest
        return digest

    async def abort(self) -> None:
        """See `BlobWriter.abort`."""
        self._over = True
        self._pieces = []

    def _check_open(self) -> None:
        if self._over:
            raise RuntimeError("the upload was ended")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()
