"""Writing a blob in pieces: small ones gather in memory, large ones go to their places while they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from quartet_server.errors import ObjectStoreUnreachable, PlacementStale, QuartetError
from quartet_server.objects.buffered import Intake
from quartet_server.objects.contract import BlobWriter, Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas.copying import copy
from quartet_server.objects.replicas.own import OwnShare
from quartet_server.objects.replicas.place import Place
from quartet_server.objects.replicas.spreading import Spread, Spreading, note

MEMORY = 2 << 20
"""Bytes up to which a blob is gathered in memory."""
_HASHED_HERE = 64 << 10  # bytes up to which hashing is not worth a thread


class StreamingWriter:
    """A `BlobWriter` of the cluster.

    A large blob of declared digest goes to all its places at once. One whose digest is known at the end only is kept on
    this node's disk, copied to its places from there, and dropped here if this is none of them.
    """

    def __init__(
        self,
        spreading: Spreading,
        place: Callable[[int], Place],
        own: OwnShare,
        me: int,
        on_extra: Callable[[], None],
        zone: str,
        declared: Digest | None,
        limit: int | None,
    ) -> None:
        """Write a blob of `zone`; `on_extra` is told when `own` is left with a copy too many; `declared`, `limit` as in `BlobStore`."""
        self._spreading = spreading
        self._place = place
        self._own = own
        self._me = me
        self._on_extra = on_extra
        self._zone = zone
        self._declared = declared
        self._intake = Intake(declared, limit)
        self._pieces: list[bytes] = []
        self._spread: Spread | None = None
        self._writers: dict[int, BlobWriter] = {}
        self._spool: BlobWriter | None = None
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
            if len(data) > _HASHED_HERE:
                await asyncio.to_thread(self._intake.take, data)
            else:
                self._intake.take(data)
            if not self._writers and self._spool is None:
                self._pieces.append(data)
                if self.size <= MEMORY:
                    return
                data = b"".join(self._pieces)
                self._pieces = []
                await self._begin()
            await self._send(data)
        except QuartetError:
            await self.abort()
            raise

    async def _begin(self) -> None:
        if self._declared is None:
            self._spool = self._own.writer(self._zone)
            return
        spread = self._spread = await self._spreading.plan(self._declared)
        number = spread.placement.number
        self._writers = {node: self._place(node).writer(self._zone, self._declared, number) for node in spread.next()}

    async def _send(self, data: bytes) -> None:
        if self._spool is not None:
            await self._spool.write(data)
            return
        nodes = list(self._writers)
        outcomes = await asyncio.gather(*(self._writers[node].write(data) for node in nodes), return_exceptions=True)
        await self._note(dict(zip(nodes, outcomes, strict=True)))

    async def _note(self, outcomes: dict[int, object]) -> None:
        """Go on without the nodes that failed, as long as there is one that has everything so far."""
        assert self._spread is not None
        for node, outcome in outcomes.items():
            if isinstance(outcome, PlacementStale):  # it is looked for a place again at the end
                self._spread.failed[node] = ObjectStoreUnreachable(outcome.message)
            elif isinstance(outcome, BaseException):
                note(self._spread, node, outcome)
            else:
                continue
            await self._writers.pop(node).abort()
        if not self._writers and (error := self._spread.refusal()) is not None:
            raise error

    async def commit(self) -> Digest:
        """See `BlobWriter.commit`."""
        if self._committed is not None:
            return self._committed
        self._check_open()
        try:
            digest = self._intake.digest()
            if self._spool is not None:
                await self._spool.commit()
                await self._spread_from([self._me], digest)
            elif self._spread is not None:
                await self._spread_from(await self._commit_all(), digest)
            elif not digest.is_empty:
                await self._spreading.put(self._zone, Put(digest, b"".join(self._pieces)))
            self._committed = digest
        finally:
            await self.abort()
        return digest

    async def _commit_all(self) -> list[int]:
        """Return the nodes that have it durably now; at least one."""
        nodes = list(self._writers)
        outcomes = await asyncio.gather(*(self._writers[node].commit() for node in nodes), return_exceptions=True)
        failed = {
            node: outcome for node, outcome in zip(nodes, outcomes, strict=True) if not isinstance(outcome, Digest)
        }
        await self._note(dict(failed))
        return [node for node in nodes if node in self._writers]

    async def _spread_from(self, holders: list[int], digest: Digest) -> None:
        """Copy the blob from who has it to who should, and does not."""

        async def write(node: int, placement: int) -> None:
            if node not in holders:
                await copy(self._place(holders[0]), self._place(node), self._zone, digest, placement)
                holders.append(node)

        owners = await self._spreading.spread(self._zone, digest, write)
        if self._me in holders and self._me not in owners:
            self._on_extra()

    async def abort(self) -> None:
        """See `BlobWriter.abort`."""
        self._over = True
        self._pieces = []
        writers, self._writers = list(self._writers.values()), {}
        for writer in (*writers, *([] if self._spool is None else [self._spool])):
            await writer.abort()

    def _check_open(self) -> None:
        if self._over:
            raise RuntimeError("the upload was ended")

    async def __aenter__(self) -> Self:
        """Return the writer."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort, unless it was committed."""
        await self.abort()
