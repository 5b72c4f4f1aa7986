"""Linearizable reads: an index confirmed by a majority after the read was asked (ReadIndex, Ongaro's thesis, 6.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raftmeta.v1 import peer_pb2

from .contract import Refusal
from .elections import Elections
from .peer import Peer
from .seeded import Bug
from .state import Surroundings

Done = Callable[["int | Refusal"], None]


@dataclass(slots=True)
class Round:
    """Reads that one quorum round, or one question to the leader, answers.

    Attributes:
        reads: (deadline in clock seconds, callback).
        index: Commit index when the round began; as a follower 0.
        id: Number of the round; as a follower the id of the question.
        asked_at: When it was (last) sent.
        term: Term in which it began.
        leader_id: Whom it was sent to; this member itself when it leads.
    """

    reads: list[tuple[float, Done]]
    index: int
    id: int
    asked_at: float
    term: int
    leader_id: int


class Reads(Elections):
    """At most one round is on its way; what comes meanwhile waits for the next."""

    def __init__(self, given: Surroundings) -> None:
        """Start without reads."""
        self.waiting: list[tuple[float, Done]] = []
        self.on_way: Round | None = None
        super().__init__(given)
        self._question = self.rng.getrandbits(60)

    @property
    def read_patience(self) -> float:
        """Seconds after which a read fails."""
        return self.config.read_timeout or self.config.election_max

    def begin_read(self, done: Done) -> None:
        """Put a read in the queue."""
        if self.stopping:
            self._fail(done, Refusal.STOPPED)
        elif self.expelled_at or not self.members:
            self._fail(done, Refusal.NOT_MEMBER)
        elif len(self.waiting) >= self.config.pending_reads:
            self._fail(done, Refusal.BUSY)
        else:
            self.waiting.append((self.clock() + self.read_patience, done))

    def _fail(self, done: Done, refusal: Refusal) -> None:
        self.counters.read_failures += 1
        self.call_back(done, refusal)

    def tend_reads(self) -> None:
        """Answer what is confirmed, start what waits, fail what waited too long."""
        now = self.clock()
        if self.on_way is not None and (self.on_way.term, self.on_way.leader_id) != (self.term, self.leader_id):
            self.waiting = self.on_way.reads + self.waiting  # ask whoever leads now: a later index serves as well
            self.on_way = None
        self._expire(now)
        if self.on_way is not None:
            self._press(self.on_way, now)
        while self.waiting and self.on_way is None and self.leader_id:
            if self.leads and not self.committed_in_term:
                return
            self._start(now)

    @property
    def committed_in_term(self) -> bool:
        """Whether this leader knows what is committed: an entry of its own term is."""
        return self.noop_index is not None and self.commit >= self.noop_index

    def _start(self, now: float) -> None:
        reads, self.waiting = self.waiting, []
        if self.leads:
            self.round += 1
            self.counters.read_rounds += 1
            self.on_way = Round(reads, self.commit, self.round, now, self.term, self.me)
            if not self._confirm():
                self._SyncObj__sendAppendEntries()
        else:
            self._question += 1
            self.on_way = Round(reads, 0, self._question, now, self.term, self.leader_id)
            self._ask_leader(self.on_way)

    def _ask_leader(self, question: Round) -> None:
        self.tell(question.leader_id, durable=False, read_index=peer_pb2.ReadIndex(id=question.id))

    def _press(self, pending: Round, now: float) -> None:
        """Look whether a round is confirmed; repeat a question that may have been lost."""
        if self.leads:
            self._confirm()
        elif now - pending.asked_at > 2 * self.config.heartbeat:
            pending.asked_at = now
            self._ask_leader(pending)

    def _confirm(self) -> bool:
        pending = self.on_way
        assert pending is not None
        confirmed = {self.me, *(peer.number for peer in self.voters if peer.round >= pending.id)}
        if not self.majority(confirmed) and self.config.test_bug is not Bug.STALE_READ:
            return False
        self._answer(pending, pending.index)
        return True

    def _answer(self, pending: Round, index: int) -> None:
        self.on_way = None
        self.counters.reads += len(pending.reads)
        for _, done in pending.reads:
            self.call_back(done, index)

    def _expire(self, now: float) -> None:
        late: list[Done] = []
        for reads in (self.waiting, self.on_way.reads if self.on_way else []):
            if reads and reads[0][0] <= now:
                late += [done for until, done in reads if until <= now]
                reads[:] = [read for read in reads if read[0] > now]
        if self.on_way is not None and not self.on_way.reads:
            self.on_way = None
        for done in late:
            self._fail(done, Refusal.TIMED_OUT if self.leader_id else Refusal.NO_LEADER)

    def fail_reads(self, refusal: Refusal) -> None:
        """Fail every read, when the member stops or is removed."""
        reads = self.waiting + (self.on_way.reads if self.on_way else [])
        self.waiting, self.on_way = [], None
        for _, done in reads:
            self._fail(done, refusal)

    def on_read_index(self, peer: Peer, term: int, message: peer_pb2.ReadIndex) -> None:
        """A follower asks: its reads wait like ours, unless its question settles that this member still leads.

        Whoever asks in this term was in it when its reads had been asked, and had voted for nobody of a later one. If
        it and this member are a majority, nobody can have been elected, and nothing committed elsewhere, before that: the
        question is the echo that a round of heartbeats would ask it for (Ongaro's thesis, 6.4, counts no more than that).
        """
        if not self.leads or term != self.term:
            return  # it asks again, or somebody else
        number, question = peer.number, message.id

        def reply(outcome: int | Refusal) -> None:
            answer = peer_pb2.ReadIndexReply(id=question)
            if not isinstance(outcome, Refusal):
                answer.confirmed, answer.index = True, outcome
            self.tell(number, durable=False, read_index_reply=answer)

        if self.committed_in_term and not self.stopping and self.majority((self.me, number)):
            self.counters.reads += 1
            reply(self.commit)
        else:
            self.begin_read(reply)

    def on_read_index_reply(self, reply: peer_pb2.ReadIndexReply) -> None:
        """The leader answered; a refusal is asked again until the reads' time is up."""
        pending = self.on_way
        if pending is not None and not self.leads and pending.id == reply.id and reply.confirmed:
            self._answer(pending, reply.index)
