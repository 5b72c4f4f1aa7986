"""Leases never end early as their holders count, and end at last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from faults.checks.explaining import Explanation
from faults.checks.truth import Truth
from faults.checks.versions import Versions
from faults.checks.violation import Violation, call, events
from faults.history import Attempt, History, Operation, Outcome

from raftmeta.etcd import rpc_pb2 as pb

CLOCK_ERROR = 0.1
"""Seconds by which a member's clock may run ahead of the clients' during one life of a lease."""
PATIENCE = 30.0
"""Seconds, above its time to live, within which a lease that nobody renews ends after the last fault."""


@dataclass(slots=True)
class Life:
    """What clients know of a lease.

    Attributes:
        renewals: Answered grants and renewals with the time to live they were told, in seconds.
        tried: Seconds of the last attempt to renew it, answered or not.
        revoked: Whether somebody may have revoked it.
    """

    renewals: list[tuple[Operation, Attempt, int]] = field(default_factory=list)
    tried: float = 0.0
    revoked: bool = False

    @property
    def ttl(self) -> int:
        """The longest time to live that was told, in seconds."""
        return max((ttl for _, _, ttl in self.renewals), default=0)


def lives(history: History) -> dict[int, Life]:
    """Every lease by its id."""
    found: dict[int, Life] = {}
    for operation, attempt in history.calls():
        request, answer = operation.request, attempt.answer
        number = getattr(request, "ID", 0)
        if isinstance(request, pb.LeaseGrantRequest | pb.LeaseKeepAliveRequest):
            if isinstance(answer, pb.LeaseGrantResponse | pb.LeaseKeepAliveResponse):
                number = answer.ID
                if answer.TTL > 0:
                    found.setdefault(number, Life()).renewals.append((operation, attempt, answer.TTL))
            if number and attempt.outcome is not Outcome.FAILED:
                life = found.setdefault(number, Life())
                life.tried = max(life.tried, attempt.end if attempt.end is not None else attempt.start)
        elif isinstance(request, pb.LeaseRevokeRequest) and attempt.outcome is not Outcome.FAILED:
            found.setdefault(number, Life()).revoked = True
    return found


def check(
    history: History, truth: Truth, versions: Versions, explanation: Explanation, clock_error: float = CLOCK_ERROR
) -> Iterator[Violation]:
    """No lease ends before the time that its last answered renewal gave it; none outlives the run that healed."""
    known = lives(history)
    for number, lease in sorted(explanation.expiries.items()):
        life = known.get(lease)
        if life is None or life.revoked:
            continue
        heard = truth.revisions[number].heard
        for operation, attempt, ttl in life.renewals:
            early = attempt.start + ttl - heard
            if early > clock_error:
                text = (
                    f"{events(truth.at(number))} took back the keys of lease {lease}, heard at {heard:.4f}, {early:.2f} s"
                    f" before the {ttl} s were over that {call(operation, attempt)} had given"
                )
                yield Violation("lease ended early", text)
                break
    if history.healed is None or history.ended is None:
        return
    for lease, life in sorted(known.items()):
        left = versions.attached(lease, truth.last)
        until = max(life.tried, history.healed) + life.ttl + PATIENCE
        if left and life.renewals and until < history.ended:
            text = f"{left[0]!r} is still there at {history.ended:.4f}, though lease {lease} was over by {until:.4f}"
            yield Violation("lease never ended", text)
