"""One member's Raft, without threads, sockets or clocks of its own: what comes in, what time does, what goes out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from raftmeta.v1 import peer_pb2

from .codec import FormatError, decode, unpack_members
from .contract import Member, Refusal, Role, Status
from .engine import CANDIDATE, FOLLOWER, LEADER
from .enlisting import Enlisting
from .installing import Incoming
from .peer import Peer
from .state import SafetyError, Surroundings

logger = logging.getLogger(__name__)

_HELD = 64
"""Proposals above which none is held back: they are batches."""
TERM_LEAP = 1 << 32
"""Terms by which a message may be ahead: decades of elections, and far from the end of what a term can count to."""
_ROLES = {FOLLOWER: Role.FOLLOWER, CANDIDATE: Role.CANDIDATE, LEADER: Role.LEADER}


class Core(Enlisting):
    """Everything together. Call `turn` when something came in and at least once a heartbeat."""

    def __init__(self, given: Surroundings) -> None:
        """Open up on what is durable; raises StartError when that does not fit together."""
        self.inbox: deque[tuple[int, bytes]] = deque()
        self.proposals: deque[tuple[bytes, Callable[[Refusal], None]]] = deque()
        self._last_turn: float | None = None
        self._listeners: list[Callable[[Status], None]] = []
        self._retry_full_at = 0.0
        self._appended_at = self._committed_at = float("-inf")
        self._width = self._shared = 0  # proposals in the last round, and in the larger of the last two
        self._shown: tuple[object, ...] = ()
        super().__init__(given)
        self.status = self._told = self.picture()

    # --- time ----------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take in what came, let time act, make it durable, send, commit, apply. Raises what must stop the member."""
        self._onTick()

    def _onTick(self, timeToWait: float = 0.0) -> None:
        """Replace pysyncobj's tick: the inbox comes before any timer, and nothing is promised before it is durable."""
        self.begin_turn()
        if self.sync_due:
            self.make_durable()
        self.end_turn()

    def begin_turn(self) -> None:
        """Do what comes before the log's sync. Nothing but `pulse` may follow before `end_turn`."""
        self.counters.ticks += 1
        self._mind_stall()
        for _ in range(len(self.inbox)):
            self._take_frame(*self.inbox.popleft())
        for _ in range(len(self._later)):
            self._later.popleft()()
        self.check_quorum()
        self.check_election()
        if self.transfer is not None:
            self.tend_transfer()
        if self.leads and self.advance_commit():  # first, so that one message carries it with what is appended now
            self._committed_at = self.clock()
        if self.proposals and not self.holding:
            self._checkCommandsToApply()
        if self.leads:
            self.replicate_all()

    def end_turn(self) -> None:
        """Do what comes after the log's sync."""
        if self.leads and self.advance_commit():
            self._committed_at = self.clock()
            self.replicate_all()
        visible = self.visible_members
        if self.status.members is not visible and self.status.members != visible:
            self.publish()  # whoever sees an entry applied sees the membership that came before it
        self._SyncObj__applyLogEntries()
        if self.machine_full and self.leads and self.voters:
            self.resign()  # others can answer what this member cannot apply
        if self._change is not None or self.departing:
            self.tend_change()
        if self.waiting or self.on_way is not None:
            self.tend_reads()
        if self._calls:
            self.tend_calls()
        if self.source is not None:
            self.tend_snapshots()
        self._SyncObj__tryLogCompaction()
        if self._after_sync and self.sync_due:
            self.make_durable()
        self.publish()

    def pulse(self) -> None:
        """Keep the followers following while a turn waits for a slow disk; not for longer than some elections take."""
        if self.leads and self._last_turn is not None and self.clock() - self._last_turn < 3 * self.config.election_max:
            self.beat_all()

    @property
    def sync_due(self) -> bool:
        """Whether there is something to sync or to let out; with a full disk not before it is time to try again."""
        return (
            bool(self._after_sync or self.read_only or self.log.durable_index < self.log.last_index)
            and self.clock() >= self._retry_full_at
        )

    @property
    def unsynced(self) -> bool:
        """Whether entries wait for the disk."""
        return self.log.durable_index < self.log.last_index

    def end_sync(self) -> None:
        """Take in how `sync_log` ended elsewhere. Raises what it raised unless the disk is full."""
        self._settle(self.settle_sync())

    def make_durable(self) -> None:
        """Sync; with a full disk stop leading, and try again a second later."""
        self._settle(self.sync())

    def _settle(self, synced: bool) -> None:
        if synced:
            return
        self._retry_full_at = self.clock() + 1.0
        if self.leads and self.voters:
            self.resign()

    def _mind_stall(self) -> None:
        """After a turn that came late, wait a heartbeat for what was sent meanwhile before blaming anybody."""
        now = self.clock()
        last, self._last_turn = self._last_turn, now
        if last is None or now - last <= 2 * self.config.heartbeat:
            return
        late = now - last - self.config.heartbeat
        self.counters.stalls += 1
        self.counters.stall_seconds += late
        self.deadline = max(self.deadline, now + 2 * self.config.heartbeat)
        if self.leads:
            grace = now - self.config.election_max + 2 * self.config.heartbeat
            for peer in self.voters:
                peer.heard = max(peer.heard, min(grace, peer.heard + late))

    # --- messages ------------------------------------------------------------------------------------------------

    def _take_frame(self, sender: int, frame: bytes) -> None:
        try:
            message = decode(frame)
        except FormatError as error:
            self.counters.messages_refused += 1
            logger.warning("member %x sent something unreadable: %s", sender, error)
            return
        if message.term > self.term + TERM_LEAP:
            self.counters.messages_refused += 1
            logger.warning("member %x speaks of term %d, this member is in %d", sender, message.term, self.term)
            return
        peer = self.peers.get(sender)
        if peer is None:
            peer = self.departing[sender][0] if sender in self.departing else Peer(Member(sender, "", ""))
        self._SyncObj__onMessageReceived(peer, message)

    def _SyncObj__onMessageReceived(self, node: Peer, message: peer_pb2.PeerMessage) -> None:
        """Sort a message by its term first, as the Raft paper has it, then by what it says."""
        self.counters.messages_received += 1
        kind = message.WhichOneof("body")
        if kind == "call":
            self.on_call(node, message.call)
        elif kind == "call_reply":
            self.on_call_reply(node, message.call_reply)
        elif kind == "not_member":
            self.on_not_member(message.not_member)
        elif kind == "enlist":
            self.on_enlist(node, message.enlist)
        elif kind == "enlist_reply":
            self.on_enlist_reply(node, message.enlist_reply)
        elif not self.enlisted:
            return  # terms, votes and entries are for those that take part
        elif kind == "vote":
            if node.number not in self.peers:
                self.tell_stranger(node)
            self.on_vote(node, message.term, message.vote)
        elif kind == "vote_reply" and message.vote_reply.granted and message.vote_reply.pre:
            self.on_vote_reply(node, message.term, message.vote_reply)
        elif message.term > self.term:
            self._newer_term(node, message, kind)
        elif message.term < self.term:
            self._older_term(node, message, kind)
        else:
            self._same_term(node, message, kind)

    def _newer_term(self, node: Peer, message: peer_pb2.PeerMessage, kind: str | None) -> None:
        self.follow(message.term, None)
        if kind in {"append", "snapshot_chunk"}:
            self._same_term(node, message, kind)

    def _older_term(self, node: Peer, message: peer_pb2.PeerMessage, kind: str | None) -> None:
        """Tell a leader of an earlier term that it leads no more; drop everything else that is old."""
        if kind == "append":
            refusal = peer_pb2.AppendReply(index=self.last_index, refused=message.append.prev_index)
            self.tell(node.number, append_reply=refusal)
        elif kind == "snapshot_chunk":
            self.tell(node.number, snapshot_reply=peer_pb2.SnapshotReply(id=message.snapshot_chunk.id, failed=True))
        elif kind == "read_index":
            self.tell(node.number, read_index_reply=peer_pb2.ReadIndexReply(id=message.read_index.id))

    def _same_term(self, node: Peer, message: peer_pb2.PeerMessage, kind: str | None) -> None:
        if kind == "append":
            self.on_append(node, message.append)
        elif kind == "snapshot_chunk":
            self.on_snapshot_chunk(node, message.snapshot_chunk)
        elif kind == "vote_reply":
            self.on_vote_reply(node, message.term, message.vote_reply)
        elif kind == "timeout_now":
            self.on_timeout_now(node)
        elif kind == "read_index":
            self.on_read_index(node, message.term, message.read_index)
        elif kind == "read_index_reply" and node.number == self.leader_id:
            self.on_read_index_reply(message.read_index_reply)
        elif self.leads and node in self.next:
            if kind == "append_reply":
                self.on_append_reply(node, message.append_reply)
            elif kind == "snapshot_reply":
                self.on_snapshot_reply(node, message.snapshot_reply)

    def _install(self, incoming: Incoming) -> None:
        """Show the membership of a snapshot before its state: as with entries, nobody sees the state without it."""
        self.status = replace(self.status, members=unpack_members(incoming.manifest.membership))
        super()._install(incoming)

    # --- requests of this node -----------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether something waits for the next turn already."""
        return bool(self._later or self.applies_more or (self.proposals and not self.holding))

    @property
    def patience_left(self) -> float:
        """Seconds for which proposals are held back at most."""
        return self.config.hold if self.commit < self.last_index else self.config.gather

    @property
    def holding(self) -> bool:
        """Whether proposals had better wait for a moment: the last ones are not committed yet, and few large rounds cost every
        member less than many small ones. Not for long: a slow disk or a long way takes several rounds at a time.
        When several members' proposals shared one of the last two rounds, their next ones are waited for too, a moment only.
        """
        if not self.leads or len(self.proposals) >= _HELD:
            return False
        if self.commit < self.last_index:
            return self.clock() - self._appended_at < self.config.hold
        if self._shared < 2 or len(self.proposals) >= len(self.members):
            return False
        return self.clock() - self._committed_at < self.config.gather

    def _checkCommandsToApply(self) -> None:
        """Append every waiting proposal; they leave in one message and become durable in one sync."""
        self._appended_at = self.clock()
        self._shared, self._width = max(self._width, len(self.proposals)), len(self.proposals)
        for _ in range(len(self.proposals)):
            self.append_proposal(*self.proposals.popleft())

    def _applyCommand(self, command: object, callback: object, commandType: int | None = None) -> None:
        """Refuse pysyncobj's own way in: its commands have another format."""
        raise SafetyError("commands go in through append_proposal")

    def later(self, work: Callable[[], None]) -> None:
        """Run `work` in the next turn. The one method that another thread may call."""
        self._later.append(work)

    def flush_later(self) -> None:
        """Answer everything that waits with STOPPED, after the last turn; by one thread at a time.

        What was handed to `later` runs: whatever it asks for is answered, and neither log nor machine are touched.
        """
        self.stopping = True
        while self._later:
            self.call_back(self._later.popleft())
        while self.proposals:
            self.refuse(self.proposals.popleft()[1], Refusal.STOPPED)
        self.fail_reads(Refusal.STOPPED)
        self.fail_calls(Refusal.STOPPED)
        if self.transfer is not None:
            self._end_transfer(self.transfer[2], Refusal.STOPPED)
        if self._change is not None:
            done, self._change = self._change[2], None
            self.call_back(done, Refusal.STOPPED)

    # --- what others see -----------------------------------------------------------------------------------------

    def picture(self) -> Status:
        """Return a consistent picture of this moment."""
        return Status(
            member_id=self.me,
            role=_ROLES[self.role],
            term=self.term,
            leader_id=self.leader_id,
            commit_index=self.commit,
            applied_index=self.last_applied,
            last_index=self.last_index,
            members=self.visible_members,
            match_index={peer.number: self.match[peer] for peer in self.peers.values()} if self.leads else {},
            read_only=self.read_only,
        )

    def publish(self) -> None:
        """Publish the picture, and tell listeners when more than indexes changed."""
        shown = (
            self.last_applied,
            self.commit,
            self.last_index,
            self.role,
            self.term,
            self.leader,
            self.read_only,
            list(self.match.values()) if self.leads else None,
        )
        members = self.visible_members
        if shown == self._shown and members is self._told.members:
            return
        self._shown = shown
        before, now = self._told, self.picture()
        self.status = self._told = now
        if (before.role, before.term, before.leader_id, before.read_only) != (
            now.role,
            now.term,
            now.leader_id,
            now.read_only,
        ) or (before.members is not now.members and before.members != now.members):
            for listener in list(self._listeners):
                self.call_back(listener, now)

    def on_status(self, listener: Callable[[Status], None]) -> None:
        """Call `listener` whenever role, term, leader, membership or read_only changed."""
        self._listeners.append(listener)
