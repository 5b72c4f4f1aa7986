"""Writes: groups commands into batches, hands them to the leader and resolves each caller when its batch is applied here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError, Message

from raftmeta._batching import Asker, Backlog, Flight, Waiting, serialize
from raftmeta._handing import nothing_waits
from raftmeta.config import MAX_REQUEST_BYTES
from raftmeta.consensus.contract import Consensus, Refusal, Status
from raftmeta.errors import Fault, MetastoreError
from raftmeta.machine.applied import Outcome
from raftmeta.v1 import command_pb2

_log = logging.getLogger(__name__)
_PROPOSE, _REFUSED = "propose", "refused"
_MAX_FLIGHTS = 2
_SWEEP = 0.05
_SILENCE = 1.0
_DEFINITE = {
    Refusal.BUSY: Fault.TOO_MANY_REQUESTS,
    Refusal.NO_SPACE: Fault.NO_SPACE,
    Refusal.STOPPED: Fault.STOPPED,
}


class Proposer:
    """Group commit for the callers of one event loop.

    Every command that arrives while a batch is on its way joins the next one; a second batch leaves before the first has
    an outcome only when it is full, or the first takes long. A batch without an outcome is proposed
    again after a leader change, a refusal or a second's silence, always under the same (client, sequence), which the
    state machine applies once. A batch that is refused for a definite reason before it could have entered a log fails
    at once; anything else fails at its deadline with an unknown outcome.

    All methods belong to the event loop, on which consensus calls back too.
    """

    def __init__(
        self,
        consensus: Consensus,
        client: int,
        loop: asyncio.AbstractEventLoop,
        *,
        timeout: float,
        max_pending: int,
    ) -> None:
        """Compose a proposer.

        Args:
            consensus: Where batches go.
            client: This node's incarnation: random, 63 bits, not 0.
            loop: Loop of the callers; its clock counts the deadlines.
            timeout: Deadline of a command in seconds.
            max_pending: Commands waiting before further ones are refused.
        """
        self._consensus = consensus
        self._client = client
        self._loop = loop
        self._timeout = timeout
        self._max_pending = max_pending
        self._max_pending_bytes = 64 * MAX_REQUEST_BYTES
        self._backlog = Backlog()
        self._flights: dict[int, Flight] = {}
        self._sequence = 0
        self._flushing = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event | None = None
        self._stopped = False
        self._in_flight = 0
        self.leader_changed_at = float("-inf")
        self._leader = (0, 0)
        self.committed = 0
        self.failed = 0
        consensus.serve(_PROPOSE, self._answer_peer)
        consensus.serve(_REFUSED, self._hear_refusal)

    @property
    def pending(self) -> int:
        """Commands without an outcome."""
        return len(self._backlog.queue) + self._in_flight

    def submit(self, command: command_pb2.Command) -> asyncio.Future[Message]:
        """Propose a command; the future gives its answer, whose header carries the revision only.

        The future fails with the reason the machine gave, REQUEST_TOO_LARGE, TOO_MANY_REQUESTS, NO_SPACE (nothing happened), or with STOPPED,
        TIMEOUT or TIMEOUT_LEADER_FAIL (outcome unknown).
        """
        future: asyncio.Future[Message] = self._loop.create_future()
        command.DiscardUnknownFields()  # nested ones may be too deep to be read inside a batch, which would lose all of it
        self.propose(command.SerializeToString(), future)
        if self._backlog.queue and not self._flushing and self._may_send():
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    def propose(self, data: bytes, asker: Asker) -> None:
        """Propose a serialized command without unknown fields; `asker` gets what `submit`'s future gives, or its failure.

        It leaves with the next `settle`, which whoever proposes must call.
        """
        size = len(data)
        if self._stopped:
            asker.set_exception(MetastoreError(Fault.STOPPED))
        elif size > MAX_REQUEST_BYTES:
            asker.set_exception(MetastoreError(Fault.REQUEST_TOO_LARGE))
        elif self.pending >= self._max_pending or self._backlog.bytes + size > self._max_pending_bytes:
            asker.set_exception(MetastoreError(Fault.TOO_MANY_REQUESTS))
        else:
            self._backlog.add(Waiting(data, asker, self._loop.time()))
            if self._sweeper is None:
                self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    def settle(self) -> None:
        """Send what was proposed: at once if the loop has nothing else to do, else with what else comes in this turn of it."""
        if not self._backlog.queue or self._flushing or not self._may_send():
            return
        if nothing_waits(self._loop):
            self._flush()
        else:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def applied(self, outcomes: Sequence[Outcome]) -> None:
        """Resolve batches of this incarnation that were applied; a refused command fails with its reason."""
        for outcome in outcomes:
            flight = self._flights.pop(outcome.sequence, None)
            if flight is None:
                continue
            self._in_flight -= len(flight.waiting)
            self.committed += len(flight.waiting)
            for waiting, result in zip(flight.waiting, outcome.results, strict=True):
                if waiting.asker.done():
                    continue
                if isinstance(result, Fault):
                    waiting.asker.set_exception(MetastoreError(result))
                else:
                    waiting.asker.set_result(result)
        self._look_drained()
        if self._backlog.queue and not self._flushing:
            self._flush()

    def status_changed(self, status: Status) -> None:
        """Propose again what was given to a leader that is none any more."""
        if (status.leader_id, status.term) != self._leader:
            self._leader = status.leader_id, status.term
            self.leader_changed_at = self._loop.time()
        if not status.leader_id:
            return
        for flight in list(self._flights.values()):
            if flight.target != status.leader_id or flight.term != status.term:
                self._send(flight)
        if self._backlog.queue and not self._flushing:
            self._flush()

    def stop(self) -> None:
        """Refuse further commands; those without an outcome fail with STOPPED."""
        self._stopped = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for flight in list(self._flights.values()):
            self._fail(flight, Fault.STOPPED)
        while self._backlog.queue:
            for waiting in self._backlog.take():
                waiting.asker.set_exception(MetastoreError(Fault.STOPPED))

    async def drain(self, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until every command has an outcome."""
        if self._awaited():
            self._drained = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._drained.wait()

    def _awaited(self) -> bool:
        """Whether anybody waits for an outcome."""
        flying = (waiting for flight in self._flights.values() for waiting in flight.waiting)
        return any(not waiting.asker.done() for waiting in (*self._backlog.queue, *flying))

    def _look_drained(self) -> None:
        if self._drained is not None and not self._awaited():
            self._drained.set()

    def _may_send(self) -> bool:
        """Whether the next batch may leave: larger ones cost every member less than more of them."""
        return not self._flights or (len(self._flights) < _MAX_FLIGHTS and self._backlog.fills_a_batch)

    def _flush(self, *, late: bool = False) -> None:
        """Send what may leave; `late` says that what is on its way takes long and need not be waited for."""
        self._flushing = False
        while self._backlog.queue and (self._may_send() or (late and len(self._flights) < _MAX_FLIGHTS)):
            waiting = self._backlog.take()
            if not waiting:
                return
            self._sequence += 1
            data = serialize(self._client, self._sequence, (one.data for one in waiting))
            flight = Flight(self._sequence, data, waiting)
            self._flights[flight.sequence] = flight
            self._in_flight += len(waiting)
            self._send(flight)

    def _send(self, flight: Flight) -> None:
        status = self._consensus.status()
        flight.maybe = flight.maybe or flight.target != 0
        flight.sent = self._loop.time()
        flight.target, flight.term = status.leader_id, status.term
        if not status.leader_id:
            return
        refused = functools.partial(self._from_raft, flight)
        if status.leader_id == status.member_id:
            self._consensus.propose(flight.data, refused)
            return
        self._consensus.tell(status.leader_id, _PROPOSE, flight.data, refused)

    def _from_raft(self, flight: Flight, told: bytes | Refusal) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._refused, flight, told)

    def _refused(self, flight: Flight, told: bytes | Refusal) -> None:
        """Fail a batch that is certain not to be in a log; leave any other for the sweeper."""
        if flight.sequence not in self._flights:
            return
        fault = _DEFINITE.get(told) if isinstance(told, Refusal) else None
        if fault is not None and not flight.maybe:
            self._fail(flight, fault)
            self._flush()
            return
        flight.target = 0

    def _fail(self, flight: Flight, fault: Fault) -> None:
        del self._flights[flight.sequence]
        self._in_flight -= len(flight.waiting)
        self.failed += len(flight.waiting)
        for waiting in flight.waiting:
            if not waiting.asker.done():
                waiting.asker.set_exception(MetastoreError(fault))

    def _sweep(self) -> None:
        """Look after what has waited: expire it, or propose it again."""
        now = self._loop.time()
        self._sweeper = None
        for flight in list(self._flights.values()):
            if now - flight.started >= self._timeout:
                self._fail(flight, self._timeout_fault(flight.started))
            elif flight.target == 0 or now - flight.sent >= _SILENCE:
                self._send(flight)
        queue = self._backlog.queue
        while queue and now - queue[0].started >= self._timeout:
            waiting = queue.popleft()
            self._backlog.bytes -= len(waiting.data)
            if not waiting.asker.done():
                self.failed += 1
                waiting.asker.set_exception(MetastoreError(self._timeout_fault(waiting.started)))
        self._flush(late=True)
        self._look_drained()
        if self._flights or queue:
            self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    def _timeout_fault(self, started: float) -> Fault:
        return Fault.TIMEOUT_LEADER_FAIL if self.leader_changed_at > started else Fault.TIMEOUT

    def _answer_peer(self, caller: int, payload: bytes, reply: Callable[[bytes | Refusal], None]) -> None:
        """Propose for another member. It learns the outcome by applying; only a refusal is told."""
        reply(b"")
        self._consensus.propose(payload, functools.partial(self._tell_refusal, caller, payload))

    def _tell_refusal(self, caller: int, payload: bytes, refusal: Refusal) -> None:
        try:
            batch = command_pb2.Batch.FromString(payload)
        except DecodeError as error:
            _log.warning("member %x proposed what is no batch, and was refused (%s): %s", caller, refusal.name, error)
            return
        notice = b"%d %d %s" % (batch.client, batch.sequence, refusal.name.encode())
        self._consensus.call(caller, _REFUSED, notice, _ignore, self._timeout)

    def _hear_refusal(self, caller: int, payload: bytes, reply: Callable[[bytes | Refusal], None]) -> None:
        """Take in that a leader refused a batch of ours."""
        reply(b"")
        try:
            client, sequence, name = payload.split(b" ")
            refused = int(client), int(sequence), Refusal[name.decode()]
        except (ValueError, KeyError) as error:
            _log.warning("member %x told of a refusal in words that cannot be read: %s", caller, error)
            return
        if refused[0] == self._client and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._refused_there, *refused[1:])

    def _refused_there(self, sequence: int, refusal: Refusal) -> None:
        flight = self._flights.get(sequence)
        if flight is not None:
            self._refused(flight, refusal)


def _ignore(_: bytes | Refusal) -> None:
    """Nothing depends on whether a notice arrived."""
