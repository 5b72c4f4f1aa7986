"""Links that are cut, slow, lossy, out of order, or broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from faults.links import Counts, Pair, Rule
from faults.scene import Scene

Weather = Callable[[Scene], Rule]
"""Draws a rule."""


class Disturbance:
    """A rule on some links, until frames were seen to suffer from it."""

    def __init__(self, rule: Weather, where: Callable[[Scene, int], list[list[Pair]]], *suffering: str) -> None:
        """Put `rule` on the links that `where` draws, in groups of which each must suffer in one of these counts."""
        self._rule = rule
        self._where = where
        self._suffering = suffering
        self._groups: list[list[Pair]] = []
        self._before: list[int] = []

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        leader, _ = await scene.observer.leader()
        network = scene.cluster.network
        groups = self._where(scene, leader)
        self._before = [self._count(scene, group) for group in groups]
        self._groups = groups
        network.set(self._rule(scene), *(pair for group in groups for pair in group))
        await scene.lasting(scene.until("frames suffer", lambda: all(self._suffered(scene))))

    async def heal(self, scene: Scene) -> None:
        """See `Injection`."""
        scene.cluster.network.heal()

    async def proof(self, scene: Scene) -> str:
        """How many frames suffered in each group."""
        suffered = self._suffered(scene)
        return f"frames {'/'.join(self._suffering)}: {suffered}" if suffered and all(suffered) else ""

    def _count(self, scene: Scene, group: list[Pair]) -> int:
        counts: list[Counts] = [scene.cluster.network.link(*pair).counts for pair in group]
        return sum(asdict(one)[name] for one in counts for name in self._suffering)

    def _suffered(self, scene: Scene) -> list[int]:
        return [self._count(scene, group) - was for group, was in zip(self._groups, self._before, strict=True)]


def cut_or_hold(scene: Scene) -> Rule:
    """Frames vanish, or come late and stale when the cut is healed."""
    return Rule(cut=True) if scene.dice.random() < 0.6 else Rule(hold=True)


def mute_or_deaf(scene: Scene, leader: int) -> list[list[Pair]]:
    """Every link from some member, or every link to it; often the leader."""
    members = scene.cluster.running()
    victim = leader if scene.dice.random() < 0.5 else scene.dice.choice(members)
    if scene.dice.random() < 0.5:
        return [scene.cluster.pairs([victim], members)]
    return [scene.cluster.pairs(members, [victim])]


def around_a_minority(scene: Scene, leader: int) -> list[list[Pair]]:
    """Every link between a minority and the rest: one group out, one in."""
    few = scene.minority(leader)
    rest = [member for member in scene.cluster.running() if member not in few]
    return [scene.cluster.pairs(few, rest) + scene.cluster.pairs(rest, few)]


def everywhere(scene: Scene, leader: int) -> list[list[Pair]]:
    """Every link."""
    members = scene.cluster.running()
    return [scene.cluster.pairs(members, members)]


def slow(scene: Scene) -> Rule:
    """Every frame takes its time: less than a heartbeat or more than an election timeout."""
    return Rule(delay=scene.dice.choice([0.01, 0.04, 0.12, 0.5]))


def lossy(scene: Scene) -> Rule:
    """Some frames vanish."""
    return Rule(loss=scene.dice.choice([0.02, 0.1, 0.3]))


def shuffled(scene: Scene) -> Rule:
    """Frames overtake each other."""
    return Rule(jitter=scene.dice.choice([0.02, 0.1]))


WEATHER = {"slow": Rule(delay=0.02), "lossy": Rule(loss=0.03), "shuffled": Rule(jitter=0.02)}
"""What the network may be like while something else happens."""


class Resets:
    """Connections between members that break, several times."""

    def __init__(self) -> None:
        """Nothing is broken yet."""
        self._broken = 0

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        network, members = scene.cluster.network, scene.cluster.running()
        pairs = scene.cluster.pairs(members, members)

        def more() -> bool:
            self._broken += network.reset(*scene.dice.sample(pairs, max(1, len(pairs) // 2)))
            return self._broken > 2 * len(pairs)

        await scene.lasting(scene.until("connections break", more))

    async def heal(self, scene: Scene) -> None:
        """Nothing to do: members connect again by themselves."""

    async def proof(self, scene: Scene) -> str:
        """How many broke."""
        return f"{self._broken} connections broken" if self._broken else ""
