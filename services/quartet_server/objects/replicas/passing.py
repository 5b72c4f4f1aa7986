"""A pass: this node goes through all it has and sees that every owner has its copy, then drops what it need not keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quartet_server.errors import BlobCorrupt, BlobNotFound, PlacementStale, QuartetError
from quartet_server.objects.contract import BlobInfo
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas.copying import AT_ONCE, copy
from quartet_server.objects.replicas.group import Group
from quartet_server.objects.replicas.own import OwnShare
from quartet_server.objects.replicas.pace import Pace, Progress
from quartet_server.objects.replicas.place import Place
from quartet_server.objects.replicas.placement import Placement
from quartet_server.objects.replicas.spreading import ELSEWHERE

_PAGE = 1_000


class Overtaken(Exception):  # noqa: N818 - it says what happened
    """The placement has changed: the pass must begin anew."""


class Passing:
    """Goes through this node's blobs. Holds a page of them in memory, and one blob's pieces.

    Attributes:
        left: Copies too many that the last run could not drop.
    """

    def __init__(
        self, group: Group, own: OwnShare, place: Callable[[int], Place], pace: Pace, progress: Progress
    ) -> None:
        """Copy from `own` to the `place` of other nodes, at `pace`; tell `progress`."""
        self._group = group
        self._own = own
        self._place = place
        self._pace = pace
        self._progress = progress
        self._waiting = 0
        self._problem = ""
        self.left = 0

    async def run(self) -> bool:
        """Go through everything once; tell whether every copy is where it should be, under the placement of now.

        Raises Overtaken, ObjectStoreUnreachable of this node's own disk.
        """
        placement = self._group.view.placement
        await self._own.quiesce()  # what was taken by the placement before is seen
        self._waiting, self._problem, self.left = 0, "", 0
        for zone in await self._own.zones():
            after: Digest | None = None
            while page := await self._own.scan(zone, after, _PAGE):
                await self._page(zone, page, placement)
                after = page[-1].digest
        self._progress.waiting, self._progress.problem = self._waiting, self._problem
        return not self._waiting

    def _check(self, placement: Placement) -> None:
        if self._group.view.placement.number != placement.number:
            raise Overtaken

    async def _page(self, zone: str, page: Sequence[BlobInfo], placement: Placement) -> None:
        self._check(placement)
        living = [info.digest for info in page if info.condemned is None]  # what waits to be swept is not copied about
        me = self._group.me
        owed = placement.by_owner(living)
        extra = set(living).difference(owed.pop(me, ()))
        unsure = set[Digest]()
        for node, digests in owed.items():
            try:
                infos = await self._place(node).stat_many(zone, digests)
            except ELSEWHERE as error:
                self._wait_for(digests, error)
                unsure.update(digests)
                continue
            for digest in digests:
                if digest not in infos and not await self._bring(zone, digest, node, placement):
                    unsure.add(digest)
        dropped = [digest for digest in living if digest in extra and digest not in unsure]
        self.left += len(extra) - len(dropped)
        if dropped:
            await self._drop(zone, dropped, placement)

    def _wait_for(self, digests: Sequence[Digest], error: QuartetError) -> None:
        self._waiting += len(digests)
        self._progress.waiting = max(self._waiting, self._progress.waiting)
        self._problem = self._problem or error.message

    async def _bring(self, zone: str, digest: Digest, node: int, placement: Placement) -> bool:
        """Copy a blob to an owner that lacks it; tell whether it has it now."""
        self._check(placement)
        try:
            if digest.size > AT_ONCE and await self._place(node).stat(zone, digest) is not None:
                return True  # somebody was quicker, and a write in pieces would count as a hit
            await copy(self._place(self._group.me), self._place(node), zone, digest)
        except BlobNotFound:
            return True  # deleted meanwhile
        except BlobCorrupt:
            return False  # this node's copy is mended from another's, and that one is brought by who has it
        except (*ELSEWHERE, QuartetError) as error:
            self._wait_for([digest], error)
            return False
        self._progress.copied(digest.size)
        await self._pace.spend(digest.size)
        return True

    async def _drop(self, zone: str, digests: Sequence[Digest], placement: Placement) -> None:
        """Drop copies too many, once every owner has said, under this placement, that it keeps its own.

        The question is a hit at the owners: one that came here meanwhile, from a node that did not know better, counts.
        """
        with self._own.dropping(zone, digests):
            held = set(digests)
            for node, asked in placement.by_owner(digests).items():
                try:
                    held -= set(asked) - await self._place(node).hold(zone, asked, placement.number)
                except (PlacementStale, *ELSEWHERE):
                    held -= set(asked)
            self._check(placement)
            self.left += len(digests) - len(held)
            if held:
                self._progress.dropped_blobs += await self._own.delete(zone, sorted(held))
