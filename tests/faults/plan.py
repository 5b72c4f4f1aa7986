"""The plan of a run: which faults, when, how long, on which cluster. A pure function of seed and duration."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

SIZES = (1, 3, 5)
OVERHEAD = 9.0
"""Seconds of a phase that are not load: the start of its cluster, its end, its checks."""
_PHASE = 300.0
"""Seconds a round over all sizes should take at most, so that histories stay short enough to be searched."""
CLEAR = "clear"
WEATHER = (CLEAR, CLEAR, CLEAR, "slow", "lossy", "shuffled")
WEATHER_UNDER_TLS = (CLEAR, CLEAR, CLEAR, "slow")
SECURE = 3
"""Size of the cluster that speaks TLS, once in a run."""
_SHARE = {1: 0.16, 3: 0.48, 5: 0.36}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault as the plan sees it.

    Attributes:
        name: What it is called in the report.
        sizes: Sizes of cluster on which it can happen.
        dwell: Shortest and longest time it lasts, in seconds.
        recovery: Seconds it takes beside, on a machine at rest.
        weather: Whether the network may be bad meanwhile.
        plain: Whether it is possible where members speak plaintext.
        secure: Whether it is possible where they speak TLS.
    """

    name: str
    sizes: frozenset[int]
    dwell: tuple[float, float]
    recovery: float
    weather: bool = True
    plain: bool = True
    secure: bool = True

    def fits(self, size: int, secure: bool) -> bool:
        """Whether it can happen on a cluster of some size, under TLS or not."""
        return size in self.sizes and (self.secure if secure else self.plain)


Drawn = tuple[Kind, bool]
"""A kind and whether it is spare."""
Place = tuple[int, bool]
"""What a phase is like: its size, and whether it speaks TLS."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault of a phase.

    Attributes:
        kind: Its kind.
        at: When it begins at the earliest, in seconds of the phase's load.
        dwell: How long it lasts at least, in seconds.
        seed: Of whatever it draws.
        weather: What the network between all members is like meanwhile: one of `WEATHER`.
        spare: It is left out when the machine is so slow that the phase is late; any other happens however late it is.
    """

    kind: str
    at: float
    dwell: float
    seed: int
    weather: str = CLEAR
    spare: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """One cluster's life: its size, how many seconds of load, the faults in their order, and whether its ports speak TLS."""

    size: int
    seconds: float
    steps: tuple[Step, ...]
    secure: bool = False


def plan(
    seed: int, duration: float, catalogue: Mapping[str, Kind], sizes: Collection[int] = SIZES
) -> tuple[Phase, ...]:
    """Plan a run of about `duration` seconds, start and checks of its clusters included.

    Every kind that can happen on one of `sizes` happens once at least in five minutes, or in all when there is time for
    it; with less time a part of them does, by seed. What is left is filled with spare ones. Where several clusters have
    several members, the first of three speaks TLS. Raises ValueError when `sizes` or `catalogue` leave nothing to do.
    """
    dice = random.Random(f"plan {seed} {duration}")
    rounds = max(1, round(duration / _PHASE))
    order = [size for _ in range(rounds) for size in dice.sample(sorted(sizes), len(sizes))]
    load = max(duration - OVERHEAD * len(order), 2.0 * len(order))
    whole = sum(_SHARE.get(size, 1.0) for size in order)
    seconds = [load * _SHARE.get(size, 1.0) / whole for size in order]
    secure = [False] * len(order)
    if SECURE in order and sum(size > 1 for size in order) > 1:
        secure[order.index(SECURE)] = True
    places = list(zip(order, secure, strict=True))
    drawn = _draw(dice, catalogue, places, seconds, rounds)
    return tuple(
        Phase(size, length, _timed(dice, kinds, (size, tls), length), tls)
        for (size, tls), length, kinds in zip(places, seconds, drawn, strict=True)
    )


def planned(phases: Sequence[Phase]) -> dict[str, int]:
    """How many faults of each kind must happen."""
    return dict(sorted(Counter(step.kind for phase in phases for step in phase.steps if not step.spare).items()))


def _draw(
    dice: random.Random, catalogue: Mapping[str, Kind], places: list[Place], seconds: list[float], rounds: int
) -> list[list[Drawn]]:
    """Kinds for every phase: first each kind once a round, where most time is left, then more of any as spare ones."""
    left = list(seconds)
    drawn: list[list[Drawn]] = [[] for _ in places]

    def choice(kind: Kind) -> int:
        return len({place for place in places if kind.fits(*place)})

    def place(kind: Kind, spare: bool) -> bool:
        cost = kind.dwell[0] + kind.recovery + (spare and (kind.dwell[1] - kind.dwell[0]) / 2)
        fitting = [
            phase
            for phase, where in enumerate(places)
            if kind.fits(*where) and left[phase] >= cost - (not drawn[phase])
        ]
        if not fitting:
            return False
        best = max(fitting, key=lambda phase: left[phase])
        drawn[best].append((kind, spare))
        left[best] -= cost
        return True

    possible = [kind for _, kind in sorted(catalogue.items()) if choice(kind)]
    if not possible:
        raise ValueError("no kind of fault is possible on these sizes")
    enough = sum(seconds) >= rounds * sum(kind.dwell[0] + kind.recovery for kind in possible)
    for _ in range(rounds):
        shuffled = dice.sample(possible, len(possible))
        # where there is time for all, those that fit one place only come first, or others would have taken its time
        for kind in sorted(shuffled, key=choice) if enough else shuffled:
            place(kind, False)
    while any(place(kind, True) for kind in dice.sample(possible, len(possible))):
        pass
    for phase, kinds in enumerate(drawn):
        if not kinds:
            kinds.append((dice.choice([kind for kind in possible if kind.fits(*places[phase])]), False))
        dice.shuffle(kinds)
    return drawn


def _timed(dice: random.Random, kinds: list[Drawn], where: Place, seconds: float) -> tuple[Step, ...]:
    """Put the kinds in a row; what time is left over makes them last longer."""
    least = sum(kind.dwell[0] + kind.recovery for kind, _ in kinds)
    rest = max(0.0, seconds - least)
    room = sum(kind.dwell[1] - kind.dwell[0] for kind, _ in kinds) or 1.0
    at, steps = 0.0, []
    for kind, spare in kinds:
        shortest, longest = kind.dwell
        dwell = shortest + (longest - shortest) * min(1.0, rest / room) * dice.random()
        size, secure = where
        weather = dice.choice(WEATHER_UNDER_TLS if secure else WEATHER) if kind.weather and size > 1 else CLEAR
        steps.append(Step(kind.name, round(at, 2), round(dwell, 2), dice.getrandbits(48), weather, spare))
        at += dwell + kind.recovery + max(0.0, rest - room) / len(kinds)
    return tuple(steps)
