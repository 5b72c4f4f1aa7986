"""Disks that crawl, fail, fill up or lose their power, and clocks that jump, by the layer below every process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable

import grpc
from faults.disk.layer import DiskLayer
from faults.injections.processes import Choice, everyone
from faults.observer import reach
from faults.scene import Scene

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs

Trouble = Callable[[Scene, DiskLayer], None]
"""Sets a fault in a layer."""


def some(scene: Scene, leader: int) -> list[int]:
    """The leader, another member, or all."""
    draw = scene.dice.random()
    if draw < 0.2:
        return scene.cluster.running()
    return [leader] if draw < 0.6 else scene.cluster.choose(scene.dice)


def crawl(scene: Scene, layer: DiskLayer) -> None:
    """Syncs that take as long as a heartbeat, or longer than an election."""
    layer.slow_sync(scene.dice.choice([0.05, 0.2, 1.0]))


def fill(scene: Scene, layer: DiskLayer) -> None:
    """Some room is left, or none."""
    layer.full(scene.dice.choice([0, 5_000, 100_000]))


def jump(scene: Scene, layer: DiskLayer) -> None:
    """Seconds, an hour or a year, in either direction."""
    layer.clock_jump(scene.dice.choice([-1, 1]) * scene.dice.choice([3.0, 3_600.0, 31_536_000.0]))


class DiskTrouble:
    """A fault of the layers below some members, until one of them was seen to suffer from it."""

    def __init__(self, choice: Choice, trouble: Trouble, count: str) -> None:
        """Trouble those that `choice` draws; `count` is the number that shows it."""
        self._choice = choice
        self._trouble = trouble
        self._count = count
        self._before: dict[int, int] = {}

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        leader, _ = await scene.observer.leader()
        disks = scene.cluster.disks
        for victim in self._choice(scene, leader):
            self._before[victim] = disks[victim].counts()[self._count]
            self._trouble(scene, disks[victim])
        await scene.lasting(self.suffering(scene))

    async def suffering(self, scene: Scene) -> None:
        """Wait until the fault is felt. Raises NotReached."""
        await scene.until(f"{self._count} is counted", lambda: any(self.suffered(scene)))

    @property
    def victims(self) -> list[int]:
        """Numbers of the members that are troubled."""
        return list(self._before)

    async def heal(self, scene: Scene) -> None:
        """See `Injection`; a member that gave up meanwhile is started."""
        for victim in self._before:
            scene.cluster.disks[victim].heal()
        await scene.cluster.revive()

    async def proof(self, scene: Scene) -> str:
        """How often each victim suffered."""
        suffered = self.suffered(scene)
        return f"{self._count}: {suffered}" if any(suffered) else ""

    def suffered(self, scene: Scene) -> list[int]:
        """How often each victim felt it."""
        disks = scene.cluster.disks
        return [disks[victim].counts()[self._count] - was for victim, was in self._before.items()]


class ClockJump(DiskTrouble):
    """Wall clocks jump; members are made to look at them by the one request for which they do."""

    def __init__(self) -> None:
        """No clock has jumped yet."""
        super().__init__(some, jump, "clock_reads_shifted")

    async def suffering(self, scene: Scene) -> None:
        """Add, as a member, who is one: that is refused, under an id which is made of the time."""
        for victim in self.victims:
            request = pb.MemberAddRequest(peerURLs=[f"http://{scene.cluster.fronts[victim]}"])

            async def looked(victim: int = victim, request: pb.MemberAddRequest = request) -> bool | None:
                with contextlib.suppress(grpc.RpcError):
                    await stubs.ClusterStub(scene.observer.channel(victim)).MemberAdd(request, timeout=5)
                return self.suffered(scene)[self.victims.index(victim)] > 0 or None

            await reach("the clock is looked at", looked)


class FailedSync:
    """A sync fails with EIO: the member must stop by itself, since it cannot know what its disk holds."""

    def __init__(self) -> None:
        """Nothing has failed yet."""
        self._victim = -1
        self._failed = 0
        self._status = 0

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        cluster = scene.cluster
        leader, _ = await scene.observer.leader()
        self._victim = leader if scene.dice.random() < 0.5 else cluster.choose(scene.dice)[0]
        layer, process = cluster.disks[self._victim], cluster.processes[self._victim]
        assert process is not None
        before = layer.counts()["syncs_failed"]
        layer.fail_sync(errno.EIO)
        await scene.until("the member ends", lambda: process.poll() is not None)
        cluster.kill(self._victim)
        self._status = cluster.exits[-1][1]
        self._failed = layer.counts()["syncs_failed"] - before
        await asyncio.sleep(scene.dwell)

    async def heal(self, scene: Scene) -> None:
        """See `Injection`."""
        if self._victim >= 0:
            scene.cluster.disks[self._victim].heal()
        await scene.cluster.revive()

    async def proof(self, scene: Scene) -> str:
        """Syncs failed and the process ended with an error."""
        return f"{self._failed} syncs failed, exit status {self._status}" if self._failed and self._status > 0 else ""


class PowerLoss:
    """All machines lose their power at once: every process is gone, and with it all that was not synced."""

    def __init__(self) -> None:
        """The power is on."""
        self._pids: list[int] = []
        self._victims: list[int] = []
        self._lost = False

    async def inject(self, scene: Scene) -> None:
        """See `Injection`; often while disks are slow, so that much is on its way."""
        cluster = scene.cluster
        leader, _ = await scene.observer.leader()
        victims = everyone(scene, leader)
        for victim in victims:
            cluster.disks[victim].slow_sync(scene.dice.choice([0.0, 0.03, 0.3]))
        await asyncio.sleep(scene.dwell)
        self._pids = [cluster.pid(victim) for victim in victims]
        self._victims = victims
        cluster.strike(*victims)
        for victim in victims:
            seed = scene.dice.choice([None, scene.dice.getrandbits(32)])
            await asyncio.to_thread(cluster.disks[victim].lose_power, seed)
        self._lost = True

    async def heal(self, scene: Scene) -> None:
        """See `Injection`."""
        for victim in scene.cluster.members:
            scene.cluster.disks[victim].heal()
        await scene.cluster.revive()

    async def proof(self, scene: Scene) -> str:
        """Every directory went back to what its disk held, under processes that are new."""
        now = [scene.cluster.pid(victim) for victim in self._victims]
        renewed = all(new not in (0, old) for new, old in zip(now, self._pids, strict=True))
        return f"pids {self._pids} became {now}" if self._lost and self._victims and renewed else ""
