"""Questions about blobs, and what the collector does with them, put to all who may have copies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import TypeVar

from quartet_server.errors import BlobUnreachable, QuartetError
from quartet_server.objects.arguments import page_limit
from quartet_server.objects.contract import BlobInfo, Usage
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.replicas.debts import Debts
from quartet_server.objects.replicas.finding import Finding
from quartet_server.objects.replicas.group import Group
from quartet_server.objects.replicas.place import Place
from quartet_server.objects.replicas.placement import Placement
from quartet_server.objects.replicas.spreading import ELSEWHERE

T = TypeVar("T")
_PAGE = 1_000


class Asking:
    """Asks nodes about blobs, each node once for all that it may have."""

    def __init__(
        self, group: Group, place: Callable[[int], Place], finding: Finding, debts: Debts, patience: float
    ) -> None:
        """Ask the `place` of each node; wait `patience` seconds for a placement."""
        self._group = group
        self._place = place
        self._finding = finding
        self._debts = debts
        self._patience = patience

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`.

        A blob is there when a node that answers has it durably; it is hit at every owner. What no such node has is
        missing, even if one that does not answer may have it: whoever asks sends it then, which is right in any case.
        An owner that lacks what is there owes it. Raises CopiesUnreachable, and ObjectStoreUnreachable when nobody answers.
        """
        asked = [digest for digest in dict.fromkeys(digests) if digest != EMPTY]
        if not asked:
            return []
        placement, settled = await self._group.ready(self._patience), self._group.view.settled
        owners = await self._shared(placement.by_owner, asked)
        answers = await self._ask(owners, lambda place, part: place.missing(zone, part))
        there, owed = set[Digest](), dict[int, list[Digest]]()
        for node, part in owners.items():
            lacking = answers.get(node)
            if lacking is not None:
                there.update(digest for digest in part if digest not in lacking)
                owed[node] = [digest for digest in part if digest in lacking]
        if not settled or len(answers) < len(owners):
            left = [digest for digest in asked if digest not in there]
            others = await self._shared(placement.by_other, left)
            more = await self._ask(others, lambda place, part: place.missing(zone, part))
            for node, lacking in more.items():
                there.update(digest for digest in others[node] if digest not in lacking)
            if not answers and not more:
                raise BlobUnreachable("no node that keeps blobs answers", retry_after=1.0)
        if settled:  # otherwise repair is on its way, and finds what is owed
            await self._debts.record(
                zone, {node: [digest for digest in part if digest in there] for node, part in owed.items()}
            )
        return [digest for digest in asked if digest not in there]

    async def _shared(
        self, share: Callable[[list[Digest]], dict[int, list[Digest]]], digests: list[Digest]
    ) -> dict[int, list[Digest]]:
        """Share digests out among nodes; many take long, and in a thread they hold up nobody."""
        return share(digests) if len(digests) <= _PAGE else await asyncio.to_thread(share, digests)

    async def _ask(
        self, share: Mapping[int, list[Digest]], question: Callable[[Place, list[Digest]], Awaitable[T]]
    ) -> dict[int, T]:
        """Return node -> answer of those that answer."""

        async def ask(node: int, part: list[Digest]) -> T | None:
            try:
                return await question(self._place(node), part)
            except ELSEWHERE:
                return None

        answers = await asyncio.gather(*(ask(node, part) for node, part in share.items()))
        return {node: answer for node, answer in zip(share, answers, strict=True) if answer is not None}

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`; a blob is condemned when all its copies are. Raises BlobUnreachable."""
        if digest == EMPTY:
            return await self._place(self._group.me).stat(zone, digest)
        places = await self._finding.places(digest)
        copies = self._group.view.placement.copies or 1
        errors: list[QuartetError] = []
        for some in (places[:copies], places[copies:]):
            infos = await asyncio.gather(*(place.stat(zone, digest) for place in some), return_exceptions=True)
            found = [info for info in infos if isinstance(info, BlobInfo)]
            if found:
                return reduce(_of_both, found)
            for info in infos:
                if isinstance(info, ELSEWHERE):
                    errors.append(info)
                elif isinstance(info, BaseException):
                    raise info
        refusal = self._finding.none(digest, errors)
        if isinstance(refusal, BlobUnreachable):
            raise refusal
        return None

    async def _everywhere(self, question: Callable[[Place], Awaitable[T]]) -> list[T]:
        """Return the answers of all places. Raises ObjectStoreUnreachable unless every one answers."""
        placement: Placement = await self._group.ready(self._patience)
        return list(await asyncio.gather(*(question(self._place(node)) for node in placement.stores)))

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """See `BlobStore.delete`: from every node, each of which must answer."""
        named = _named(digests)
        return len(set[Digest]().union(*await self._everywhere(lambda place: place.delete(zone, named))))

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """See `BlobStore.condemn`: a blob is condemned when every copy is; each node must answer."""
        named = _named(digests)

        async def one(place: Place) -> tuple[set[Digest], set[Digest]]:
            condemned = await place.condemn(zone, named, untouched_since)
            return condemned, set(await place.stat_many(zone, named)) - condemned

        answers = await self._everywhere(one)
        living = set[Digest]().union(*(alive for _, alive in answers))
        condemned = set[Digest]().union(*(done for done, _ in answers))
        return [digest for digest in named if digest in condemned and digest not in living]

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """See `BlobStore.sweep`: a blob is gone when no copy is left; each node must answer."""
        named = _named(digests)

        async def one(place: Place) -> tuple[set[Digest], set[Digest]]:
            gone = await place.sweep(zone, named, condemned_until)
            return gone, set(await place.stat_many(zone, named))

        answers = await self._everywhere(one)
        left = set[Digest]().union(*(there for _, there in answers))
        gone = set[Digest]().union(*(done for done, _ in answers))
        return [digest for digest in named if digest in gone and digest not in left]

    async def scan(self, zone: str, after: Digest | None, limit: int) -> Sequence[BlobInfo]:
        """See `BlobStore.scan`: each blob once, however many copies it has; each node must answer."""
        page_limit(limit)
        found: dict[Digest, BlobInfo] = {}
        for page in await self._everywhere(lambda place: place.scan(zone, after, limit)):
            for info in page:
                before = found.setdefault(info.digest, info)
                if before is not info:
                    found[info.digest] = _of_both(before, info)
        return [found[digest] for digest in sorted(found)[:limit]]

    async def zones(self) -> Sequence[str]:
        """See `BlobStore.zones`; each node must answer."""
        return sorted(set[str]().union(*await self._everywhere(lambda place: place.zones())))

    async def usage(self, zone: str | None) -> Usage:
        """See `BlobStore.usage`: blobs and their bytes once, and the bytes that all copies take. Lists everything."""
        blobs = logical = physical = 0
        for one in await self.zones() if zone is None else [zone]:
            after: Digest | None = None
            while page := await self._pages(one, after):
                infos: dict[Digest, int] = {}
                for info in page:
                    infos[info.digest] = infos.get(info.digest, 0) + info.stored
                after = max(infos)
                blobs, logical = blobs + len(infos), logical + sum(digest.size for digest in infos)
                physical += sum(infos.values())
        return Usage(blobs, logical, physical)

    async def _pages(self, zone: str, after: Digest | None) -> list[BlobInfo]:
        """Return every copy of the blobs of a stretch, none at the end."""
        pages = await self._everywhere(lambda place: place.scan(zone, after, _PAGE))
        full = [page[-1].digest for page in pages if len(page) == _PAGE]
        last = min(full, default=None)  # beyond it some node may have more to tell
        return [info for page in pages for info in page if last is None or info.digest <= last]


def _of_both(one: BlobInfo, other: BlobInfo) -> BlobInfo:
    """Return what two copies of a blob are together."""
    living = one.condemned is None or other.condemned is None
    condemned = None if living else max(one.condemned or 0.0, other.condemned or 0.0)
    return BlobInfo(one.digest, max(one.stored, other.stored), max(one.touched, other.touched), condemned)


def _named(digests: Iterable[Digest]) -> list[Digest]:
    return [digest for digest in dict.fromkeys(digests) if digest != EMPTY]
