"""Starting a member's consensus on the loop of whoever hosts it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .codec import by_id
from .config import RaftConfig
from .contract import Member, StateMachine
from .core import Core
from .files import open_files
from .runtime import LinkWire, RunningConsensus, Runtime, TransportFactory
from .seeded import Bug, LateFiles
from .state import Surroundings


async def host_consensus(
    config: RaftConfig,
    member_id: int,
    cluster_id: int,
    bootstrap_members: Sequence[Member],
    state_machine: StateMachine,
    data_dir: Path,
    transport: TransportFactory | None,
    clock: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
    contacts: Sequence[Member] = (),
) -> RunningConsensus:
    """Open the log in `data_dir`, run Raft on the running loop and return once it ticks.

    Callbacks run on this loop then, and what blocks the loop delays heartbeats. `stop` is for another thread: the loop must go on meanwhile.

    `bootstrap_members` is the membership of a cluster that never ran: it is used only when `data_dir` is new, is the
    same on each of its members, and is empty for a member that joins a running cluster. Such a member names the
    cluster's members in `contacts`: they may connect to it and be called, and nothing else follows from it.
    `transport` is None for a single member, which then opens no socket. Raises ValueError when `data_dir` belongs to
    another cluster or member, StartError when log and state machine do not fit together, WalError, and OSError when
    the address cannot be bound.
    """

    def build(wire: LinkWire, background: Callable[..., None]) -> tuple[Core, Callable[[], None]]:
        files = LateFiles() if config.test_bug is Bug.EARLY_ACK else None
        log, cabinet = open_files(data_dir, cluster_id, member_id, bootstrap_members, state_machine, files)
        try:
            core = Core(
                Surroundings(
                    member_id=member_id,
                    cluster_id=cluster_id,
                    config=config,
                    log=log,
                    machine=state_machine,
                    cabinet=cabinet,
                    wire=wire,
                    background=background,
                    clock=clock,
                    rng=rng if rng is not None else random.SystemRandom(),
                )
            )
        except BaseException:
            log.close()
            raise
        return core, log.close

    runtime = Runtime(build, transport, by_id(contacts))
    loop = asyncio.get_running_loop()
    started: asyncio.Future[None] = loop.create_future()
    task = loop.create_task(runtime.main(lambda: started.set_result(None)), name="raft")
    try:
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    if not started.done():
        started.cancel()
        await task
    runtime.task = task
    return runtime
