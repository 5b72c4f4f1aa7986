"""Linearizable reads: one ReadIndex round for all that wait, then the state machine catches up to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftmeta._handing import hand_over
from raftmeta.consensus.contract import Consensus, Refusal
from raftmeta.errors import Fault, MetastoreError

_RETRY = 0.02
_FAULTS = {
    Refusal.STOPPED: Fault.STOPPED,
    Refusal.BUSY: Fault.TOO_MANY_REQUESTS,
    Refusal.NOT_MEMBER: Fault.STOPPED,
}


class ReadGate:
    """Tells readers when the local state has seen every write acknowledged before they asked.

    Readers that come while a round is under way share the next one. All methods belong to the event loop.
    """

    def __init__(
        self, consensus: Consensus, applied: Callable[[], int], loop: asyncio.AbstractEventLoop, timeout: float
    ) -> None:
        """Compose a gate; `applied` gives the machine's applied index, `timeout` is a read's deadline in seconds."""
        self._consensus = consensus
        self._applied = applied
        self._loop = loop
        self._timeout = timeout
        self._waiting: list[asyncio.Future[None]] = []
        self._current: list[asyncio.Future[None]] = []
        self._target = 0
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None  # ends the round at its deadline, whatever consensus does
        self._retry: asyncio.TimerHandle | None = None
        self._stopped = False
        self.rounds = 0

    def confirmed(self) -> asyncio.Future[None]:
        """Return a future that ends when a local read is linearizable.

        It fails with TIMEOUT (no leader confirmed it in time), TIMEOUT_WAIT_APPLIED, LEADER_CHANGED or STOPPED.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self._stopped:
            future.set_exception(MetastoreError(Fault.STOPPED))
            return future
        self._waiting.append(future)
        if not self._current and len(self._waiting) == 1:
            self._loop.call_soon(self._begin)
        return future

    def advanced(self) -> None:
        """Look again: the machine has applied something."""
        if self._target and self._applied() >= self._target:
            self._finish(None)

    @property
    def target(self) -> int:
        """Index that readers wait for the machine to apply; 0 when none do. Safe to read from any thread."""
        return self._target

    def stop(self) -> None:
        """Fail every reader with STOPPED."""
        self._stopped = True
        self._finish(Fault.STOPPED)

    def _begin(self) -> None:
        if self._current or not self._waiting:
            return
        self._current, self._waiting = self._waiting, []
        self._deadline = self._loop.time() + self._timeout
        self._timer = self._loop.call_at(self._deadline, self._end)
        self.rounds += 1
        self._ask()

    def _end(self) -> None:
        self._finish(Fault.TIMEOUT_WAIT_APPLIED if self._target else Fault.TIMEOUT)

    def _ask(self) -> None:
        self._retry = None
        round_number = self.rounds

        def done(told: int | Refusal) -> None:
            hand_over(self._loop, self._told, round_number, told)

        self._consensus.read_index(done)

    def _told(self, round_number: int, told: int | Refusal) -> None:
        if round_number != self.rounds or not self._current or self._target:
            return
        if isinstance(told, int):
            self._target = told
            if self._applied() >= told:
                self._finish(None)
            return
        fault = _FAULTS.get(told)
        if fault is not None:
            self._finish(fault)
        elif self._loop.time() >= self._deadline:
            self._finish(Fault.TIMEOUT)
        else:
            self._retry = self._loop.call_later(_RETRY, self._ask)

    def _finish(self, fault: Fault | None) -> None:
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        self._timer = self._retry = None
        self._target = 0
        finished, self._current = self._current, []
        if self._stopped:
            finished += self._waiting
            self._waiting = []
        for future in finished:
            if not future.done():
                if fault is None:
                    future.set_result(None)
                else:
                    future.set_exception(MetastoreError(fault))
        if self._waiting:
            self._loop.call_soon(self._begin)
