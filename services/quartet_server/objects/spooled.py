"""Writing a blob of any size: small ones gather in memory, large ones in a file that nobody sees before it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

from quartet_server.errors import QuartetError
from quartet_server.objects.buffered import Intake
from quartet_server.objects.digest import Digest
from quartet_server.objects.drafts import Draft, Drafts
from quartet_server.objects.filesystem import refusal

T = TypeVar("T")
MEMORY = 2 << 20
"""Bytes up to which a blob is gathered in memory."""
_FLUSH = 1 << 20
_SYNC = 16 << 20
"""Bytes after which the disk begins to write, so that it has not everything to do in the end."""


class SpooledWriter:
    """A `BlobWriter` for stores that take a blob whole, from memory or from a file."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        drafts: Drafts,
        keep: Callable[[Digest, bytes | Draft], Awaitable[None]],
        declared: Digest | None,
        limit: int | None,
        *,
        stays: bool = False,
    ) -> None:
        """Gather bytes and hand them, or the file they are in, to `keep` at the end; `stays` says that it keeps the file."""
        self._pool = pool
        self._drafts = drafts
        self._keep = keep
        self._intake = Intake(declared, limit)
        self._pieces = list[bytes]()
        self._held = 0
        self._size = 0
        self._draft: Draft | None = None
        self._committed: Digest | None = None
        self._over = False
        self._lock = Lock()
        self._stays = stays
        self._syncing: asyncio.Future[None] | None = None
        self._synced = 0

    @property
    def size(self) -> int:
        """See `BlobWriter.size`."""
        return self._size

    async def write(self, data: bytes) -> None:
        """See `BlobWriter.write`."""
        self._check_open()
        try:
            self._intake.check_room(self._held + len(data))
            self._pieces.append(data)
            self._held += len(data)
            self._size += len(data)
            if self._held >= _FLUSH and self._size > MEMORY:
                await self._in_thread(self._flush)
                self._sync_some()
        except QuartetError:
            await self.abort()
            raise

    def _sync_some(self) -> None:
        """Have the disk write what it has got, unless it still is at it."""
        draft = self._draft if self._stays else None
        if draft is not None and draft.size - self._synced >= _SYNC and (self._syncing is None or self._syncing.done()):
            self._synced = draft.size
            self._syncing = asyncio.get_running_loop().run_in_executor(self._pool, draft.begin_to_finish)

    def _flush(self) -> None:
        with self._lock:
            if self._over:
                return  # aborted meanwhile
            try:
                if self._draft is None:
                    self._draft = self._drafts.begin()
                data = b"".join(self._pieces)
                self._pieces, self._held = [], 0
                self._intake.take(data)
                self._draft.write(data)
            except OSError as error:
                raise refusal(error) from error

    def _gather(self) -> tuple[Digest, bytes | Draft]:
        """Return the whole blob and its digest. Raises DigestMismatch, StoreFull."""
        if self._draft is not None:
            self._flush()
            return self._intake.digest(), self._draft
        data = b"".join(self._pieces)
        self._intake.take(data)
        return self._intake.digest(), data

    async def commit(self) -> Digest:
        """See `BlobWriter.commit`."""
        if self._committed is not None:
            return self._committed
        self._check_open()
        try:
            digest, data = await self._in_thread(self._gather)
            self._draft = None  # whoever keeps it closes it
            await self._keep(digest, data)
            self._committed = digest
        finally:
            await self.abort()
        return digest

    async def abort(self) -> None:
        """See `BlobWriter.abort`."""
        if not self._over:
            self._over = True
            self._pieces = []
            if self._size > MEMORY:
                await self._in_thread(self._drop)

    def _drop(self) -> None:
        with self._lock:
            if self._draft is not None:
                self._draft.close()
                self._draft = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _check_open(self) -> None:
        if self._over:
            raise RuntimeError("the upload was ended")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()
