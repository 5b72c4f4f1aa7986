"""State of one member: pysyncobj's, with our log behind it, and the small steps every other part is made of."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as made_by
from typing import Any

from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.syncobj import SyncObj
from pysyncobj.transport import Transport as EngineTransport

from raftmeta.v1 import peer_pb2
from raftmeta.wal import Log, WalFull

from .codec import VERSION
from .config import RaftConfig
from .contract import Refusal, StateMachine
from .counters import Counters
from .engine import CANDIDATE, FOLLOWER, LEADER, field
from .peer import Peer
from .ports import Background, Cabinet, Wire

logger = logging.getLogger(__name__)


class SafetyError(Exception):
    """Raft's promises were about to be broken; the member stops rather than go on."""


class StartError(Exception):
    """Log, membership and state machine on disk do not fit together; the message says which, and what to do."""


@dataclass(slots=True)
class Surroundings:
    """Everything a core is given: nothing in it is found by looking around.

    Attributes:
        member_id: This member.
        cluster_id: Its cluster.
        config: Timers and limits.
        log: Entries, term and vote.
        machine: What entries are applied to.
        cabinet: Small records and snapshot directories.
        wire: Way to the other members.
        background: Worker for snapshots.
        clock: Seconds from any fixed point, never going back.
        rng: Draws election timeouts and transfer ids.
        counters: Where to count.
    """

    member_id: int
    cluster_id: int
    config: RaftConfig
    log: Log
    machine: StateMachine
    cabinet: Cabinet
    wire: Wire
    background: Background
    clock: Callable[[], float]
    rng: random.Random
    counters: Counters = made_by(default_factory=Counters)


class _EngineJournal:
    """The log in the shape pysyncobj's own methods expect: (data, index, term) records counted from the oldest."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __len__(self) -> int:
        return self._log.last_index - self._log.first_index + 2  # with the last one trimmed, as pysyncobj keeps it

    def __getitem__(self, position: int) -> tuple[bytes, int, int]:
        if position == -1:
            return b"", self._log.last_index, self._log.last_term
        index = self._log.first_index - 1 + position
        return b"", index, self._log.term_of(index)

    def setCurrentTerm(self, term: int, voted_for: int | None) -> None:
        self._log.save_hard_state(term, voted_for or 0)


class State(SyncObj):  # type: ignore[misc]  # pysyncobj has no types
    """pysyncobj's state under readable names; the clock, the dice and the log are the injected ones."""

    term: int = field("raftCurrentTerm")
    voted_for: int | None = field("votedForNodeId")
    role: int = field("raftState")
    leader: Node | None = field("raftLeader")
    deadline: float = field("raftElectionDeadline")
    commit: int = field("raftCommitIndex")
    last_applied: int = field("raftLastApplied")
    next: dict[Peer, int] = field("raftNextIndex")
    match: dict[Peer, int] = field("raftMatchIndex")
    voters: set[Peer] = field("otherNodes")
    learners: set[Peer] = field("readonlyNodes")
    noop_index: int | None = field("noopIDx")
    change_index: int | None = field("changeClusterIDx")
    leader_commit: int | None = field("leaderCommitIndex")
    engine_log: Any = field("raftLog")

    def __init__(self, given: Surroundings) -> None:
        """Take over pysyncobj's state and replace its memory journal by the log."""
        self.me = given.member_id
        self.cluster_id = given.cluster_id
        self.config = given.config
        self.log = given.log
        self.machine = given.machine
        self.cabinet = given.cabinet
        self.wire = given.wire
        self.background = given.background
        self.clock = given.clock
        self.rng = given.rng
        self.counters = given.counters
        self.peers: dict[int, Peer] = {}
        self.read_only = ""
        self.machine_full = ""
        self.stopping = False
        self.heard_leader = float("-inf")
        self.transferring = False
        self.round = 0  # quorum round of this leadership, for reads
        self._after_sync: list[tuple[int, bytes]] = []
        self.last_sync = 0.0  # seconds
        self.quorum_until = float("-inf")  # when this leader next has to count whom it heard
        self.patience = 0.0  # seconds of silence after which this member asks for an election
        self._sync_error: Exception | None = None
        self._sync_dirty = False
        self._uncommitted: deque[tuple[int, int]] = deque()
        self._uncommitted_bytes = 0
        conf = SyncObjConf(
            autoTick=False,
            dynamicMembershipChange=True,
            useFork=False,
            commandsWaitLeader=False,
            appendEntriesPeriod=self.config.heartbeat,
            raftMinTimeout=self.config.election_min,
            raftMaxTimeout=self.config.election_max,
            connectionTimeout=self.config.election_max,
            leaderFallbackTimeout=self.config.election_max,
        )
        super().__init__(Node(self.me), [], conf, transport=EngineTransport(self, None, []))
        self.engine_log = _EngineJournal(self.log)
        hard = self.log.hard_state
        self.term, self.voted_for = max(hard.term, self.log.last_term), hard.voted_for or None
        if self.term > hard.term:
            self.voted_for = None
        self.deadline = self.clock() + self._SyncObj__generateRaftTimeout()

    def _SyncObj__generateRaftTimeout(self) -> float:
        """Draw an election timeout, in seconds, from the injected dice; the leader's messages renew it until the next is drawn."""
        self.patience = self.rng.uniform(self.config.election_min, self.config.election_max)
        return self.patience

    # --- the log -------------------------------------------------------------------------------------------------

    @property
    def last_index(self) -> int:
        """Index of the last entry in the log."""
        return self.log.last_index

    @property
    def base_index(self) -> int:
        """Index of the last entry trimmed from the log; 0 when none was."""
        return self.log.first_index - 1

    def sync(self) -> bool:
        """Make the log durable and let out what had to wait for it; False when the disk is full.

        Messages that promise something about the log are only queued before this; they are dropped when the promise
        cannot be made.
        """
        self.sync_log()
        return self.settle_sync()

    def sync_log(self) -> None:
        """Make the log durable; touches nothing but the log, so that another thread may do it. Raises nothing."""
        self._sync_error = None
        self._sync_dirty = self.log.durable_index < self.log.last_index
        started = self.clock()
        try:
            self.log.sync()
        except Exception as error:  # noqa: BLE001 - raised where the core runs
            self._sync_error = error
        if self._sync_dirty:
            self.last_sync = self.clock() - started

    def settle_sync(self) -> bool:
        """Let out what waited for `sync_log`; False when it found the disk full. Raises any other error of it."""
        error = self._sync_error
        if isinstance(error, WalFull):
            self._after_sync.clear()
            self.read_only = str(error)
            return False
        if error is not None:
            raise error
        if self._sync_dirty:
            self.counters.fsyncs += 1
            self.counters.fsync_seconds += self.last_sync
            self.counters.fsync_max_seconds = max(self.counters.fsync_max_seconds, self.last_sync)
        self.read_only = self.machine_full
        waiting, self._after_sync = self._after_sync, []
        for member_id, frame in waiting:
            self._put_on_wire(member_id, frame)
        return True

    # --- messages ------------------------------------------------------------------------------------------------

    def tell(self, member_id: int, durable: bool = True, term: int | None = None, **body: Any) -> None:
        """Send a message; `durable` ones leave after the next `sync`, the others at once."""
        message = peer_pb2.PeerMessage(version=VERSION, term=self.term if term is None else term, **body)
        frame = message.SerializeToString()
        if durable:
            self._after_sync.append((member_id, frame))
        else:
            self._put_on_wire(member_id, frame)

    def _put_on_wire(self, member_id: int, frame: bytes) -> bool:
        self.counters.messages_sent += 1
        if self.wire.send(member_id, frame):
            return True
        self.counters.messages_dropped += 1
        return False

    # --- roles ---------------------------------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this member is leader."""
        return bool(self.role == LEADER)

    @property
    def leader_id(self) -> int:
        """The leader this member knows; 0 for none."""
        return int(self.leader.id) if self.leader is not None else 0

    def set_term(self, term: int, voted_for: int | None) -> None:
        """Move to `term` with this vote, durably, before anything that says so can leave."""
        if term < self.term:
            raise SafetyError(f"term would go back from {self.term} to {term}")
        self._SyncObj__setCurrentTerm(term, voted_for)

    def follow(self, term: int, leader: Peer | None) -> None:
        """Become (or stay) a follower in `term`, of `leader` if it is known."""
        if term > self.term:
            self.set_term(term, None)
            self.transferring = False
        if self.role != FOLLOWER:
            self.deadline = self.clock() + self._SyncObj__generateRaftTimeout()
            self._uncommitted.clear()
            self._uncommitted_bytes = 0
        if leader is not None and (self.leader is None or self.leader != leader):
            self.counters.leader_changes += 1
        self.leader = leader
        if self.role != FOLLOWER:
            self._SyncObj__setState(FOLLOWER)

    @property
    def campaigns(self) -> bool:
        """Whether an election of this member is on."""
        return self.role == CANDIDATE

    def call_back(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call a caller's callback; what it raises is logged and harms nobody else."""
        try:
            callback(*arguments)
        except Exception:
            self.counters.callback_failures += 1
            logger.exception("a callback of consensus failed")

    def refuse(self, refused: Callable[[Refusal], None], refusal: Refusal) -> None:
        """Tell a proposer that nothing was appended."""
        self.counters.refused += 1
        self.call_back(refused, refusal)
