"""How a Raft member is tuned: timers, sizes and limits."""

from __future__ import annotations

from dataclasses import dataclass

from .seeded import Bug


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Settings of one member; every member of a cluster should have the same ones.

    Attributes:
        heartbeat: Seconds between a leader's messages to an idle follower. Too small wastes processor time, too large
            makes followers call elections against a healthy leader.
        election_min: Shortest silence, in seconds, after which a follower asks for an election. Below about five
            heartbeats and one slow fsync, leaders are deposed for nothing.
        election_max: Longest such silence. Each member draws its own in between, so that they rarely ask at once: a
            narrow range means split votes, a wide one a long time without a leader. A leader that has not heard a
            majority for this long steps down.
        snapshot_entries: Log entries kept above the last trim before the log is trimmed again. Too small and trimming
            and snapshots cost more than the work itself, too large and the log eats memory and restarts take long.
        tail_entries: Applied entries that a trim leaves in the log for followers which are a little behind. Too small
            and every short outage of a follower ends in a full snapshot.
        log_bytes: Bytes of entries above which the log is trimmed whatever their number, the tail included. The log is
            held in memory: this bounds it.
        append_bytes: Entry bytes in one append message (a single larger entry still goes alone). Too small costs round
            trips, too large delays heartbeats behind it.
        inflight_messages: Append messages on their way to one follower without an answer. 1 is stop-and-wait; many
            queue up memory for a slow follower.
        hold: Seconds for which proposals may wait while earlier ones are not committed, to share a round. Too large and a slow disk
            or a long way costs latency, 0 costs processor time.
        gather: Seconds for which a leader waits for the proposals of other members after a commit, while they share rounds.
        queued_bytes: Bytes proposed but not yet committed on this leader, beyond which proposals answer BUSY.
        queued_proposals: The same as a number of proposals.
        proposal_bytes: Largest single proposal; a larger one is refused as BUSY would be, and never retried with
            success. Must hold the largest request the machine accepts.
        snapshot_chunk_bytes: Size of one piece of a snapshot on the wire. Too large delays heartbeats behind it.
        snapshot_rate: Bytes a second of a snapshot that a leader sends at most, to all followers together.
        snapshot_timeout: Seconds without progress after which sending a snapshot is given up and started again; also the longest
            wait between attempts that fail.
        max_learners: Learners a cluster may have at a time.
        promote_ratio: Part of the leader's log a learner must have to be given a vote, between 0 and 1.
        read_timeout: Seconds after which a linearizable read without an answer fails; 0 means `election_max`.
        call_bytes: Largest payload of a call between members, and of its answer.
        pending_reads: Linearizable reads waiting at a time, beyond which `read_index` answers BUSY.
        test_bug: A promise to break, for tests of the checks that must notice.
    """

    heartbeat: float = 0.05
    election_min: float = 0.4
    election_max: float = 0.8
    snapshot_entries: int = 100_000
    tail_entries: int = 10_000
    log_bytes: int = 256 * 1024 * 1024
    append_bytes: int = 1024 * 1024
    inflight_messages: int = 8
    hold: float = 0.004
    gather: float = 0.001
    queued_bytes: int = 64 * 1024 * 1024
    queued_proposals: int = 10_000
    proposal_bytes: int = 4 * 1024 * 1024
    snapshot_chunk_bytes: int = 256 * 1024
    snapshot_rate: int = 64 * 1024 * 1024
    snapshot_timeout: float = 10.0
    max_learners: int = 1
    promote_ratio: float = 0.9
    read_timeout: float = 0.0
    call_bytes: int = 2 * 1024 * 1024
    pending_reads: int = 50_000
    test_bug: Bug | None = None

    def __post_init__(self) -> None:
        """Refuse settings under which no leader could live, with ValueError."""
        if not 0 < self.heartbeat * 3 < self.election_min:
            raise ValueError("election_min must be more than three heartbeats")
        if not self.election_min < self.election_max:
            raise ValueError("election_max must be more than election_min")
        for name in (
            "snapshot_entries",
            "log_bytes",
            "snapshot_rate",
            "append_bytes",
            "inflight_messages",
            "queued_bytes",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.tail_entries < 0:
            raise ValueError("tail_entries must not be negative")
        if not 0 < self.promote_ratio <= 1:
            raise ValueError("promote_ratio must be in (0, 1]")
