"""Processes that die, freeze, or are restarted one after the other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from faults.scene import Scene

Choice = Callable[[Scene, int], list[int]]
"""Draws the victims, given the leader's number."""


def one(scene: Scene, leader: int) -> list[int]:
    """Any member."""
    return scene.cluster.choose(scene.dice)


def the_leader(scene: Scene, leader: int) -> list[int]:
    """The leader."""
    return [leader]


def a_follower(scene: Scene, leader: int) -> list[int]:
    """Any member but the leader."""
    return scene.cluster.choose(scene.dice, leader=leader)


def a_majority(scene: Scene, leader: int) -> list[int]:
    """As many as it takes to leave no quorum."""
    return scene.cluster.choose(scene.dice, count=len(scene.cluster.running()) // 2 + 1)


def everyone(scene: Scene, leader: int) -> list[int]:
    """All members."""
    return scene.cluster.running()


class Kill:
    """kill -9, together; started again together after the dwell."""

    def __init__(self, choice: Choice) -> None:
        """Kill those that `choice` draws."""
        self._choice = choice
        self._victims: list[int] = []
        self._pids: list[int] = []
        self._exits = 0

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        leader, _ = await scene.observer.leader()
        victims = self._choice(scene, leader)
        self._pids = [scene.cluster.pid(victim) for victim in victims]
        self._exits = len(scene.cluster.exits)
        self._victims = victims
        scene.cluster.strike(*victims)
        await asyncio.sleep(scene.dwell)

    async def heal(self, scene: Scene) -> None:
        """See `Injection`."""
        await scene.cluster.revive()

    async def proof(self, scene: Scene) -> str:
        """Every victim ended by the signal and is another process now."""
        ended = scene.cluster.exits[self._exits :]
        now = [scene.cluster.pid(victim) for victim in self._victims]
        killed = all((victim, -signal.SIGKILL) in ended for victim in self._victims)
        if (
            not self._victims
            or not killed
            or not all(new not in (0, old) for new, old in zip(now, self._pids, strict=True))
        ):
            return ""
        return f"pids {self._pids} became {now}"


class Pause:
    """SIGSTOP for longer than an election takes, then SIGCONT: a member that does not know how late it is."""

    def __init__(self, choice: Choice) -> None:
        """Freeze those that `choice` draws."""
        self._choice = choice
        self._victims: list[int] = []
        self._frozen = False
        self._terms = (0, 0)
        self._deposed = False

    async def inject(self, scene: Scene) -> None:
        """Freeze; when the leader is frozen, until the others have another one."""
        leader, term = await scene.observer.leader()
        self._victims = self._choice(scene, leader)
        scene.cluster.freeze(*self._victims)
        others = [member for member in scene.cluster.running() if member not in self._victims]
        if leader in self._victims:
            self._deposed = True

            async def succeeded() -> None:
                _, later = await scene.observer.leader(among=others, above=term)
                self._terms = (term, later)

            await scene.lasting(succeeded())
        else:
            await asyncio.sleep(max(scene.dwell, 1.0))
        self._frozen = all(scene.cluster.frozen(victim) for victim in self._victims)

    async def heal(self, scene: Scene) -> None:
        """See `Injection`."""
        scene.cluster.thaw(*self._victims)

    async def proof(self, scene: Scene) -> str:
        """They were stopped to the end, and a frozen leader had a successor."""
        if not self._victims or not self._frozen or (self._deposed and self._terms[1] <= self._terms[0]):
            return ""
        names = [scene.cluster.names[victim] for victim in self._victims]
        return f"{names} stopped, terms {self._terms}" if self._deposed else f"{names} stopped"


class RollingRestart:
    """SIGTERM, start, ready: one member after the other, in a random order."""

    def __init__(self) -> None:
        """Nothing is restarted yet."""
        self._before: list[int] = []
        self._order: list[int] = []
        self._statuses: list[int] = []

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        self._order = scene.cluster.choose(scene.dice, count=len(scene.cluster.running()))
        self._before = [scene.cluster.pid(member) for member in self._order]
        for member in self._order:
            self._statuses.append(await scene.cluster.down(member))
            await scene.cluster.up(member)
            await scene.observer.ready(member)

    async def heal(self, scene: Scene) -> None:
        """See `Injection`."""
        await scene.cluster.revive()

    async def proof(self, scene: Scene) -> str:
        """Every member ended in order and is another process now."""
        now = [scene.cluster.pid(member) for member in self._order]
        changed = all(new not in (0, old) for new, old in zip(now, self._before, strict=True))
        if not self._order or not changed or any(self._statuses):
            return ""
        return f"pids {self._before} became {now}, exit statuses {self._statuses}"
