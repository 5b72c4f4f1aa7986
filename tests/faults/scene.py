"""What an injection works on, and what every injection is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from faults.cluster import Cluster
from faults.observer import Observer, reach


class Load(Protocol):
    """The workload as an injection sees it."""

    hurried: bool
    """Whether clients make no pauses between operations: for faults that need many entries."""

    async def put(self, key: bytes, value: bytes) -> None:
        """Write a key that no client uses. Raises NotReached."""


@dataclass(slots=True)
class Scene:
    """A running cluster under load, and the draws of one step.

    Attributes:
        cluster: The processes.
        observer: Asks them.
        load: The clients.
        dice: Everything this step leaves to chance.
        dwell: Seconds the fault should last.
    """

    cluster: Cluster
    observer: Observer
    load: Load
    dice: random.Random
    dwell: float

    async def until(self, what: str, true: Callable[[], bool]) -> None:
        """Wait until something seen from here is true. Raises NotReached."""

        async def ask() -> bool | None:
            return true() or None

        await reach(what, ask)

    async def lasting(self, proof: Awaitable[object]) -> None:
        """Wait for the dwell to pass and for the proof to come, whichever takes longer."""
        await asyncio.gather(asyncio.sleep(self.dwell), proof)

    def minority(self, leader: int) -> list[int]:
        """Draw a number of members that is less than half, the leader among them or not."""
        members = self.cluster.running()
        most = (len(members) - 1) // 2
        drawn = self.dice.sample(members, self.dice.randint(1, most))
        if self.dice.random() < 0.5 and leader not in drawn:
            drawn[0] = leader
        return drawn


class Injection(Protocol):
    """One fault, once: `inject`, `heal` and `proof` are called in this order, each once, on the same object.

    `inject` returns when the fault is in force and has lasted; `heal` when it is lifted and what it stopped runs again.
    Both may raise NotReached or what the system calls raise. `heal` is called also when `inject` raised, and must then
    bring back whatever it can.
    """

    async def inject(self, scene: Scene) -> None:
        """Do the damage."""

    async def heal(self, scene: Scene) -> None:
        """Undo it."""

    async def proof(self, scene: Scene) -> str:
        """What shows that it really happened; empty when nothing does."""
