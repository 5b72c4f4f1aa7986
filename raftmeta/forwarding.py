"""Requests that only the leader can serve: done here when this node leads, asked of the leader when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from raftmeta._handing import hand_over
from raftmeta.consensus.contract import Consensus, Refusal, Status
from raftmeta.errors import Fault, MetastoreError

Handler = Callable[[bytes], Awaitable[bytes]]

_RETRY = 0.05
_ATTEMPT = 1.0
_ANSWER, _FAULT = b"\0", b"\1"
_AGAIN = (Refusal.NOT_LEADER, Refusal.NO_LEADER, Refusal.LEADER_CHANGED)
_AGAIN_FAULTS = (Fault.NOT_LEADER, Fault.LEADER_CHANGED)
FAULTS = {
    Refusal.NOT_LEADER: Fault.NOT_LEADER,
    Refusal.NO_LEADER: Fault.NO_LEADER,
    Refusal.LEADER_CHANGED: Fault.LEADER_CHANGED,
    Refusal.BUSY: Fault.TOO_MANY_REQUESTS,
    Refusal.NO_SPACE: Fault.NO_SPACE,
    Refusal.STOPPED: Fault.STOPPED,
    Refusal.NOT_MEMBER: Fault.MEMBER_NOT_FOUND,
    Refusal.WOULD_LOSE_QUORUM: Fault.NOT_ENOUGH_STARTED,
    Refusal.MEMBER_EXISTS: Fault.MEMBER_EXISTS,
    Refusal.ADDRESS_EXISTS: Fault.PEER_URL_EXISTS,
    Refusal.NOT_LEARNER: Fault.NOT_LEARNER,
    Refusal.LEARNER_BEHIND: Fault.LEARNER_NOT_READY,
    Refusal.TOO_MANY_LEARNERS: Fault.TOO_MANY_LEARNERS,
    Refusal.BAD_TRANSFEREE: Fault.BAD_LEADER_TRANSFEREE,
    Refusal.TIMED_OUT: Fault.TIMEOUT,
    Refusal.UNKNOWN: Fault.TIMEOUT,
}


class Forwarder:
    """Runs a named handler on the leader. All methods belong to the event loop."""

    def __init__(self, consensus: Consensus, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        """Compose a forwarder; `timeout` in seconds is the deadline of `ask`."""
        self._consensus = consensus
        self._loop = loop
        self._timeout = timeout
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, method: str, handler: Handler) -> None:
        """Answer `method`, for this node and for others. A MetastoreError of the handler reaches whoever asked."""
        self._handlers[method] = handler

        def receive(caller: int, payload: bytes, reply: Callable[[bytes | Refusal], None]) -> None:
            if self._loop.is_closed():
                reply(Refusal.STOPPED)
            else:
                hand_over(self._loop, self._start, handler, payload, reply)

        self._consensus.serve(method, receive)

    async def ask(self, method: str, payload: bytes, *, repeatable: bool) -> bytes:
        """Return what the leader's handler answers; wait for a leader while there is none.

        `repeatable` says that asking twice does no harm: then a lost answer is asked for again. Raises what the handler
        raised, or TIMEOUT.
        """
        deadline = self._loop.time() + self._timeout
        while True:
            status = self._consensus.status()
            try:
                return await self._once(status, method, payload, deadline, _ATTEMPT if repeatable else self._timeout)
            except _AgainError as again:
                if self._loop.time() + _RETRY >= deadline:
                    raise MetastoreError(Fault.TIMEOUT) from None
                if again.maybe and not repeatable:
                    raise MetastoreError(Fault.TIMEOUT_CONNECTION_LOST) from None
            await asyncio.sleep(_RETRY)

    async def _once(self, status: Status, method: str, payload: bytes, deadline: float, attempt: float) -> bytes:
        if not status.leader_id:
            raise _AgainError(maybe=False)
        if status.leader_id == status.member_id:
            try:
                return await self._handlers[method](payload)
            except MetastoreError as error:
                if error.fault in _AGAIN_FAULTS:
                    raise _AgainError(maybe=False) from error
                raise
        left = max(deadline - self._loop.time(), 0.01)
        told = await self._call(status.leader_id, method, payload, min(left, attempt))
        if isinstance(told, Refusal):
            if told in _AGAIN or told in (Refusal.TIMED_OUT, Refusal.UNKNOWN):
                raise _AgainError(maybe=told not in _AGAIN)
            raise MetastoreError(FAULTS[told])
        if told[:1] == _FAULT:
            fault = Fault[told[1:].decode()]
            if fault in _AGAIN_FAULTS:
                raise _AgainError(maybe=False)
            raise MetastoreError(fault)
        return told[1:]

    async def _call(self, member_id: int, method: str, payload: bytes, timeout: float) -> bytes | Refusal:
        future: asyncio.Future[bytes | Refusal] = self._loop.create_future()

        def resolve(told: bytes | Refusal) -> None:
            if not future.done():
                future.set_result(told)

        def done(told: bytes | Refusal) -> None:
            hand_over(self._loop, resolve, told)

        self._consensus.call(member_id, method, payload, done, timeout)
        return await future

    def _start(self, handler: Handler, payload: bytes, reply: Callable[[bytes | Refusal], None]) -> None:
        task = self._loop.create_task(_answer(handler, payload, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End the handlers that still run for others."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class _AgainError(Exception):
    """There is no leader, or not any more; `maybe` when the request may have been done."""

    def __init__(self, *, maybe: bool) -> None:
        super().__init__()
        self.maybe = maybe


async def _answer(handler: Handler, payload: bytes, reply: Callable[[bytes | Refusal], None]) -> None:
    try:
        reply(_ANSWER + await handler(payload))
    except MetastoreError as error:
        reply(_FAULT + (error.fault or Fault.TIMEOUT).name.encode())
    except asyncio.CancelledError:
        reply(Refusal.STOPPED)
        raise
