"""What this member, as leader, knows about another one."""

from __future__ import annotations

from collections import deque

from pysyncobj.node import Node

from .contract import Member


class Backoff:
    """When something that failed may be tried again.

    Attributes:
        failures: Attempts that failed in a row.
        until: When the next one is due, in seconds of the injected clock.
    """

    def __init__(self) -> None:
        """Nothing has failed."""
        self.failures = 0
        self.until = float("-inf")

    def fail(self, now: float, first: float, longest: float) -> float:
        """Count a failure; returns the wait in seconds: `first`, then twice as long each time up to `longest`."""
        seconds = min(first * 2.0 ** min(self.failures, 30), longest)
        self.failures += 1
        self.until = now + seconds
        return seconds

    def forget(self) -> None:
        """It worked."""
        self.failures, self.until = 0, float("-inf")


class Peer(Node):  # type: ignore[misc]  # pysyncobj has no types
    """Another member. Equal to any node of the same id, as pysyncobj's bookkeeping wants it.

    Attributes:
        member: Who it is.
        heard: When it last answered this leader, in seconds of the injected clock.
        round: Highest quorum round it echoed in this term.
        probing: Whether its log is still being searched for the point where it agrees with ours: one message at a time.
        inflight: Last index of each append that carried entries and was not answered yet, oldest first.
        told_commit: Commit index in the last append sent.
        sent_at: When the last append was sent.
        sending: Transfer id of the snapshot on its way to it; 0 for none.
        offset: Where the chunk on its way begins.
        chunk_at: When that chunk was last sent.
        progress_at: When the transfer last moved.
        transfers: When the next snapshot may be sent to it after those that failed.
    """

    def __init__(self, member: Member) -> None:
        """Take the member; nothing is known about its log yet."""
        super().__init__(member.id)
        self.member = member
        self.heard = 0.0
        self.round = 0
        self.probing = True
        self.inflight: deque[int] = deque()
        self.told_commit = 0
        self.sent_at = float("-inf")
        self.sending = 0
        self.offset = 0
        self.chunk_at = 0.0
        self.progress_at = 0.0
        self.transfers = Backoff()

    @property
    def number(self) -> int:
        """The member's id."""
        return self.member.id

    def start_over(self, now: float) -> None:
        """Forget what an earlier leadership knew."""
        self.heard = now
        self.round = 0
        self.told_commit = 0
        self.probe()
        self.sending = 0

    def probe(self) -> None:
        """Go back to finding out where the logs agree."""
        self.probing = True
        self.inflight.clear()
