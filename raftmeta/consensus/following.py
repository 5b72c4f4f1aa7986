"""The follower's side of the log: believing a leader, agreeing with its log, never giving up what is committed."""

from __future__ import annotations

from raftmeta.v1 import peer_pb2
from raftmeta.wal import WalFull

from .peer import Peer
from .replication import Replication
from .state import SafetyError, Surroundings


class Following(Replication):
    """Entries are removed only on a conflict, and never at or below the commit index."""

    def __init__(self, given: Surroundings) -> None:
        """Start without having agreed to anything."""
        self._agreed = (0, 0, 0, 0)  # (leader, term, index, round) of the newest agreement
        self._agreed_at = 0.0
        super().__init__(given)

    def on_append(self, peer: Peer, append: peer_pb2.Append) -> None:
        """Take an append of the current term from its leader."""
        self.heed(peer)
        prev = append.prev_index
        last = prev + len(append.entries)
        if last <= self.commit:
            self._agree(peer, append, self.commit)  # all of it is older than what is committed here, hence the same
            return
        if prev > self.last_index:
            self._disagree(peer, append, self.last_index)
            return
        if prev >= self.base_index and self.log.term_of(prev) != append.prev_term:
            if prev <= self.commit:
                raise SafetyError(f"leader {peer.number:x} has another entry at {prev}, which is committed here")
            self._disagree(peer, append, self._before(prev, append.prev_term))
            return
        try:
            self._store(peer, append)
        except WalFull as error:
            self.read_only = str(error)
            return
        if min(append.commit, last) > self.commit:
            self.commit = min(append.commit, last)
        self.leader_commit = append.commit
        self._agree(peer, append, last)

    def heed(self, peer: Peer) -> None:
        """Follow the leader of this term and put off any election."""
        if self.leads:
            raise SafetyError(f"two leaders in term {self.term}: this member and {peer.number:x}")
        self.follow(self.term, peer)
        self.heard_leader = self.clock()
        self.deadline = self.heard_leader + self.patience

    def _store(self, peer: Peer, append: peer_pb2.Append) -> None:
        """Append the entries this log lacks, after removing what conflicts with them."""
        index = append.prev_index
        for entry in append.entries:
            index += 1
            if index <= self.base_index:
                continue
            if index <= self.last_index:
                if self.log.term_of(index) == entry.term:
                    continue
                if index <= self.commit:
                    raise SafetyError(f"leader {peer.number:x} wants to replace entry {index}, which is committed here")
                self.roll_back_memberships(index)
                self.log.truncate_from(index)
            self.log.append(index, entry.term, entry.data)
            self.note_entry(index, entry.data)

    def _before(self, prev: int, prev_term: int) -> int:
        """Highest index below `prev` whose entry is not of a later term than the leader's there."""
        index = prev - 1
        while index > self.commit and self.log.term_of(index) > prev_term:
            index -= 1
        return index

    def _agree(self, peer: Peer, append: peer_pb2.Append, index: int) -> None:
        """Say how far the logs agree; not again at once when only the commit index came.

        What was said may be lost: half a heartbeat later it is said again.
        """
        now = self.clock()
        agreed = peer.number, self.term, index, append.round
        if not append.entries and agreed == self._agreed and now - self._agreed_at < self.config.heartbeat / 2:
            return
        self._agreed, self._agreed_at = agreed, now
        self.tell(peer.number, append_reply=peer_pb2.AppendReply(success=True, index=index, round=append.round))

    def _disagree(self, peer: Peer, append: peer_pb2.Append, index: int) -> None:
        self._agreed = (0, 0, 0, 0)
        reply = peer_pb2.AppendReply(
            index=index, hint_term=self.log.term_of(index), round=append.round, refused=append.prev_index
        )
        self.tell(peer.number, append_reply=reply)

    def _SyncObj__sendNextNodeIdx(
        self, node: Peer, reset: bool = False, nextNodeIdx: int | None = None, success: bool = False
    ) -> None:
        """Never used: pysyncobj's answer to an append has no term."""
        raise SafetyError("an append was answered without a term")
