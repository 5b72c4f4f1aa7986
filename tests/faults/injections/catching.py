"""A member that was away until the log it needs was trimmed: it has to take a snapshot."""

from __future__ import annotations

from faults.cluster import SNAPSHOT_ENTRIES
from faults.observer import reach
from faults.scene import Scene
from harness.http import get


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
        self._victim = -1
        self._installed = 0.0

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        leader, _ = await scene.observer.leader()
        [self._victim] = scene.cluster.choose(scene.dice, leader=leader)
        scene.cluster.strike(self._victim)
        told = await scene.observer.status(leader)
        behind = max(told.raftIndex if told else 0, 1)
        scene.load.hurried = True
        try:
            await scene.lasting(self._trimmed(scene, behind))
        finally:
            scene.load.hurried = False

    async def _trimmed(self, scene: Scene, behind: int) -> None:
        """Wait until every other member has trimmed its log twice, both times to behind where the victim stopped."""
        trims: dict[int, float] = {}

        async def done() -> bool | None:
            for member in scene.cluster.running():
                made = await number(scene, member, "raftmeta_raft_trims_total")
                index = await number(scene, member, "raftmeta_applied_index")
                if made < 0 or index < behind + SNAPSHOT_ENTRIES:
                    return None
                if made < trims.setdefault(member, made) + 2:
                    return None
            return True

        await reach("logs are trimmed", done)

    async def heal(self, scene: Scene) -> None:
        """See `Injection`; waits until the member has what the others have."""
        await scene.cluster.revive()
        if self._victim < 0:
            return
        await scene.observer.ready(self._victim)
        self._installed = await number(scene, self._victim, "raftmeta_raft_snapshots_installed_total")

    async def proof(self, scene: Scene) -> str:
        """How many snapshots it installed since it is back."""
        return f"{self._installed:.0f} snapshots installed" if self._installed > 0 else ""
