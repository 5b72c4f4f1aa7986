"""What consensus asks of a state machine, and what it offers the proposer: the seam at which an engine could be swapped."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """A committed log entry.

    Attributes:
        index: Position in the Raft log, counting from 1.
        term: Raft term in which it was appended.
        data: Serialized `raftmeta.v1.Batch`; empty for entries that carry nothing for the state machine (a new
            leader's no-op, a membership change): they still move the applied index.
    """

    index: int
    term: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the cluster as the Raft log knows it.

    Attributes:
        id: Unsigned 64-bit, never 0; stable for the life of the member.
        name: What people call it; empty until the member has started once.
        peer_address: HOST:PORT on which it takes Raft connections.
        client_address: HOST:PORT of its gRPC port; empty until the member has started once.
        learner: Receives the log but has no vote.
    """

    id: int
    name: str
    peer_address: str
    client_address: str = ""
    learner: bool = False


class Role(enum.Enum):
    """What a member is doing in the current term."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Status:
    """A consistent picture of consensus on this node at one moment.

    Attributes:
        member_id: This node.
        role: Its role.
        term: Its current term.
        leader_id: The leader it follows; 0 when it knows none.
        commit_index: Highest index known to be committed.
        applied_index: Highest index applied to the state machine.
        last_index: Highest index in the log.
        members: Everyone in the membership in force, this node included, by id.
        match_index: On the leader, highest index known to be durable on each other member; empty elsewhere.
        read_only: Why this node refuses appends (a full disk), or empty.
    """

    member_id: int
    role: Role
    term: int
    leader_id: int
    commit_index: int
    applied_index: int
    last_index: int
    members: dict[int, Member]
    match_index: dict[int, int] = field(default_factory=dict)
    read_only: str = ""


class Refusal(enum.Enum):
    """Why consensus did not do what was asked. Nothing was appended in any of these cases but UNKNOWN."""

    NOT_LEADER = "not leader"
    NO_LEADER = "no leader"
    LEADER_CHANGED = "leader changed"
    BUSY = "too many requests"
    NO_SPACE = "no space"
    STOPPED = "stopped"
    NOT_MEMBER = "not a member"
    WOULD_LOSE_QUORUM = "would lose quorum"
    MEMBER_EXISTS = "member exists"
    ADDRESS_EXISTS = "address exists"
    NOT_LEARNER = "not a learner"
    LEARNER_BEHIND = "learner behind"
    TOO_MANY_LEARNERS = "too many learners"
    BAD_TRANSFEREE = "bad transferee"
    TIMED_OUT = "timed out"
    UNKNOWN = "unknown"


class NoRoom(Exception):  # noqa: N818 - it says what is wrong
    """The state machine found its disk full: nothing of the call was applied, and the same call may be made again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a copy of the state holds.

    Attributes:
        at: (index, term) of the last entry applied in it.
        sha256: Digest of the bytes of all its files, in the order of their relative paths; None: nobody made it yet.
    """

    at: tuple[int, int]
    sha256: bytes | None = None


class StateMachine(Protocol):
    """The replicated state machine below consensus.

    `apply`, `install`, `applied` and `durable` are called on the Raft loop, never concurrently with each other. `snapshot` is
    called on a background thread while `apply` goes on; it must show the state at one applied index.

    Determinism: the same entries give the same state on every node, whatever the clock, the machine or the batching of
    calls. Failure: a bad command is a result, never an exception; an exception from `apply` other than `NoRoom` is a bug
    or a failing disk and stops the node, since a state machine that skipped an entry has diverged.
    """

    def applied(self) -> tuple[int, int]:
        """Return (index, term) of the last entry applied; (0, 0) when empty."""

    def durable(self) -> tuple[int, int]:
        """Return (index, term) of the last entry that is applied for good: after a crash `applied` begins no lower."""

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply entries in order, in one step. Entries at or below `applied()` are skipped.

        The step may become durable later: the log keeps what is above `durable()`. Raises NoRoom when the disk is full.
        """

    def snapshot(self, directory: Path) -> Snapshot:
        """Write a self-contained copy of the state into the empty `directory`; it need not outlast a crash."""

    def install(self, directory: Path) -> None:
        """Replace the whole state by the copy in `directory` (consumed), durably; refuse one older than `applied()`."""


class Consensus(Protocol):
    """One member's end of the Raft group.

    Every method may be called from any thread and returns at once. Callbacks run on the Raft loop, which is the loop of whoever
    hosts this member, exactly once, and must not block; an exception in one is logged and harms nobody else.
    """

    def propose(self, data: bytes, refused: Callable[[Refusal], None]) -> None:
        """Append `data` on this node, which must be the leader.

        There is no success callback: the proposer learns the outcome when the entry is applied here. `refused` is
        called when nothing was appended. An appended entry may still be lost with its leader: propose it again under
        the same (client, sequence), which the state machine applies at most once.
        """

    def read_index(self, done: Callable[[int | Refusal], None]) -> None:
        """Find an index such that a state that has applied it has seen every write acknowledged before this call.

        Works on any member: a follower asks the leader. One quorum round serves every read waiting when it starts.
        Fails within one election timeout when no leader confirms.
        """

    def status(self) -> Status:
        """Return the latest published picture; at most one tick old."""

    def add_member(self, member: Member, done: Callable[[int | Refusal], None]) -> None:
        """Add a voter or a learner, on the leader; `done` gets the log index at which the change was committed."""

    def remove_member(self, member_id: int, done: Callable[[int | Refusal], None]) -> None:
        """Remove a member, on the leader; removing the leader itself transfers leadership first."""

    def update_member(self, member: Member, done: Callable[[int | Refusal], None]) -> None:
        """Replace a member's name or addresses."""

    def promote_member(self, member_id: int, done: Callable[[int | Refusal], None]) -> None:
        """Give a learner a vote once it has at least 90 % of the leader's log."""

    def transfer_leadership(self, member_id: int, done: Callable[[int | Refusal], None]) -> None:
        """Hand leadership over to `member_id` (0: the most up to date follower); `done` gets the new leader's id."""

    def call(
        self, member_id: int, method: str, payload: bytes, done: Callable[[bytes | Refusal], None], timeout: float
    ) -> None:
        """Ask another member something over the authenticated peer connection; `timeout` in seconds.

        `payload` and the answer are at most 2 MiB. The other side answers through the handler given to `serve`. UNKNOWN
        or TIMED_OUT mean that the other side may have acted.
        """

    def tell(self, member_id: int, method: str, payload: bytes, unsent: Callable[[bytes | Refusal], None]) -> None:
        """Send another member what needs no answer, once; its handler gets it as it gets a call.

        `unsent` is called with the reason when it did not leave here. What left may still be lost.
        """

    def serve(self, method: str, handler: Callable[[int, bytes, Callable[[bytes | Refusal], None]], None]) -> None:
        """Answer other members' calls of `method`: handler(caller's id, payload, reply), run on the Raft loop."""

    def on_status(self, listener: Callable[[Status], None]) -> None:
        """Call `listener` on the Raft loop when role, term, leader, membership or read_only changed."""

    def stop(self) -> None:
        """Stop for good: further calls answer STOPPED. Waits until it has; not for the Raft loop, which must go on meanwhile."""
