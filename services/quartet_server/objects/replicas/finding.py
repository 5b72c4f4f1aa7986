"""Reading: from this node's disk or another's, whoever has the blob, checked against its digest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from quartet_server.errors import BlobCorrupt, BlobNotFound, BlobUnreachable, CopiesUnreachable, QuartetError
from quartet_server.objects.arguments import absent, bounded, span
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.replicas.group import Group
from quartet_server.objects.replicas.place import Place
from quartet_server.objects.replicas.spreading import ELSEWHERE

SMALL = 2 << 20
"""Bytes up to which a blob is read in one call."""
_NOT_HERE = (*ELSEWHERE, BlobNotFound, BlobCorrupt)


class Finding:
    """Finds blobs, wherever in the cluster they are."""

    def __init__(self, group: Group, place: Callable[[int], Place], patience: float) -> None:
        """Look in the `place` of each node; wait `patience` seconds for a placement."""
        self._group = group
        self._place = place
        self._patience = patience

    async def places(self, digest: Digest) -> list[Place]:
        """Return the places in the order in which to look: owners first, this node's first of all; the doubtful last.

        Before the nodes have agreed on a placement that is this node's alone.
        """
        return (await self._places([digest]))[digest]

    async def _places(self, digests: Sequence[Digest]) -> dict[Digest, list[Place]]:
        try:
            placement = await self._group.ready(self._patience)
        except CopiesUnreachable:
            return {digest: [self._place(self._group.me)] for digest in digests}
        me, alive = self._group.me, self._group.view.alive
        places = {node: self._place(node) for node in (*placement.stores, me)}
        bad = {node for node, place in places.items() if node != me and (node not in alive or not place.usable)}

        def ranked(digest: Digest) -> list[Place]:
            order = placement.order(digest)
            owners = order[: placement.copies]
            if me not in order:
                order.append(me)
            order.sort(key=lambda node: (node in bad, node not in owners, node != me))  # else as rendezvous says
            return [places[node] for node in order]

        return {digest: ranked(digest) for digest in digests}

    def none(self, digest: Digest, errors: Sequence[QuartetError]) -> QuartetError:
        """Return what to say of a blob that no place has given: `errors` are theirs."""
        corrupt = next((error for error in errors if isinstance(error, BlobCorrupt)), None)
        if unreachable := [error for error in errors if isinstance(error, ELSEWHERE)]:
            return self._unreachable(digest, unreachable[0].message)
        if not self._group.view.placement.number:
            return self._unreachable(digest, "the nodes have not agreed yet on who keeps blobs")
        strangers = self._strangers()
        if strangers:  # a node that is gone for long may still have what nobody else has
            return corrupt or self._unreachable(digest, f"{strangers[0]} does not take part")
        return corrupt or absent(digest)

    def _strangers(self) -> list[str]:
        """Return names of members that have a store but get no share: they have been gone for long."""
        view, members = self._group.view, self._group.members
        return [members[node].name for node in view.stores if node in members
                and node not in view.placement.stores]  # fmt: skip

    def _unreachable(self, digest: Digest, why: str) -> BlobUnreachable:
        return BlobUnreachable(f"no node that answers has {digest}: {why}", retry_after=1.0, digest=str(digest))

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`. Raises BlobUnreachable too."""
        if digest == EMPTY:
            return b""
        if digest.size > SMALL:
            return b"".join([piece async for piece in self.read(zone, digest, 0, None, None)])
        errors: list[QuartetError] = []
        for place in await self.places(digest):
            try:
                return await place.get(zone, digest)
            except _NOT_HERE as error:
                errors.append(error)
        raise self.none(digest, errors)

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`. BlobUnreachable is among the answers."""
        wanted = bounded(digests, limit)
        found: dict[Digest, bytes | QuartetError] = {}
        errors: dict[Digest, list[QuartetError]] = {digest: [] for digest in wanted}
        left = await self._places([digest for digest in wanted if digest != EMPTY])
        found |= {digest: b"" for digest in wanted if digest == EMPTY}
        while left:
            share: dict[int, list[Digest]] = {}
            for digest, places in list(left.items()):
                if places:
                    share.setdefault(places.pop(0).node, []).append(digest)
                else:
                    del left[digest]
                    found[digest] = self.none(digest, errors[digest])

            async def ask(node: int, asked: Sequence[Digest]) -> Mapping[Digest, bytes | QuartetError]:
                try:
                    return await self._place(node).get_many(zone, asked)
                except ELSEWHERE as error:
                    return dict.fromkeys(asked, error)

            for answers in await asyncio.gather(*(ask(node, asked) for node, asked in share.items())):
                for digest, answer in answers.items():
                    if isinstance(answer, QuartetError):
                        errors[digest].append(answer)
                    else:
                        found[digest] = answer
                        del left[digest]
        return found

    async def read(
        self, zone: str, digest: Digest, offset: int, length: int | None, verify: bool | None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`: goes on with another node where one fails. Raises BlobUnreachable too."""
        first, end = span(digest, offset, length)
        if digest == EMPTY:
            return
        errors: list[QuartetError] = []
        whole = (first, end) == (0, digest.size)
        check = hashlib.sha256() if whole and verify is not False else None
        at, held = first, b""
        for place in await self.places(digest):
            direct = place.node == self._group.me and at == first  # a disk checks what it reads whole itself
            try:
                if first == end:
                    if await place.stat(zone, digest) is None:
                        raise absent(digest)
                    return
                async with aclosing(place.read(zone, digest, at, end - at, verify)) as pieces:
                    async for piece in pieces:
                        at += len(piece)
                        if direct:
                            yield piece
                            continue
                        if held:
                            yield held
                        held = piece
                        if check is not None:
                            await asyncio.to_thread(check.update, piece)
                if at != end:
                    raise BlobCorrupt(f"{at - first} bytes came instead of {end - first}", digest=str(digest))
            except _NOT_HERE as error:
                if at > first and (direct or isinstance(error, BlobCorrupt)):
                    raise  # what was handed out cannot be taken back
                errors.append(error)
                continue
            if not direct:
                if check is not None and check.digest() != digest.hash:
                    raise BlobCorrupt(f"the node sent other bytes than those of {digest}", digest=str(digest))
                yield held
            return
        raise self.none(digest, errors)
