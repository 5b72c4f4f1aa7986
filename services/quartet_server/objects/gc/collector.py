"""The collector: finds blobs that nothing leads to, condemns them, and sweeps them when nothing has saved them for a grace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.objects.gc.reached import Reached
from quartet_server.objects.pins import Holder


@dataclass(slots=True)
class Tally:
    """What one round has found and done in a zone; of a dry one, what it would have done.

    Attributes:
        zone: Which.
        mount: Name of the mounted store that it was about; empty for the node's own.
        skipped: Why a mounted store was not collected, in words; empty when it was.
        reached: Different digests that something leads to, here or on another node.
        examined: Blobs of the store that were looked at.
        bytes: What they take.
        young: Those that nothing leads to and that were put or asked for within the grace.
        condemned: Those that this round condemned.
        condemned_bytes: What they take.
        waiting: Those that an earlier round condemned, less than a grace ago.
        swept: Those that are gone.
        swept_bytes: What they took.
        saved: Those that were condemned though something leads to them, and live again.
    """

    zone: str
    mount: str = ""
    skipped: str = ""
    reached: int = 0
    examined: int = 0
    bytes: int = 0
    young: int = 0
    condemned: int = 0
    condemned_bytes: int = 0
    waiting: int = 0
    swept: int = 0
    swept_bytes: int = 0
    saved: int = 0


class Collector:
    """Collects one store, a zone at a time, in rounds.

    A round first asks every holder, then goes through the store: what is reached stays; what is not, and was not touched within
    the grace, is condemned; what an earlier round condemned, at least a grace ago, and is still not reached, goes. So between
    condemning and sweeping everything is looked at again, and whoever was told that a blob is there, at any time before it
    went, had the whole grace to refer to it: a hit after it was condemned saves it, and a hit before that is older than the
    grace when the second look begins. A reference from before that look is seen by it.

    Nothing is kept between rounds but what the store itself remembers, so that a crash at any moment leaves nothing to mend.
    """

    def __init__(
        self,
        store: BlobStore,
        holders: Sequence[Holder],
        grace: float,
        *,
        clock: Callable[[], float],
        draw: Callable[[int], bytes],
        demand: Callable[[], Awaitable[None]],
    ) -> None:
        """Collect `store`, of which `holders` keep blobs, in their order; `grace` in seconds, `clock` seconds since 1970.

        `demand` raises when the blobs are not of those whom the holders know.
        """
        self._store = store
        self._holders = holders
        self._grace = grace
        self._clock = clock
        self._draw = draw
        self._demand = demand

    async def run(self, zone: str, *, dry: bool, mount: str = "") -> AsyncGenerator[Tally, None]:
        """Do a round; yield the same tally as it grows, the last time when the round is done.

        `mount` is the name under which the store is mounted, for the tally.

        Raises what a holder and `demand` raise, before anything is changed, and errors of the store.
        """
        tally, began = Tally(zone, mount), self._clock()
        reached = Reached(self._draw)
        async for _ in self.mark(zone, reached):
            tally.reached = reached.count
            yield tally
        tally.reached = reached.count
        if not dry:
            await self._demand()  # now: the Metastore may have been emptied while the holders read it
        async for _ in self.pass_through(zone, reached, began, tally, dry=dry):
            yield tally
        yield tally

    async def mark(self, zone: str, reached: Reached) -> AsyncGenerator[None, None]:
        """Ask all holders, the one after the other; yields now and then."""
        count = 0
        for holder in self._holders:
            async with aclosing(holder.reached(zone)) as digests:
                async for digest in digests:
                    reached.add(digest)
                    count += 1
                    if count % LIST_LIMIT == 0:
                        yield

    async def pass_through(
        self, zone: str, reached: Reached, began: float, tally: Tally, *, dry: bool
    ) -> AsyncGenerator[None, None]:
        """Go through the store; `began` is when the marking did. Yields after each page."""
        old, after = began - self._grace, None
        while page := await self._store.scan(zone, after):
            after = page[-1].digest
            doomed, due, saved = [], [], []
            for info in page:
                tally.examined += 1
                tally.bytes += info.stored
                if info.condemned is None:
                    if info.digest in reached:
                        continue
                    if info.touched > old:
                        tally.young += 1
                    else:
                        doomed.append(info)
                elif self.is_kept(reached, info.digest):
                    saved.append(info)
                elif info.condemned <= old:
                    due.append(info)
                else:
                    tally.waiting += 1
            if not dry:
                due = _those(due, await self._store.sweep(zone, _names(due), old)) if due else due
                doomed = _those(doomed, await self._store.condemn(zone, _names(doomed), old)) if doomed else doomed
                if saved:
                    await self._store.missing(zone, _names(saved))
            tally.swept += len(due)
            tally.swept_bytes += sum(info.stored for info in due)
            tally.condemned += len(doomed)
            tally.condemned_bytes += sum(info.stored for info in doomed)
            tally.saved += len(saved)
            yield

    def is_kept(self, reached: Reached, digest: Digest) -> bool:
        """The second look: tell whether something leads to a condemned blob."""
        return digest in reached


def _names(infos: Sequence[BlobInfo]) -> list[Digest]:
    return [info.digest for info in infos]


def _those(infos: Sequence[BlobInfo], kept: Sequence[Digest]) -> list[BlobInfo]:
    wanted = set(kept)
    return [info for info in infos if info.digest in wanted]
