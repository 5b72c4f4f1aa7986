"""What clients of a cluster under test did and saw: every call, every watcher, on one clock, ready to be judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from google.protobuf.message import Message

from raftmeta.etcd import rpc_pb2 as pb

LIMIT = 5_000_000
"""Attempts and watch responses a history may hold."""


class Outcome(Enum):
    """What a client knows of an attempt."""

    OK = "ok"
    """It was answered: it took effect between its start and its end."""
    FAILED = "failed"
    """It certainly had no effect and never will."""
    UNKNOWN = "unknown"
    """It may have taken effect, may do so at any later time, or never."""


@dataclass(slots=True)
class Attempt:
    """One call on one member.

    Attributes:
        member: Name of the member that was asked.
        start: Seconds (monotonic) before the call was made.
        end: Seconds after its answer or error was in hand; None while there is neither.
        outcome: UNKNOWN while there is no answer.
        answer: The etcd message that came back, only with OK.
        error: Status and text, only without an answer.
    """

    member: str
    start: float
    end: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    answer: Message | None = None
    error: str = ""


@dataclass(slots=True)
class Operation:
    """What one client wanted once: one attempt, or several of the same request where repetition is made safe.

    Attributes:
        number: Its number in the history, from 0.
        client: Who wanted it; a client has one operation at a time.
        request: The etcd request (PutRequest, TxnRequest, LeaseKeepAliveRequest, ...).
        request_id: What makes repetition safe: bytes that one key or value the request writes contains, and that no
            other operation writes. Empty for what is never repeated.
        attempts: In the order they were made, at least one.
    """

    number: int
    client: str
    request: Message
    attempts: list[Attempt]
    request_id: bytes = b""

    @property
    def start(self) -> float:
        """Seconds before the first attempt."""
        return self.attempts[0].start

    @property
    def end(self) -> float | None:
        """Seconds after the last attempt; None while nobody knows whether more will come of it."""
        return self.attempts[-1].end if self.outcome is not Outcome.UNKNOWN else None

    @property
    def outcome(self) -> Outcome:
        """OK once answered; FAILED only when every attempt failed."""
        outcomes = {attempt.outcome for attempt in self.attempts}
        for outcome in (Outcome.OK, Outcome.UNKNOWN):
            if outcome in outcomes:
                return outcome
        return Outcome.FAILED


@dataclass(slots=True)
class Heard:
    """One response of a watch stream and when it was in hand."""

    at: float
    response: pb.WatchResponse


@dataclass(slots=True)
class Watching:
    """One watcher of one stream, from its request to the end of the stream.

    Attributes:
        number: Its number in the history, from 0.
        client: Who watches.
        member: Name of the member that was asked.
        request: Start revision, range and options.
        start: Seconds before the request was sent.
        resumes: Number of the watcher that this one goes on for; None for a first one. It asks for the revision after
            the last one heard there.
        heard: Every response to this watcher in the order of arrival, and those to the whole stream (watch id -1)
            that came while it was open.
        end: Seconds after the stream or the watcher ended; None while it is open.
    """

    number: int
    client: str
    member: str
    request: pb.WatchCreateRequest
    start: float
    resumes: int | None = None
    heard: list[Heard] = field(default_factory=list)
    end: float | None = None


@dataclass(slots=True)
class History:
    """Everything that was recorded in one run; written by one event loop.

    For the checks to know what really happened, one watcher must have seen all: on each member (or at least one at a
    time) a watcher of the whole key space from revision 1 without filters, resumed after every interruption before
    the cluster compacts what it has not seen. A revision that no such watcher saw is reported as a gap.

    Attributes:
        clock: Monotonic seconds.
        operations: By number.
        watches: By number.
        starts: (seconds, member's name) of every start of a member's process.
        healed: Seconds when the last fault was lifted and the cluster answered again; None if that never happened.
        ended: Seconds when recording ended.
    """

    clock: Callable[[], float] = time.monotonic
    operations: list[Operation] = field(default_factory=list)
    watches: list[Watching] = field(default_factory=list)
    starts: list[tuple[float, str]] = field(default_factory=list)
    healed: float | None = None
    ended: float | None = None
    held: int = 0

    def begin(self, client: str, member: str, request: Message, request_id: bytes = b"") -> Operation:
        """Record that a call is about to be made. Raises OverflowError when the history is full."""
        operation = Operation(len(self.operations), client, request, [], request_id)
        self.retry(operation, member)
        self.operations.append(operation)
        return operation

    def retry(self, operation: Operation, member: str) -> None:
        """Record that the same request is about to be made once more. Raises OverflowError when the history is full."""
        self._count()
        operation.attempts.append(Attempt(member, self.clock()))

    def answered(self, operation: Operation, answer: Message) -> None:
        """Record the answer of the attempt on its way."""
        attempt = operation.attempts[-1]
        attempt.outcome, attempt.answer, attempt.end = Outcome.OK, answer, self.clock()

    def failed(self, operation: Operation, error: str, *, certainly: bool) -> None:
        """Record the error of the attempt on its way; `certainly` if it cannot have had and cannot have an effect."""
        attempt = operation.attempts[-1]
        attempt.outcome = Outcome.FAILED if certainly else Outcome.UNKNOWN
        attempt.error, attempt.end = error, self.clock()

    def watch(
        self, client: str, member: str, request: pb.WatchCreateRequest, resumes: Watching | None = None
    ) -> Watching:
        """Record that a watcher is about to be asked for."""
        number = None if resumes is None else resumes.number
        self.watches.append(Watching(len(self.watches), client, member, request, self.clock(), number))
        return self.watches[-1]

    def heard(self, watching: Watching, response: pb.WatchResponse) -> None:
        """Record a response to a watcher. Raises OverflowError when the history is full."""
        self._count()
        watching.heard.append(Heard(self.clock(), response))

    def unwatched(self, watching: Watching) -> None:
        """Record that nothing more comes to a watcher."""
        watching.end = self.clock()

    def started(self, member: str) -> None:
        """Record that a member's process is about to be started."""
        self.starts.append((self.clock(), member))

    def calls(self) -> Iterator[tuple[Operation, Attempt]]:
        """Every attempt with its operation."""
        return ((operation, attempt) for operation in self.operations for attempt in operation.attempts)

    def _count(self) -> None:
        self.held += 1
        if self.held > LIMIT:
            raise OverflowError(f"a history holds at most {LIMIT} attempts and watch responses")
