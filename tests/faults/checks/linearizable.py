"""Linearizability without belief in revisions: a second opinion on the log that the first check believes in.

Revisions only advise the search on what to try first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from faults.checks.by_revision import Call, kv_calls
from faults.checks.cells import Cells
from faults.checks.keys import covers
from faults.checks.search import Search, Step, Verdict
from faults.checks.sequential import Component, Unjudged
from faults.checks.violation import Violation
from faults.history import History, Outcome
from google.protobuf.message import Message

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

BUDGET = 300_000
"""Nodes that all searches of a history may look at together."""
_LATE = float("inf")
Spans = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Findings:
    """What the searches came to.

    Attributes:
        violations: Components for which there is no order.
        gave_up: Components for which the search was too long: neither good nor bad.
        explored: Nodes looked at.
        judged: Calls that took part.
    """

    violations: list[Violation] = field(default_factory=list)
    gave_up: list[str] = field(default_factory=list)
    explored: int = 0
    judged: int = 0


@dataclass(frozen=True, slots=True)
class Advice:
    """Where calls may belong: revisions by `id` of the attempt, and by lease for its end."""

    calls: Mapping[int, int] = field(default_factory=dict)
    leases: Mapping[int, int] = field(default_factory=dict)


def check(history: History, budget: int = BUDGET, advice: Advice | None = None) -> Findings:
    """Search an order for every set of keys that hang together; `budget` bounds the nodes of all searches together."""
    advice = advice or Advice()
    calls = [one for one in kv_calls(history) if one.attempt.outcome is not Outcome.FAILED and one.linearizable]
    findings = Findings()
    for component, group, leases in components(calls):
        answered, unanswered = steps(component, group, leases, advice)
        findings.judged += len(answered)
        search = Search(answered, unanswered, Cells.empty(len(component.keys)))
        verdict = search.run(max(1, budget - findings.explored))
        findings.explored += verdict.explored
        if verdict.linearizable is None:
            findings.gave_up.append(f"{_names(component)}: no order found in {verdict.explored} steps of the search")
        elif not verdict.linearizable:
            findings.violations.append(Violation("not linearizable", _explain(component, search, verdict)))
    return findings


def components(calls: list[Call]) -> Iterator[tuple[Component, list[Call], dict[int, float]]]:
    """Sets of keys that no call connects to others, with their calls, and the leases attached there since when."""
    known = sorted({key for one in calls for key in _keys(one)})
    parent = {key: key for key in known}

    def root(key: bytes) -> bytes:
        while parent[key] != key:
            parent[key] = key = parent[parent[key]]
        return key

    @cache
    def held(key: bytes, end: bytes) -> list[bytes]:
        return [each for each in known if covers(key, end, each)] if end else [key]

    owners: list[bytes | None] = []
    for one in calls:
        touched = [each for key, end in _spans(one.request) for each in held(key, end)]
        for other in touched[1:]:
            parent[root(other)] = root(touched[0])
        owners.append(touched[0] if touched else None)
    keys: dict[bytes, list[bytes]] = {}
    for key in known:
        keys.setdefault(root(key), []).append(key)
    groups: dict[bytes, list[Call]] = {owner: [] for owner in keys}
    leases: dict[bytes, dict[int, float]] = {owner: {} for owner in keys}
    for one, first in zip(calls, owners, strict=True):
        if first is not None:
            groups[root(first)].append(one)
            for lease in _leases(one.request):
                attached = leases[root(first)]
                attached[lease] = min(attached.get(lease, one.attempt.start), one.attempt.start)
    revokes = [one for one in calls if isinstance(one.request, pb.LeaseRevokeRequest)]
    tokens = {(kv.key, kv.mod_revision): kv.value for one in calls for kv in _seen(one.request, one.attempt.answer)}
    for owner, group in groups.items():
        group += [one for one in revokes if one.request.ID in leases[owner]]  # type: ignore[attr-defined]
        yield Component(tuple(keys[owner]), tokens), group, leases[owner]


def steps(
    component: Component, group: list[Call], leases: dict[int, float], advice: Advice
) -> tuple[list[Step], list[Step]]:
    """The calls of a component as steps, answered and not; every lease may end, by its own time, once attached."""
    answered: list[Step] = []
    unanswered: list[Step] = []
    for one in group:
        answer = one.attempt.answer if one.attempt.outcome is Outcome.OK else None
        if isinstance(one.request, pb.LeaseRevokeRequest):
            apply = component.forget_lease(one.request.ID)
        elif answer is None and isinstance(one.request, pb.RangeRequest):
            continue
        else:
            try:
                apply = component.step(one.request, answer)
            except Unjudged:
                continue
        known = advice.calls.get(id(one.attempt), _LATE)
        if answer is not None and one.attempt.end is not None:
            answered.append(Step(one.attempt.start, one.attempt.end, apply, one.__str__, known))  # type: ignore[arg-type]
        else:
            unanswered.append(Step(one.attempt.start, _LATE, apply, one.__str__, known))  # type: ignore[arg-type]
    for lease, since in leases.items():
        apply, known = component.forget_lease(lease), advice.leases.get(lease, _LATE)
        unanswered.append(Step(since, _LATE, apply, f"end of lease {lease}".__str__, known))  # type: ignore[arg-type]
    return answered, unanswered


def _explain(component: Component, search: Search, verdict: Verdict) -> str:
    last = ", ".join(search.answered[place].text() for place in verdict.last)
    stuck = ", ".join(search.answered[place].text() for place in verdict.stuck)
    return (
        f"{_names(component)}: no order of the calls makes sense. The best gets {verdict.node.done} of"
        f" {len(search.answered)} in order, the last being {last or 'none'}, which leaves"
        f" {component.text(verdict.node.state)}; none of those that would be next fits: {stuck}"  # type: ignore[arg-type]
    )


def _names(component: Component) -> str:
    return ", ".join(map(repr, component.keys[:4])) + (
        f" and {len(component.keys) - 4} more" if component.keys[4:] else ""
    )


def _spans(request: Message) -> Spans:
    """Ranges of keys that a request reads or changes."""
    match request:
        case pb.PutRequest():
            return [(request.key, b"")]
        case pb.RangeRequest() | pb.DeleteRangeRequest():
            return [(request.key, request.range_end)]
        case pb.TxnRequest():
            found = [(compare.key, compare.range_end) for compare in request.compare]
            for op in (*request.success, *request.failure):
                kind = op.WhichOneof("request")
                found += _spans(getattr(op, kind)) if kind else []
            return found
    return []


def _keys(one: Call) -> Iterator[bytes]:
    """Every key a call names or shows."""
    yield from (key for key, end in _spans(one.request) if not end)
    yield from (kv.key for kv in _seen(one.request, one.attempt.answer))
    if isinstance(one.attempt.answer, pb.RangeResponse):
        yield from (kv.key for kv in one.attempt.answer.kvs)


def _leases(request: Message) -> Iterator[int]:
    if isinstance(request, pb.PutRequest) and request.lease:
        yield request.lease
    elif isinstance(request, pb.TxnRequest):
        for op in (*request.success, *request.failure):
            kind = op.WhichOneof("request")
            if kind is not None:
                yield from _leases(getattr(op, kind))


def _seen(request: Message, answer: Message | None) -> Iterator[kv_pb2.KeyValue]:
    """Every key with a value that an answer shows; of what a put wrote, too."""
    match answer:
        case pb.RangeResponse() if isinstance(request, pb.RangeRequest):
            yield from answer.kvs if not request.keys_only else ()
        case pb.DeleteRangeResponse():
            yield from answer.prev_kvs
        case pb.PutResponse() if isinstance(request, pb.PutRequest):
            if answer.HasField("prev_kv"):
                yield answer.prev_kv
            if not request.ignore_value:
                yield kv_pb2.KeyValue(key=request.key, value=request.value, mod_revision=answer.header.revision)
        case pb.TxnResponse() if isinstance(request, pb.TxnRequest):
            ops = request.success if answer.succeeded else request.failure
            for op, one in zip(ops, answer.responses, strict=False):
                kind = one.WhichOneof("response")
                if kind is not None:
                    inner = getattr(op, kind.replace("response", "request"))
                    for kv in _seen(inner, getattr(one, kind)):
                        found = kv_pb2.KeyValue(key=kv.key, value=kv.value, mod_revision=kv.mod_revision)
                        found.mod_revision = found.mod_revision or answer.header.revision
                        yield found
