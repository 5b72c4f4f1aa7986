"""Bytes on their way into a file: hashed, cut, and put into the store while more are coming."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from types import TracebackType
from typing import Self

from quartet_server.files.contents.body import INLINE, Body, check_size
from quartet_server.files.contents.contents import Contents
from quartet_server.files.paths import Path
from quartet_server.objects.chunking import THRESHOLD, Chunker
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address

_PUTTING = 4  # chunks on their way into the store at once: one waits for the disk while others are hashed


class Intake:
    """One file's bytes, as `async with`: what is not finished is given up, and its chunks are left to the collector.

    Inside the block the collector takes none of them, however long it lasts: chunks that are stored are asked for again well
    within its grace. So the block ends after the transaction that refers to them.

    Memory stays bounded: 2 MiB of a file not yet known to be larger, then what `Chunker` holds and four chunks; and 40 bytes
    for each chunk.
    """

    def __init__(self, contents: Contents, zone: str, path: Path, store: int = 0) -> None:
        """Take the bytes of the file at `path`, into the mounted store of a number, or the cluster's own."""
        self._contents = contents
        self._zone = zone
        self._path = path
        self._store = store
        self._state = hashlib.sha256()
        self._held = bytearray()
        self._chunker: Chunker | None = None
        self._chunks: list[Digest] = []
        self._putting: deque[asyncio.Task[Digest]] = deque()
        self._renewing: asyncio.Task[None] | None = None
        self.size = 0

    async def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises FileTooLarge, and what the store of blobs raises, if need be for earlier bytes."""
        self.alive()
        self.size += len(data)
        check_size(self.size, self._path)
        self._state.update(data)
        if self._chunker is not None:
            await self._put(self._chunker.feed(data))
            return
        self._held += data
        if len(self._held) > THRESHOLD:
            self._chunker = Chunker()
            held, self._held = bytes(self._held), bytearray()
            await self._put(self._chunker.feed(held))

    async def finish(self) -> Body:
        """Return the body, everything of it durable. Raises UploadExpired."""
        self.alive()
        digest = Digest(self._state.digest(), self.size)
        if self.size <= INLINE:
            return Body(digest, bytes(self._held))
        await self._put([bytes(self._held)] if self._chunker is None else self._chunker.finish())
        while self._putting:
            self._chunks.append(await self._putting.popleft())
        self._contents.hashes.remember(digest, self._state)
        return Body(digest, b"", tuple(self._chunks), self._store)

    def hold(self, digest: Digest) -> None:
        """Keep one more blob that was stored, such as the list of the chunks."""
        self._chunks.append(digest)

    def alive(self) -> None:
        """Raise UploadExpired, or why the store did not answer, if chunks could not be kept from the collector."""
        if self._renewing is not None and self._renewing.done():
            self._renewing.result()

    async def _renew(self) -> None:
        while True:
            await self._contents.pause(self._contents.renew)
            stored = [task.result() for task in self._putting if task.done() and task.exception() is None]
            await self._contents.renewed(address(self._zone, self._store), [*self._chunks, *stored])

    async def _put(self, chunks: list[bytes]) -> None:
        if self._chunker is not None and self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        for chunk in chunks:
            while len(self._putting) >= _PUTTING:
                self._chunks.append(await self._putting.popleft())
            self._putting.append(asyncio.create_task(self._contents.blobs.put(address(self._zone, self._store), chunk)))

    async def __aenter__(self) -> Self:
        """Return the intake."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what is on its way."""
        tasks = [*self._putting, *([self._renewing] if self._renewing is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
