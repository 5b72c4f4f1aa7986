"""One phase of a run: a cluster of its own, load, faults one after the other, then quiet and the last checks."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from faults.catalogue import MAKERS, Maker
from faults.cluster import Cluster
from faults.history import History
from faults.injections.network import WEATHER
from faults.observer import NotReached, Observer
from faults.plan import CLEAR, Phase, Step
from faults.scene import Injection, Scene
from faults.workload.load import Workload

_LATE = 2.0
"""Seconds behind the plan from which on spare faults are left out."""
_BETWEEN = 40
"""Operations between two faults at least: what a fault spoils, a client must have had the time to write."""
Say = Callable[[str], None]
_BROKEN = (NotReached, grpc.RpcError, TimeoutError, OSError, AssertionError, subprocess.SubprocessError)


@dataclass(slots=True)
class Told:
    """What a phase came to.

    Attributes:
        history: What clients did and saw.
        happened: Kinds of faults that were shown to have happened, in order.
        missed: Faults that nothing shows to have happened: kind and reason.
        leader_changes: Terms with a leader after the first.
        violations: What must not be, in words.
    """

    history: History
    happened: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    leader_changes: int = 0
    violations: list[str] = field(default_factory=list)


async def play(phase: Phase, seed: int, directory: Path, say: Say, makers: Mapping[str, Maker] = MAKERS) -> Told:
    """Run a phase in `directory`. Raises nothing that a cluster can cause."""
    load = Workload(seed)
    told = Told(load.history)
    cluster = Cluster(directory, phase.size, seed, load.history.started, secure=phase.secure)
    observer = Observer(cluster)
    try:
        await cluster.open()
        await observer.ready()
        say(
            f"{phase.size} members{' under TLS' if phase.secure else ''}, {len(phase.steps)} faults in {phase.seconds:.0f} s"
        )
        poll = asyncio.create_task(_poll(observer, cluster))
        try:
            async with load.running(cluster):
                began = asyncio.get_running_loop().time()
                for step in phase.steps:
                    if step.spare and asyncio.get_running_loop().time() > began + step.at + _LATE:
                        say(f"{step.kind} is left out: the phase is late")
                        continue
                    await _until(began + step.at)
                    scene = Scene(cluster, observer, load, random.Random(step.seed), step.dwell)
                    await _inject(step, scene, told, say, makers[step.kind]())
                await _until(began + phase.seconds)
            await _settle(cluster, observer, load, told, say)
        finally:
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
    except _BROKEN as error:
        told.violations.append(f"the cluster does not come back: {type(error).__name__}: {error}")
    finally:
        await load.end()
        await observer.close()
        await cluster.close()
    told.violations += observer.violations
    told.leader_changes = max(0, len(observer.terms) - 1)
    return told


async def _inject(step: Step, scene: Scene, told: Told, say: Say, injection: Injection) -> None:
    """Inject, heal, prove; afterwards the cluster takes calls again. Raises NotReached when it does not."""
    weather = "" if step.weather == CLEAR else f", network {step.weather}"
    say(f"{step.kind} for {step.dwell:.1f} s{weather} ({len(told.history.operations)} operations so far)")
    failed, cluster = "", scene.cluster
    if weather:
        cluster.network.set(WEATHER[step.weather], *cluster.pairs(cluster.running(), cluster.running()))
    try:
        await injection.inject(scene)
    except _BROKEN as error:
        failed = f"{type(error).__name__}: {error}"
    await injection.heal(scene)
    cluster.network.heal()
    await scene.observer.ready()
    enough = len(told.history.operations) + _BETWEEN
    await scene.until("clients go on", lambda: len(told.history.operations) >= enough)
    evidence = "" if failed else await injection.proof(scene)
    if evidence:
        told.happened.append(step.kind)
    else:
        told.missed.append(f"{step.kind}: {failed or 'nothing shows that it happened'}")
    say(f"{step.kind}: {evidence or 'DID NOT HAPPEN: ' + told.missed[-1]}")


async def _settle(cluster: Cluster, observer: Observer, load: Workload, told: Told, say: Say) -> None:
    """With all faults healed and no load: every member answers, holds the same, and what it holds is read by clients."""
    cluster.network.heal()
    await observer.ready()
    await load.close()
    hashes = await observer.hashes()
    say(f"settled: all hold revision {next(iter(hashes.values()))[0]}")
    if len({value for _, value in hashes.values()}) != 1:
        told.violations.append(f"members hold different data: {hashes}")


async def _poll(observer: Observer, cluster: Cluster) -> None:
    """Look who leads, again and again."""
    while True:
        await asyncio.gather(*(observer.status(member, 0.5) for member in cluster.running()))
        await asyncio.sleep(0.2)


async def _until(time: float) -> None:
    await asyncio.sleep(max(0.0, time - asyncio.get_running_loop().time()))
