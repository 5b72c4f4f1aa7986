"""Revisions that nobody was told of: each is one unanswered write, or a lease that ended, or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from faults.checks.by_revision import ByRevision, Call, kv_calls
from faults.checks.execution import Execution, Unsupported
from faults.checks.truth import FIRST, Truth
from faults.checks.versions import Versions
from faults.checks.violation import Violation, events
from faults.history import History, Outcome
from google.protobuf.message import Message

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb


class Explanation:
    """Finds who made the revisions that no answer claims.

    Attributes:
        found: Unanswered calls by the revision they made.
        expiries: Revisions that a lease's end made, with its id.
        violations: Revisions that nobody can have made.
    """

    def __init__(self, history: History, truth: Truth, versions: Versions, answered: ByRevision) -> None:
        """Explain all of them."""
        self.found: dict[int, Call] = {}
        self.expiries: dict[int, int] = {}
        self.violations: list[Violation] = []
        self._truth = truth
        self._versions = versions
        self._known = self._known_by(answered)
        calls = list(kv_calls(history))
        self._unknown = _Writers(call for call in calls if call.attempt.outcome is Outcome.UNKNOWN)
        self._made_by: dict[int, int] = {}
        rest = [number for number in range(FIRST, truth.last + 1) if number not in answered.claims and truth.at(number)]
        failed = _Writers(call for call in calls if call.attempt.outcome is Outcome.FAILED)
        done = _Writers(answered.claims.values())
        for number in rest:
            if self._expired(number):
                continue
            if not self._match(number, set()):
                self._accuse(number, failed, done)
        for number in list(self.expiries):  # an unanswered delete may have been it: then it accuses no lease
            if self._match(number, set()):
                del self.expiries[number]
        for place, number in self._made_by.items():
            writer = self._unknown.calls[place]
            self.found[number] = Call(writer.operation, writer.attempt, number, True)

    def _candidates(self, number: int, among: _Writers) -> Iterator[int]:
        """Places in `among` of the calls that make just this revision if they come there, and could by then."""
        made = self._truth.revisions[number]
        for place in among.places(made.events):
            one = among.calls[place]
            execution = Execution(self._versions, number - 1)
            try:
                execution.run(one.request)
            except Unsupported:
                continue
            if execution.events == made.events and one.attempt.start <= self._known[number]:
                yield place

    def _known_by(self, answered: ByRevision) -> dict[int, float]:
        """Seconds by which somebody had seen each revision or a later one, so that its write had begun."""
        found: dict[int, float] = {}
        for one in answered.placed:
            if one.attempt.end is not None:
                found[one.revision] = min(found.get(one.revision, one.attempt.end), one.attempt.end)
        first = float("inf")
        for number in range(self._truth.last, FIRST - 1, -1):
            made = self._truth.revisions.get(number)
            first = min(first, found.get(number, first), made.heard if made is not None else first)
            found[number] = first
        return found

    def _match(self, number: int, tried: set[int]) -> bool:
        """Give a revision to an unknown call, moving others to another revision of theirs where that makes room."""
        for place in self._candidates(number, self._unknown):
            if place in tried:
                continue
            tried.add(place)
            holder = self._made_by.get(place)
            if holder is None or (len(tried) < 100 and self._match(holder, tried)):
                self._made_by[place] = number
                return True
        return False

    def _expired(self, number: int) -> bool:
        """Whether a revision deletes just the keys of one lease."""
        made = self._truth.at(number)
        if any(one.type != kv_pb2.Event.DELETE for one in made):
            return False
        before = self._versions.get(made[0].kv.key, number - 1)
        if before is None or not before.lease:
            return False
        if self._versions.attached(before.lease, number - 1) != [one.kv.key for one in made]:
            return False
        self.expiries[number] = before.lease
        return True

    def _accuse(self, number: int, failed: _Writers, done: _Writers) -> None:
        made = events(self._truth.at(number))
        for name, why, among in (
            ("failed write took effect", "was refused for certain, and yet the log has", failed),
            ("write applied twice", "made its revision, and once more the log has", done),
            ("write applied twice", "has its place in the log already, and once more there is", self._unknown),
        ):
            for place in self._candidates(number, among):
                self.violations.append(Violation(name, f"{among.calls[place]} {why} at {number}: {made}"))
                return
        text = f"nobody asked for what the log has at {number}: {made}"
        self.violations.append(Violation("write of nobody", text))


class _Writers:
    """Calls that write, found by what they write."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.calls = list(calls)
        self._putting: dict[tuple[bytes, bytes], list[int]] = {}
        self._deleting: list[int] = []
        for place, one in enumerate(self.calls):
            for kv in set(puts(one.request)):
                self._putting.setdefault(kv, []).append(place)
            if _deletes(one.request):
                self._deleting.append(place)

    def places(self, made: list[kv_pb2.Event]) -> list[int]:
        for one in made:
            if one.type == kv_pb2.Event.PUT:
                return self._putting.get((one.kv.key, one.kv.value), []) + self._putting.get((one.kv.key, b""), [])
        return self._deleting


def puts(request: Message) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of every put in a request, in either branch; a value that is kept as it is counts as empty."""
    if isinstance(request, pb.PutRequest):
        yield request.key, b"" if request.ignore_value else request.value
    elif isinstance(request, pb.TxnRequest):
        for op in (*request.success, *request.failure):
            kind = op.WhichOneof("request")
            if kind is not None:
                yield from puts(getattr(op, kind))


def _deletes(request: Message) -> bool:
    if isinstance(request, pb.TxnRequest):
        ops = (*request.success, *request.failure)
        return any(_deletes(getattr(op, kind)) for op in ops if (kind := op.WhichOneof("request")))
    return isinstance(request, pb.DeleteRangeRequest | pb.LeaseRevokeRequest)
