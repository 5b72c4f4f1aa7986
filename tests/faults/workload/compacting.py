"""A client that makes the cluster forget: revisions that every watcher has behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from faults.workload.calling import Caller

from raftmeta.etcd import rpc_pb2 as pb

_KEPT = 100
"""Revisions behind the slowest watcher that stay, for clients that read the past."""


class CompactingClient:
    """Compacts again and again, never what a watcher may still ask for."""

    def __init__(self, caller: Caller, reached: Callable[[], int]) -> None:
        """`reached` tells up to which revision every watcher has heard all."""
        self._caller = caller
        self._reached = reached
        self._done = 1

    async def steps(self) -> AsyncIterator[None]:
        """Compact once per step, where there is something to."""
        while True:
            revision = self._reached() - _KEPT
            if revision > self._done:
                request = pb.CompactionRequest(revision=revision, physical=self._caller.dice.random() < 0.5)
                if await self._caller.call(request) is not None:
                    self._done = revision
            yield
