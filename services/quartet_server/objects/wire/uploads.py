"""Uploads that can be resumed: what arrived stays for a while after its connection is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from quartet_server.errors import Contention, FieldInvalid
from quartet_server.objects.contract import BlobStore, BlobWriter
from quartet_server.objects.wire.flow import Places
from quartet_server.objects.wire.resources import Resource

KEEP_SECONDS = 600.0
"""For which an upload that broke off is kept."""

_TRIES = 4  # to find a place that others look for too
_Key = tuple[str, Resource]  # zone and resource; the client's own name for the upload is part of it


class Upload:
    """A blob on its way in, written by one session at a time: the last that began.

    Attributes:
        key: Zone and resource.
        writer: Where the bytes go.
        turn: Held by who uses the writer.
        session: Number of the session whose upload it is.
        forgetting: When it is given up; None while a session lasts.
    """

    __slots__ = ("forgetting", "key", "session", "turn", "writer")

    def __init__(self, key: _Key, writer: BlobWriter) -> None:
        """Nothing has arrived."""
        self.key = key
        self.writer = writer
        self.turn = asyncio.Lock()
        self.session = 0
        self.forgetting: asyncio.TimerHandle | None = None


class Session:
    """One call's hold of an upload.

    What it has begun to write is written to its end though its call be cancelled, so that the number of bytes that have
    arrived is always known.
    """

    def __init__(self, uploads: Uploads, upload: Upload) -> None:
        """Take the upload over from whoever has it."""
        self._uploads = uploads
        self._upload = upload
        upload.session += 1
        self._number = upload.session

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self._upload.writer.size

    def check(self) -> None:
        """Raise Contention when another session has taken the upload over."""
        if self._upload.session != self._number:
            raise Contention(
                "another call goes on with this upload", hint="ask QueryWriteStatus, or use another upload id"
            )

    async def write(self, data: bytes) -> None:
        """Write a piece. Raises Contention, and what the writer raises: then the upload is forgotten."""
        await self._uploads.see_through(self._write(data))

    async def finish(self) -> None:
        """Make the blob durable and forget the upload. Raises as `write`."""
        await self._uploads.see_through(self._finish())

    async def leave(self, *, keep: bool) -> None:
        """End the session; what arrived is kept for a while, or forgotten. The second time it does nothing."""
        if self._upload.session == self._number:
            if keep:
                self._uploads.keep(self._upload)
            else:
                await self._uploads.forget(self._upload)

    async def _write(self, data: bytes) -> None:
        async with self._upload.turn:
            self.check()
            try:
                await self._upload.writer.write(data)
            except BaseException:
                await self._uploads.forget(self._upload)
                raise

    async def _finish(self) -> None:
        async with self._upload.turn:
            self.check()
            try:
                await self._upload.writer.commit()
            finally:
                await self._uploads.forget(self._upload)


class Uploads:
    """The uploads of one node: another node knows nothing of them, so that who is sent there begins anew."""

    def __init__(self, store: BlobStore, places: Places, seconds: float = KEEP_SECONDS) -> None:
        """Write to `store`, one of `places` for each upload; keep what broke off for `seconds`."""
        self._store = store
        self._places = places
        self._seconds = seconds
        self._uploads: dict[_Key, Upload] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def size(self, zone: str, resource: Resource) -> int | None:
        """Return how many bytes of an upload have arrived; None when it is not known here."""
        upload = self._uploads.get((zone, resource))
        return None if upload is None else upload.writer.size

    async def begin(self, zone: str, resource: Resource, offset: int) -> Session:
        """Go on with an upload at `offset`, or begin it anew at 0.

        Raises:
            FieldInvalid: Another number of bytes has arrived; the error's metadata has `committed_size`.
            TooManyRequests: There is no place, and no upload that broke off could be given up for it.
            Contention: Another session began meanwhile.
        """
        key = (zone, resource)
        for _ in range(_TRIES):
            if (upload := self._uploads.get(key)) is None:
                if offset:
                    raise _misplaced(offset, 0)
                if not self._places.left and await self._make_room():
                    continue
                self._places.take()
                upload = self._uploads[key] = Upload(key, self._store.writer(zone, resource.digest))
                return Session(self, upload)
            session = Session(self, upload)
            self._stay(upload)
            async with upload.turn:
                session.check()
                if self._uploads.get(key) is not upload:
                    continue
                if offset == session.size:
                    return session
                if offset:
                    self.keep(upload)
                    raise _misplaced(offset, session.size)
                await self.forget(upload)
        raise Contention("others kept beginning this upload")

    def keep(self, upload: Upload) -> None:
        """Keep an upload whose session is over, for a while."""
        if self._uploads.pop(upload.key, None) is upload:  # to the end: the first to be given up is the oldest
            self._uploads[upload.key] = upload
            self._stay(upload)
            upload.forgetting = asyncio.get_running_loop().call_later(self._seconds, self._expire, upload)

    async def forget(self, upload: Upload) -> None:
        """Give an upload up; one that is not known does no harm."""
        if self._dropped(upload):
            await upload.writer.abort()

    async def see_through(self, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, which goes on to its end if the caller is cancelled."""
        await asyncio.shield(self._started(work))

    async def close(self) -> None:
        """Give all of them up, once what is being written is written."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        for upload in list(self._uploads.values()):
            await self.forget(upload)

    async def _make_room(self) -> bool:
        """Give up the upload that broke off the longest ago; False when there is none."""
        for upload in self._uploads.values():
            if upload.forgetting is not None:
                await self.forget(upload)
                return True
        return False

    def _expire(self, upload: Upload) -> None:
        if self._dropped(upload):
            self._started(upload.writer.abort())

    def _dropped(self, upload: Upload) -> bool:
        if self._uploads.get(upload.key) is not upload:
            return False
        self._stay(upload)
        del self._uploads[upload.key]
        self._places.give_back()
        return True

    def _stay(self, upload: Upload) -> None:
        if upload.forgetting is not None:
            upload.forgetting.cancel()
            upload.forgetting = None

    def _started(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to the caller, if there still is one


def _misplaced(offset: int, size: int) -> FieldInvalid:
    return FieldInvalid(
        f"write_offset: {offset}, but {size} bytes have arrived",
        violations={"write_offset": f"must be 0 or {size}"},
        hint="ask QueryWriteStatus where to go on",
        committed_size=size,
    )
