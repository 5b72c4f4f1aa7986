"""Elections: pre-vote, votes that stick to a living leader, one leader a term, and handing over on purpose."""

from __future__ import annotations

from collections.abc import Callable

from raftmeta.v1 import peer_pb2
from raftmeta.wal import WalFull

from .codec import HEADERS, NO_OP
from .contract import Refusal
from .engine import CANDIDATE, FOLLOWER, LEADER
from .installing import Installing
from .peer import Peer
from .state import Surroundings


class Elections(Installing):
    """A member asks whether it would be elected before it raises its term, so that one cut off disturbs nobody."""

    def __init__(self, given: Surroundings) -> None:
        """Start as a follower that knows no leader."""
        self.pre_votes: set[int] | None = None
        self.votes: set[int] = set()
        self.transfer: tuple[Peer, float, Callable[[int | Refusal], None]] | None = None
        self.transfer_sent_at = 0.0
        super().__init__(given)

    def heed(self, peer: Peer) -> None:
        """Follow the leader of this term and drop any election of our own."""
        self.pre_votes = None
        super().heed(peer)

    # --- asking --------------------------------------------------------------------------------------------------

    def check_election(self) -> None:
        """Ask for an election when the leader has been silent for too long."""
        if self.role == LEADER or not self.is_voter or self.read_only:
            return
        if not self.voters:
            self.campaign(transfer=False)  # the only voter need not wait for anybody
        elif self.deadline <= self.clock():
            self.deadline = self.clock() + self._SyncObj__generateRaftTimeout()
            self.pre_campaign()

    def pre_campaign(self) -> None:
        """Ask the voters whether they would vote for this member; nobody's term changes."""
        self.leader = None
        self._SyncObj__setState(FOLLOWER)
        self.pre_votes = {self.me}
        self._ask(self.term + 1, pre=True, transfer=False)

    def campaign(self, transfer: bool) -> None:
        """Raise the term, vote for oneself and ask for votes."""
        self.counters.elections += 1
        self.leader = None
        self.pre_votes = None
        self.set_term(self.term + 1, self.me)
        self._SyncObj__setState(CANDIDATE)
        self.deadline = self.clock() + self._SyncObj__generateRaftTimeout()
        self.votes = {self.me}
        if self.majority(self.votes):
            self._SyncObj__onBecomeLeader()
        else:
            self._ask(self.term, pre=False, transfer=transfer)

    def _ask(self, term: int, pre: bool, transfer: bool) -> None:
        vote = peer_pb2.Vote(last_index=self.last_index, last_term=self.log.last_term, pre=pre, transfer=transfer)
        for peer in self.voters:
            self.tell(peer.number, term=term, vote=vote)

    # --- answering -----------------------------------------------------------------------------------------------

    @property
    def hears_leader(self) -> bool:
        """Whether a leader lives as far as this member knows: votes against it are refused."""
        if self.role == LEADER:
            return True
        return self.leader is not None and self.clock() - self.heard_leader < self.config.election_min

    def on_vote(self, peer: Peer, term: int, vote: peer_pb2.Vote) -> None:
        """Answer a request for a vote in `term`."""
        up_to_date = (vote.last_term, vote.last_index) >= (self.log.last_term, self.last_index)
        if self.hears_leader and not vote.transfer:
            self._refuse_vote(peer, vote.pre)
        elif vote.pre:
            if term > self.term and up_to_date:
                self.tell(peer.number, term=term, vote_reply=peer_pb2.VoteReply(granted=True, pre=True))
            else:
                self._refuse_vote(peer, pre=True)
        elif term < self.term:
            self._refuse_vote(peer, pre=False)
        else:
            if term > self.term:
                self.follow(term, None)
            if self.role == FOLLOWER and self.voted_for in (None, peer.number) and up_to_date:
                self.set_term(self.term, peer.number)
                self.deadline = self.clock() + self._SyncObj__generateRaftTimeout()
                self.tell(peer.number, vote_reply=peer_pb2.VoteReply(granted=True))
            else:
                self._refuse_vote(peer, pre=False)

    def _refuse_vote(self, peer: Peer, pre: bool) -> None:
        self.tell(peer.number, vote_reply=peer_pb2.VoteReply(granted=False, pre=pre))

    def on_vote_reply(self, peer: Peer, term: int, reply: peer_pb2.VoteReply) -> None:
        """Count a vote; a refusal of a higher term was dealt with before."""
        if not reply.granted or peer not in self.voters:
            return
        if reply.pre:
            if self.pre_votes is not None and term == self.term + 1 and self.role == FOLLOWER:
                self.pre_votes.add(peer.number)
                if self.majority(self.pre_votes):
                    self.campaign(transfer=False)
        elif self.role == CANDIDATE and term == self.term:
            self.votes.add(peer.number)
            if self.majority(self.votes):
                self._SyncObj__onBecomeLeader()

    # --- leading -------------------------------------------------------------------------------------------------

    def _SyncObj__onBecomeLeader(self) -> None:
        """Lead: start every follower over and append an entry of this term, which commits what came before it."""
        now = self.clock()
        self.leader = self.selfNode
        self.quorum_until = float("-inf")
        self._SyncObj__setState(LEADER)
        self.counters.leader_changes += 1
        self.round = 0
        for peer in self.targets():
            peer.start_over(now)
            self.next[peer] = self.last_index + 1
            self.match[peer] = 0
        try:
            self.noop_index = self.append_own(HEADERS[NO_OP])
        except WalFull as error:
            self.read_only = str(error)
            self.resign()
            return
        self._SyncObj__sendAppendEntries()

    def resign(self) -> None:
        """Stop leading without anybody to follow yet."""
        self.counters.step_downs += 1
        self.follow(self.term, None)

    def check_quorum(self) -> None:
        """Stop leading when no majority was heard for one election timeout."""
        if self.role != LEADER or self.clock() < self.quorum_until:
            return
        since = self.clock() - self.config.election_max
        heard = {peer.number for peer in self.voters if peer.heard > since}
        if not self.majority(heard | {self.me}):
            self.resign()
            return
        oldest = min((peer.heard for peer in self.voters if peer.number in heard), default=self.clock())
        self.quorum_until = oldest + self.config.election_max  # until then those heard are a majority

    # --- handing over --------------------------------------------------------------------------------------------

    def begin_transfer(self, member_id: int, done: Callable[[int | Refusal], None]) -> None:
        """Hand leadership to a voter; 0 picks the one that has most of the log."""
        refusal = self.refusal_now()
        if refusal is not None:
            self.call_back(done, refusal)
            return
        if member_id == self.me:
            self.call_back(done, self.me)
            return
        recently = self.clock() - self.config.election_min
        candidates = [
            peer for peer in self.voters if peer.number == member_id or (not member_id and peer.heard > recently)
        ]
        if not candidates:
            self.call_back(done, Refusal.BAD_TRANSFEREE)
            return
        peer = max(candidates, key=lambda peer: (self.match[peer], -peer.number))
        if self.transfer is not None:  # this member lost its leadership meanwhile and has it again
            self._end_transfer(self.transfer[2], Refusal.LEADER_CHANGED)
        self.transfer = (peer, self.clock() + self.config.election_max, done)
        self.transferring = True
        self.transfer_sent_at = float("-inf")
        self.tend_transfer()

    def tend_transfer(self) -> None:
        """Tell the one who takes over to go when it has everything; report how it ended."""
        if self.transfer is None:
            return
        peer, until, done = self.transfer
        now = self.clock()
        if not self.leads and self.leader is not None:
            self._end_transfer(done, self.leader_id)
        elif now >= until:
            self._end_transfer(done, Refusal.TIMED_OUT)
        elif self.leads and peer.number not in self.peers:
            self._end_transfer(done, Refusal.BAD_TRANSFEREE)
        elif self.leads and self.match[peer] == self.last_index and now - self.transfer_sent_at > self.config.heartbeat:
            self.transfer_sent_at = now
            self.tell(peer.number, timeout_now=peer_pb2.TimeoutNow())

    def _end_transfer(self, done: Callable[[int | Refusal], None], outcome: int | Refusal) -> None:
        self.transfer = None
        self.transferring = False
        self.call_back(done, outcome)

    def on_timeout_now(self, peer: Peer) -> None:
        """Take over from the leader of this term, which asked for it."""
        if self.role == FOLLOWER and self.leader == peer and self.is_voter and not self.read_only:
            self.campaign(transfer=True)
