"""Members added, promoted, removed and replaced while clients go on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

import grpc
from faults.observer import reach
from faults.scene import Scene

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs

_CALL = 15.0


async def add_learner(scene: Scene) -> int:
    """Add a learner with an empty directory and start it; returns its number. Raises NotReached, TimeoutError."""
    cluster, observer = scene.cluster, scene.observer
    member = await cluster.enlist()
    front = cluster.fronts[member]

    async def added() -> bool | None:
        if front in await observer.members():
            return True
        request = pb.MemberAddRequest(peerURLs=[f"http://{front}"], isLearner=True)
        leader, _ = await observer.leader()
        with contextlib.suppress(grpc.RpcError):  # the list tells whether it was done
            await stubs.ClusterStub(observer.channel(leader)).MemberAdd(request, timeout=_CALL)
        return None

    await reach("a learner is added", added)
    await cluster.up(member)
    return member


async def promote(scene: Scene, member: int) -> None:
    """Give a learner its vote once it has caught up. Raises NotReached."""
    observer, front = scene.observer, scene.cluster.fronts[member]

    async def promoted() -> bool | None:
        known = (await observer.members())[front]
        if not known.isLearner:
            return True
        leader, _ = await observer.leader()
        with contextlib.suppress(grpc.RpcError):
            await stubs.ClusterStub(observer.channel(leader)).MemberPromote(
                pb.MemberPromoteRequest(ID=known.ID), timeout=_CALL
            )
        return None

    await reach("the learner is promoted", promoted)


async def remove(scene: Scene, member: int) -> None:
    """Remove a member, running or not, and end its process. Raises NotReached."""
    cluster, observer, front = scene.cluster, scene.observer, scene.cluster.fronts[member]

    async def removed() -> bool | None:
        known = (await observer.members()).get(front)
        if known is None:
            return True
        asked = [other for other in cluster.running() if other != member]
        with contextlib.suppress(grpc.RpcError):
            await stubs.ClusterStub(observer.channel(scene.dice.choice(asked))).MemberRemove(
                pb.MemberRemoveRequest(ID=known.ID), timeout=_CALL
            )
        return None

    await reach(f"{cluster.names[member]} is removed", removed)
    cluster.gone.add(member)
    if cluster.processes[member] is not None:
        await asyncio.sleep(scene.dice.uniform(0.0, 1.0))  # it may go on for a while, and must do no harm
        cluster.strike(member)


class Grow:
    """A learner is added, catches up, is promoted; then a member of before is removed, perhaps the leader."""

    def __init__(self) -> None:
        """Nothing has changed yet."""
        self._added = -1
        self._removed = -1

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        old = scene.cluster.running()
        self._added = await add_learner(scene)
        await promote(scene, self._added)
        await asyncio.sleep(scene.dwell)
        victim = scene.dice.choice(old)
        await remove(scene, victim)
        self._removed = victim

    async def heal(self, scene: Scene) -> None:
        """Nothing to do: the cluster has its size again."""

    async def proof(self, scene: Scene) -> str:
        """The membership has the one as a voter and not the other."""
        if self._added < 0 or self._removed < 0:
            return ""
        fronts, names, known = scene.cluster.fronts, scene.cluster.names, await scene.observer.members()
        told = known.get(fronts[self._added])
        if told is None or told.isLearner or fronts[self._removed] in known:
            return ""
        return f"{names[self._added]} came, {names[self._removed]} went"


class Replace:
    """A member loses its machine: killed, directory gone; it is removed, and a new one is added, started, promoted."""

    def __init__(self) -> None:
        """Nothing has changed yet."""
        self._lost = self._new = -1

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        self._lost = scene.cluster.choose(scene.dice)[0]
        scene.cluster.strike(self._lost)
        shutil.rmtree(scene.cluster.data_dir(self._lost))
        await asyncio.sleep(scene.dwell)
        self._new = await substitute(scene, self._lost)

    async def heal(self, scene: Scene) -> None:
        """Nothing to do."""

    async def proof(self, scene: Scene) -> str:
        """The membership has the new one and not the old."""
        if self._new < 0:
            return ""
        fronts, known = scene.cluster.fronts, await scene.observer.members()
        told = known.get(fronts[self._new])
        if told is None or told.isLearner or fronts[self._lost] in known:
            return ""
        return f"{scene.cluster.names[self._lost]} lost, {scene.cluster.names[self._new]} in its place"


async def substitute(scene: Scene, lost: int) -> int:
    """Remove a member that does not run and put a new one in its place; returns its number."""
    await remove(scene, lost)
    new = await add_learner(scene)
    await promote(scene, new)
    return new
