"""The trash by age: what has been there long enough is given up, on whichever node looks first."""

from __future__ import annotations

from quartet_server.files import trash
from quartet_server.files.tree import Tree
from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import Snapshot
from quartet_server.rpc import DEFAULT_ZONE

_PAGE = 500


class Expiry:
    """Empties the trash of all zones of what was deleted longer ago than it is kept.

    The time of a deletion is that of the node that carried it out, and is held against this node's clock: clocks that
    differ by seconds matter little to what is kept for days.
    """

    def __init__(self, tree: Tree, seconds: float) -> None:
        """Keep what is deleted for `seconds`."""
        self._tree = tree
        self._micros = round(seconds * 1_000_000)

    async def sweep(self) -> int:
        """Hand to the reclaimer what is too old; return how many items. Raises MetastoreError."""
        oldest = self._tree.now().ToMicroseconds() - self._micros
        return sum([await trash.expire(self._tree, zone, oldest) for zone in await self._zones()])

    async def _zones(self) -> list[str]:
        snapshot = Snapshot(self._tree.store)
        found = [DEFAULT_ZONE]
        start, more = system.ZONES, True
        while more:
            page = await snapshot.scan(start, ops.prefix_end(system.ZONES), _PAGE, keys_only=True)
            for kv in page.kvs:
                found.append(kv.key[len(system.ZONES) :].decode())
                start = kv.key + b"\0"
            more = page.more
        return list(dict.fromkeys(found))
