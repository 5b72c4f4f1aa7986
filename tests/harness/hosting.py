"""A member's consensus on a loop in a thread of its own, for tests that have no loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, ParamSpec, cast

from raftmeta.consensus import RunningConsensus, host_consensus
from raftmeta.consensus.runtime import Runtime

P = ParamSpec("P")


def _threaded(host: Callable[P, Coroutine[Any, Any, RunningConsensus]]) -> Callable[P, Runtime]:
    def start(*arguments: P.args, **named: P.kwargs) -> Runtime:
        started: Future[Runtime] = Future()

        async def life() -> None:
            try:
                member = cast(Runtime, await host(*arguments, **named))
            except BaseException as error:  # raised where the test waits
                started.set_exception(error)
                return
            started.set_result(member)
            if member.task is not None:
                await member.task

        threading.Thread(target=lambda: asyncio.run(life()), name="raft", daemon=True).start()
        return started.result(30)

    return start


start_consensus = _threaded(host_consensus)
"""As `host_consensus`, whose failures it raises; the thread ends when the member has stopped."""
