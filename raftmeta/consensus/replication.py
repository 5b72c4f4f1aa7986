"""The leader's side of the log: appending, sending, counting who has what, committing."""

from __future__ import annotations

from collections.abc import Callable

from raftmeta.v1 import peer_pb2
from raftmeta.wal import WalFull

from .codec import COMMAND, HEADERS, VERSION
from .contract import Refusal
from .peer import Peer
from .snapshots import Snapshots
from .state import Surroundings


class Replication(Snapshots):
    """Followers get a bounded window of appends each; an entry counts where it is durable, here as well."""

    def __init__(self, given: Surroundings) -> None:
        """Start without anything sent."""
        self._encoded: tuple[tuple[int, ...], bytes] = ((), b"")  # the last append: what it carries, and its frame
        super().__init__(given)

    def append_own(self, data: bytes) -> int:
        """Append an entry in this term as leader; returns its index. Raises WalFull."""
        index = self.last_index + 1
        self.log.append(index, self.term, data)
        self.note_entry(index, data)
        return index

    def append_proposal(self, data: bytes, refused: Callable[[Refusal], None]) -> None:
        """Append a proposal, or say why not."""
        refusal = self.refusal_now()
        if refusal is None and (
            len(data) > self.config.proposal_bytes
            or self._uncommitted_bytes + len(data) > self.config.queued_bytes
            or len(self._uncommitted) >= self.config.queued_proposals
        ):
            refusal = Refusal.BUSY
        if refusal is not None:
            self.refuse(refused, refusal)
            return
        try:
            index = self.append_own(HEADERS[COMMAND] + data)
        except WalFull as error:
            self.read_only = str(error)
            self.refuse(refused, Refusal.NO_SPACE)
            return
        self._uncommitted.append((index, len(data)))
        self._uncommitted_bytes += len(data)
        self.counters.proposals += 1

    def refusal_now(self) -> Refusal | None:
        """Why this member takes no proposal or change now; None when it does."""
        if self.stopping:
            return Refusal.STOPPED
        if self.expelled_at or self.me not in self.members:
            return Refusal.NOT_MEMBER
        if not self.leads:
            return Refusal.NOT_LEADER if self.leader is not None else Refusal.NO_LEADER
        if self.transferring:
            return Refusal.LEADER_CHANGED
        if self.read_only:
            return Refusal.NO_SPACE
        return None

    # --- sending -------------------------------------------------------------------------------------------------

    def targets(self) -> list[Peer]:
        """Everyone the leader sends to: members, and removed ones until they know."""
        return [*self.peers.values(), *(peer for peer, _, _ in self.departing.values() if peer in self.next)]

    def _SyncObj__sendAppendEntries(self) -> None:
        """Send a heartbeat to everyone, with entries where there are some to send."""
        for peer in self.targets():
            self.replicate(peer, heartbeat=True)

    def replicate_all(self) -> None:
        """Send whatever is due: entries, a new commit index, a heartbeat."""
        now = self.clock()
        for peer in self.targets():
            due = now - peer.sent_at >= self.config.heartbeat
            if due or self.next[peer] <= self.last_index or peer.told_commit < self.commit:
                self.replicate(peer, heartbeat=due)

    def beat_all(self) -> None:
        """Send a bare heartbeat to whom one is due; what it says of the log was said before."""
        now = self.clock()
        for peer in self.targets():
            if now - peer.sent_at >= self.config.heartbeat:
                agreed = max(self.match[peer], self.base_index)
                self._append(peer, agreed, agreed)

    def replicate(self, peer: Peer, heartbeat: bool) -> None:
        """Send what fits the follower's window; at least a heartbeat when asked for one."""
        if peer.sending:
            if heartbeat:
                self._append(peer, self.base_index, self.base_index)  # keeps the follower following; it may well refuse
            return
        sent = False
        while self.next[peer] <= self.last_index and self._window_open(peer):
            if self.next[peer] <= self.base_index:
                self.begin_snapshot(peer)
                if heartbeat and not sent:
                    self._append(peer, self.base_index, self.base_index)
                return
            last = self.log.entries(self.next[peer], 5000, self.config.append_bytes)[-1].index
            self._append(peer, self.next[peer] - 1, last)
            sent = True
            peer.inflight.append(last)
            if peer.probing:
                return
            self.next[peer] = last + 1
        if not sent and (heartbeat or (peer.told_commit < self.commit and not peer.probing)):
            if self.next[peer] <= self.base_index:
                self.begin_snapshot(peer)
            agreed = max(self.next[peer] - 1, self.base_index)
            self._append(peer, agreed, agreed)

    def _window_open(self, peer: Peer) -> bool:
        if peer.probing:
            return not peer.inflight  # a lost one is made good by the next heartbeat's answer
        return len(peer.inflight) < self.config.inflight_messages

    def _append(self, peer: Peer, prev: int, last: int) -> None:
        """Send the entries after `prev` up to `last`, none of them when that is the same; encoded once for all who lack them."""
        peer.told_commit = self.commit
        peer.sent_at = self.clock()
        named = self.term, prev, last, self.commit, self.round
        if named != self._encoded[0]:
            append = peer_pb2.Append(
                prev_index=prev, prev_term=self.log.term_of(prev), commit=self.commit, round=self.round
            )
            if last > prev:
                for entry in self.log.entries(prev + 1, last - prev):
                    append.entries.add(term=entry.term, data=entry.data)
            message = peer_pb2.PeerMessage(version=VERSION, term=self.term, append=append)
            self._encoded = named, message.SerializeToString()
        self._put_on_wire(peer.number, self._encoded[1])

    # --- answers -------------------------------------------------------------------------------------------------

    def on_append_reply(self, peer: Peer, reply: peer_pb2.AppendReply) -> None:
        """Take in how far a follower's log agrees; the reply is of this term and we lead."""
        peer.heard = self.clock()
        peer.round = max(peer.round, reply.round)
        if reply.success:
            if reply.index > self.last_index:
                self.counters.messages_refused += 1  # no follower can agree with more than there is
                return
            self.match[peer] = max(self.match[peer], reply.index)
            self.next[peer] = max(self.next[peer], self.match[peer] + 1)
            while peer.inflight and peer.inflight[0] <= reply.index:
                peer.inflight.popleft()
            if not peer.sending and peer.probing:
                peer.probing = False
                peer.inflight.clear()
            return
        if peer.sending or reply.refused < self.match[peer]:
            return  # about a heartbeat beside a snapshot, or older than what the follower has confirmed since
        peer.probe()
        following = self._agreeable(reply) + 1
        self.next[peer] = max(self.match[peer] + 1, min(following, self.last_index + 1))

    def _agreeable(self, reply: peer_pb2.AppendReply) -> int:
        """Highest index at which the logs may still agree, given the follower's (index, term) hint."""
        index = min(reply.index, self.last_index, max(reply.refused - 1, 0))
        while index > self.base_index and reply.hint_term and self.log.term_of(index) > reply.hint_term:
            index -= 1
        return index

    def advance_commit(self) -> bool:
        """Commit what a majority has durably, if it is of this term (Raft paper, section 5.4.2); whether it moved."""
        if self.commit == self.last_index:
            return False
        have = [self.match[peer] for peer in self.voters]
        if self.is_voter:
            have.append(self.log.durable_index)
        if not have:
            return False
        have.sort(reverse=True)
        index = have[len(have) // 2]
        if index <= self.commit or self.log.term_of(index) != self.term:
            return False
        self.commit = self.leader_commit = index
        return True
