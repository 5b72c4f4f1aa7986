"""A member that was away until the log it needs was trimmed: it has to take a snapshot."""

from __future__ import annotations

from faults.cluster import SNAPSHOT_ENTRIES
from faults.observer import reach
from faults.scene import Scene
from harness.http import get

_ATTEMPTS = 5


async def number(scene: Scene, member: int, name: str) -> float:
    """A metric of a member; -1 when it does not answer."""
    try:
        _, body = await get(scene.cluster.http[member], "/metrics")
    except OSError:
        return -1.0
    for line in body.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise LookupError(name)


class Away:
    """A follower is killed, the others write on and trim their logs, it comes back and is sent a snapshot."""

    def __init__(self) -> None:
        """Nobody is away yet."""
        self._installed = 0.0

    async def inject(self, scene: Scene) -> None:
        """See `Injection`; it is away again, and longer, when what it needed was still there."""
        for times in range(1, _ATTEMPTS + 1):
            await self._away(scene, times * SNAPSHOT_ENTRIES)
            if self._installed:
                return

    async def _away(self, scene: Scene, margin: int) -> None:
        cluster = scene.cluster
        leader, _ = await scene.observer.leader()
        [victim] = cluster.choose(scene.dice, leader=leader)
        behind = await number(scene, leader, "raftmeta_last_index")
        cluster.strike(victim)
        scene.load.hurried = True
        try:
            await scene.lasting(_trimmed(scene, behind + margin))
        finally:
            scene.load.hurried = False
        await cluster.up(victim)
        await scene.observer.ready(victim)
        self._installed = await number(scene, victim, "raftmeta_raft_snapshots_installed_total")

    async def heal(self, scene: Scene) -> None:
        """See `Injection`."""
        await scene.cluster.revive()

    async def proof(self, scene: Scene) -> str:
        """How many snapshots it installed since it is back."""
        return f"{self._installed:.0f} snapshots installed" if self._installed > 0 else ""


async def _trimmed(scene: Scene, index: float) -> None:
    """Wait until every running member has applied `index`, and has twice trimmed its log after that."""
    trims: dict[int, float] = {}

    async def done() -> bool | None:
        for member in scene.cluster.running():
            made = await number(scene, member, "raftmeta_raft_trims_total")
            applied = await number(scene, member, "raftmeta_applied_index")
            if made < 0 or applied < index or made < trims.setdefault(member, made) + 2:
                return None
        return True

    await reach("logs are trimmed", done)
