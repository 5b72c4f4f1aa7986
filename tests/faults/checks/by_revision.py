"""Every answer against the true log: writes are in it once, whole, at their revision; reads are a state of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from faults.checks.execution import Execution, Unsupported, bare
from faults.checks.truth import Truth
from faults.checks.versions import Versions
from faults.checks.violation import Violation, call, events
from faults.checks.violation import answer as in_words
from faults.history import Attempt, History, Operation, Outcome
from google.protobuf.message import Message

from raftmeta.etcd import rpc_pb2 as pb

KV = (pb.RangeRequest, pb.PutRequest, pb.DeleteRangeRequest, pb.TxnRequest, pb.LeaseRevokeRequest)
"""Requests whose effect or answer is a matter of keys."""


@dataclass(slots=True)
class Call:
    """An attempt with its place in the log.

    Attributes:
        revision: Of its answer's header, or where it was found in the log; 0 when it has no place.
        changed: Whether it made that revision.
    """

    operation: Operation
    attempt: Attempt
    revision: int = 0
    changed: bool = False

    def __str__(self) -> str:
        """In words."""
        return call(self.operation, self.attempt)

    @property
    def request(self) -> Message:
        """What was asked."""
        return self.operation.request

    @property
    def linearizable(self) -> bool:
        """Whether its place must agree with real time."""
        request = self.request
        if isinstance(request, pb.RangeRequest):
            return not request.serializable
        return not (isinstance(request, pb.TxnRequest) and _reads_locally(request))


def kv_calls(history: History) -> Iterator[Call]:
    """Every attempt of a request about keys."""
    return (Call(operation, attempt) for operation, attempt in history.calls() if isinstance(operation.request, KV))


class ByRevision:
    """Places every answered call in the log.

    Attributes:
        placed: Calls that were answered, with their revisions.
        claims: The answered call that made a revision.
        violations: What does not fit.
    """

    def __init__(self, history: History, truth: Truth, versions: Versions) -> None:
        """Judge all of it."""
        self.placed: list[Call] = []
        self.claims: dict[int, Call] = {}
        self.violations: list[Violation] = []
        self._truth = truth
        self._versions = versions
        revokes_last = sorted(kv_calls(history), key=lambda one: isinstance(one.request, pb.LeaseRevokeRequest))
        for one in revokes_last:  # their answers do not say whether there was anything left to delete
            if one.attempt.outcome is Outcome.OK and one.attempt.answer is not None:
                self._place(one, one.attempt.answer)

    def _place(self, one: Call, answer: Message) -> None:
        one.revision = answer.header.revision  # type: ignore[attr-defined]
        self.placed.append(one)
        try:
            one.changed = self._changed(one, answer)
            if one.changed:
                self._write(one, answer)
            else:
                self._no_write(one, answer)
        except Unsupported as error:
            self._wrong("cannot be judged", f"{one}: the checks know no {error}")

    def _changed(self, one: Call, answer: Message) -> bool:
        if isinstance(one.request, pb.LeaseRevokeRequest):
            execution = Execution(self._versions, one.revision - 1)
            execution.run(one.request)
            return (
                bool(execution.events)
                and one.revision not in self.claims
                and execution.events == self._truth.at(one.revision)
            )
        return changes(answer)

    def _write(self, one: Call, answer: Message) -> None:
        number = one.revision
        other = self.claims.setdefault(number, one)
        if other is not one:
            self._wrong("two writes at one revision", f"{one} and {other} were both told that they made it")
            return
        execution = Execution(self._versions, number - 1)
        expected = execution.run(one.request)
        have = self._truth.at(number)
        if execution.events != have:
            both = [each for each in execution.events if each in have]
            what = "torn write" if both else "lost write"
            where = (
                f"the log has there: {events(have)}" if have else f"the log, which ends at {self._truth.last}, has not"
            )
            self._wrong(what, f"{one} was acknowledged and must have made: {events(execution.events)}; {where}")
        elif bare(answer) != expected:
            self._wrong("wrong answer to a write", f"{one}; by the log it is {in_words(expected)}")

    def _no_write(self, one: Call, answer: Message) -> None:
        if one.revision > self._truth.last or one.revision < 1:
            text = f"{one} names a revision that is not in the log, which ends at {self._truth.last}"
            self._wrong("revision from nowhere", text)
            return
        execution = Execution(self._versions, one.revision)
        expected = execution.run(one.request)
        if execution.events:
            text = f"{one} says that it changed nothing, at a revision where it would have: {events(execution.events)}"
            self._wrong("wrong answer to a write", text)
        elif bare(answer) != expected:
            self._wrong("wrong read", f"{one}; the state at that revision is {in_words(expected)}")

    def _wrong(self, check: str, text: str) -> None:
        self.violations.append(Violation(check, text))


def changes(answer: Message) -> bool:
    """Whether an answer says that the request made a revision."""
    match answer:
        case pb.PutResponse():
            return True
        case pb.DeleteRangeResponse():
            return answer.deleted > 0
        case pb.TxnResponse():
            return any(
                changes(getattr(one, one.WhichOneof("response") or "response_range")) for one in answer.responses
            )
    return False


def _reads_locally(request: pb.TxnRequest) -> bool:
    """Whether a transaction reads only, and allows the member to answer from its own state."""
    ops = [*request.success, *request.failure]
    return bool(ops) and all(op.HasField("request_range") and op.request_range.serializable for op in ops)
