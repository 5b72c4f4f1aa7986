"""Changing the membership: one change at a time, each a log entry with the whole new list."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from raftmeta.v1 import peer_pb2
from raftmeta.wal import WalFull

from .calls import Calls
from .codec import membership_entry
from .contract import Member, Refusal
from .peer import Peer
from .state import Surroundings

Done = Callable[["int | Refusal"], None]

REMOVE = "raft.remove"  # asked of the new leader by one that was told to remove itself


class Changes(Calls):
    """A change is refused while another is not committed, before this leader has committed, or if it loses quorum."""

    def __init__(self, given: Surroundings) -> None:
        """Start without a change."""
        self._later: deque[Callable[[], None]] = deque()
        self._change: tuple[int, int, Done] | None = None  # (index, term, done)
        super().__init__(given)
        self.handlers[REMOVE] = self._asked_to_remove

    def add_member(self, member: Member, done: Done) -> None:
        """Add a voter or learner."""
        if member.id in self.members:
            self._deny(done, Refusal.MEMBER_EXISTS)
        elif any(member.peer_address == other.peer_address for other in self.members.values()):
            self._deny(done, Refusal.ADDRESS_EXISTS)
        elif member.learner and sum(m.learner for m in self.members.values()) >= self.config.max_learners:
            self._deny(done, Refusal.TOO_MANY_LEARNERS)
        else:
            self._propose_members({**self.members, member.id: member}, done)

    def update_member(self, member: Member, done: Done) -> None:
        """Replace name and addresses; whether it is a learner stays as it is."""
        old = self.members.get(member.id)
        if old is None:
            self._deny(done, Refusal.NOT_MEMBER)
        elif any(m.peer_address == member.peer_address and m.id != member.id for m in self.members.values()):
            self._deny(done, Refusal.ADDRESS_EXISTS)
        else:
            self._propose_members({**self.members, member.id: replace(member, learner=old.learner)}, done)

    def promote_member(self, member_id: int, done: Done) -> None:
        """Give a learner its vote."""
        member = self.members.get(member_id)
        if member is None:
            self._deny(done, Refusal.NOT_MEMBER)
        elif not member.learner:
            self._deny(done, Refusal.NOT_LEARNER)
        elif self.leads and self.match[self.peers[member_id]] < self.last_index * self.config.promote_ratio:
            self._deny(done, Refusal.LEARNER_BEHIND)
        else:
            self._propose_members({**self.members, member_id: replace(member, learner=False)}, done)

    def remove_member(self, member_id: int, done: Done) -> None:
        """Remove a member; a leader hands over before it is removed."""
        if member_id not in self.members:
            self._deny(done, Refusal.NOT_MEMBER)
        elif member_id == self.me and self.leads:
            if not self.voters:
                self.call_back(done, Refusal.WOULD_LOSE_QUORUM)
            else:
                self.begin_transfer(0, lambda outcome: self._pass_on_removal(outcome, done))
        else:
            self._propose_members({key: m for key, m in self.members.items() if key != member_id}, done)

    def _pass_on_removal(self, outcome: int | Refusal, done: Done) -> None:
        if isinstance(outcome, Refusal):
            self.call_back(done, outcome)
            return

        def answered(answer: bytes | Refusal) -> None:
            self.call_back(done, int.from_bytes(answer, "big") if isinstance(answer, bytes) else answer)

        self.begin_call(outcome, REMOVE, self.me.to_bytes(8, "big"), answered, 4 * self.config.election_max)

    def _asked_to_remove(self, caller: int, payload: bytes, reply: Callable[[bytes | Refusal], None]) -> None:
        """Remove the caller, which led before; wait for the first commit of this leadership if need be."""
        if payload != caller.to_bytes(8, "big"):
            reply(Refusal.NOT_MEMBER)
            return
        until = self.clock() + 2 * self.config.election_max

        def attempt() -> None:
            if self.leads and self._busy and self.clock() < until and not self.stopping:
                self._later.append(attempt)
            else:
                self.remove_member(
                    caller, lambda out: reply(out if isinstance(out, Refusal) else out.to_bytes(8, "big"))
                )

        attempt()

    def _deny(self, done: Done, refusal: Refusal) -> None:
        """Refuse a change; that this member does not lead comes first."""
        self.call_back(done, self.refusal_now() or refusal)

    @property
    def _busy(self) -> bool:
        """Whether another change is on, or nothing of this term is committed yet."""
        return not self.committed_in_term or self.history[-1][0] > self.commit

    def _healthy(self, members: dict[int, Member]) -> bool:
        """Whether a majority of the new voters is alive, as far as this leader hears."""
        since = self.clock() - self.config.election_max
        before = {m.id for m in self.members.values() if not m.learner}
        voters = {m.id for m in members.values() if not m.learner}
        if voters == before or (before == {self.me} and len(voters) == 2):
            return True  # the first to join a single member cannot be heard before it is a member
        alive = [n for n in voters if n == self.me or (n in self.peers and self.peers[n].heard > since)]
        return len(alive) * 2 > len(voters)

    def _propose_members(self, members: dict[int, Member], done: Done) -> None:
        """Append the entry that puts `members` in force."""
        refusal = self.refusal_now()
        if refusal is None and self._busy:
            refusal = Refusal.BUSY
        if refusal is None and not self._healthy(members):
            refusal = Refusal.WOULD_LOSE_QUORUM
        if refusal is not None:
            self.call_back(done, refusal)
            return
        try:
            index = self.append_own(membership_entry(members))
        except WalFull as error:
            self.read_only = str(error)
            self.call_back(done, Refusal.NO_SPACE)
            return
        self._change = (index, self.term, done)

    def tend_change(self) -> None:
        """Report a change that is committed, or lost with its leader; let removed members know and go."""
        for peer, at, _ in list(self.departing.values()):
            if self.leads and peer in self.next and self.match[peer] >= at and peer.told_commit >= at:
                self.tell(peer.number, not_member=peer_pb2.NotMember(membership_index=at))
                self.next.pop(peer)
                self.match.pop(peer)
        self.forget_departed(self.clock())
        if self._change is None:
            return
        index, term, done = self._change
        if self.commit >= index:
            in_place = self.term_at(index) == term
            self._change = None
            self.call_back(done, index if in_place else Refusal.LEADER_CHANGED)
        elif not self.leads or self.term != term:
            self._change = None
            self.call_back(done, Refusal.UNKNOWN)

    def term_at(self, index: int) -> int:
        """Term of an entry; 0 when it is trimmed."""
        return self.log.term_of(index) if index >= self.base_index else 0

    def on_not_member(self, message: peer_pb2.NotMember) -> None:
        """Believe that this member was removed when the sender knows a later membership than it does."""
        if message.membership_index > self.history[-1][0]:
            self.expelled_at = message.membership_index

    def tell_stranger(self, peer: Peer) -> None:
        """Tell a sender that is in no committed membership so."""
        index = self.history[-1][0]
        if self.members and 0 < index <= self.commit:
            self.tell(peer.number, not_member=peer_pb2.NotMember(membership_index=index))
