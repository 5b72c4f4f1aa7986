"""Which members are in force: by log index, rolled back with the log, kept beside it when the log is trimmed."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError

from raftmeta.v1 import peer_pb2
from raftmeta.wal import Log

from .codec import MEMBERSHIP, VERSION, FormatError, Members, entry_kind, entry_members, pack_members, unpack_members
from .contract import Member
from .peer import Peer
from .ports import Cabinet
from .state import StartError, State, Surroundings

RECORD = "membership"
INSTALLING = "installing"  # the same for a snapshot whose installation has begun; empty when none has


def store_membership(
    cabinet: Cabinet,
    cluster_id: int,
    member_id: int,
    index: int,
    members: Members,
    pending: tuple[int, int] | None = None,
) -> None:
    """Store the membership in force from `index` on, durably; `pending` marks a snapshot as being installed."""
    record = peer_pb2.StoredMembership(
        version=VERSION, cluster_id=cluster_id, member_id=member_id, index=index, membership=pack_members(members)
    )
    if pending is not None:
        record.pending.index, record.pending.term = pending
    cabinet.save(INSTALLING if pending else RECORD, record.SerializeToString())


def load_membership(
    cabinet: Cabinet, cluster_id: int, member_id: int, name: str = RECORD
) -> peer_pb2.StoredMembership | None:
    """Return the stored membership, None when there is none.

    Raises ValueError when it belongs to another cluster or member or is damaged.
    """
    data = cabinet.load(name)
    if not data:
        return None
    try:
        record = peer_pb2.StoredMembership.FromString(data)
    except DecodeError as error:
        raise FormatError(f"stored membership: {error}") from None
    if record.version != VERSION:
        raise FormatError(f"stored membership has version {record.version}, this program knows {VERSION}")
    if (record.cluster_id, record.member_id) != (cluster_id, member_id):
        raise ValueError(
            f"the data directory belongs to member {record.member_id:x} of cluster {record.cluster_id:x}, not to"
            f" member {member_id:x} of cluster {cluster_id:x}"
        )
    return record


def finish_install(cabinet: Cabinet, log: Log, cluster_id: int, member_id: int, applied: tuple[int, int]) -> None:
    """Complete the installation of a snapshot that a crash interrupted, or forget it when the state is still the old one.

    `applied` is the machine's (index, term): when it has the snapshot, log and membership perhaps do not yet. Raises
    ValueError as `load_membership` does.
    """
    record = load_membership(cabinet, cluster_id, member_id, INSTALLING)
    if record is None:
        return
    index, term = record.pending.index, record.pending.term
    in_log = log.first_index - 1 <= index <= log.last_index and log.term_of(index) == term
    if applied == (index, term) and not in_log:
        log.reset(index, term)
    if (log.first_index - 1, log.term_of(log.first_index - 1)) == (index, term):
        store_membership(cabinet, cluster_id, member_id, record.index, unpack_members(record.membership))
    cabinet.save(INSTALLING, b"")


class Memberships(State):
    """The membership in force: the newest in the log, committed or not (Raft, Ongaro's thesis, 4.1)."""

    def __init__(self, given: Surroundings) -> None:
        """Read the stored membership and those in the log above it."""
        self.history: list[tuple[int, dict[int, Member]]] = [(0, {})]
        self.departing: dict[int, tuple[Peer, int, float]] = {}  # removed: (peer, index of the removal, until)
        self.contacts: dict[int, Member] = {}
        self.expelled_at = 0
        super().__init__(given)
        finish_install(self.cabinet, self.log, self.cluster_id, self.me, self.machine.applied())
        record = load_membership(self.cabinet, self.cluster_id, self.me)
        if record is None:
            raise StartError("the data directory has no membership: it was never set up")
        self.history = [(record.index, unpack_members(record.membership))]
        index = max(self.log.first_index, record.index + 1)
        while index <= self.last_index:
            for entry in self.log.entries(index, 1000):
                index = entry.index + 1
                if entry_kind(entry.data) == MEMBERSHIP:
                    self.history.append((entry.index, entry_members(entry.data)))
        self._put_in_force()

    @property
    def members(self) -> dict[int, Member]:
        """Members in force."""
        return self.history[-1][1]

    @property
    def is_voter(self) -> bool:
        """Whether this member has a vote in the membership in force."""
        member = self.members.get(self.me)
        return member is not None and not member.learner and not self.expelled_at

    def majority(self, agreeing: Iterable[int]) -> bool:
        """Whether the members in `agreeing` are a majority of the voters in force."""
        voters = {peer.number for peer in self.voters}
        if self.is_voter:
            voters.add(self.me)
        return len(voters.intersection(agreeing)) * 2 > len(voters)

    @property
    def visible_members(self) -> dict[int, Member]:
        """Members in force, this one included until its removal is committed."""
        if self.expelled_at:
            return {key: member for key, member in self.members.items() if key != self.me}
        if self.me not in self.members and self.history[-1][0] > self.commit:
            for _, members in reversed(self.history[:-1]):
                if self.me in members:
                    return {**self.members, self.me: members[self.me]}
        return self.members

    def members_at(self, index: int) -> tuple[int, dict[int, Member]]:
        """Return the membership in force at `index`, with the index from which it was."""
        return next((at, members) for at, members in reversed(self.history) if at <= index)

    def note_entry(self, index: int, data: bytes) -> bool:
        """Put a membership into force if the entry just appended is one."""
        if entry_kind(data) != MEMBERSHIP:
            return False
        self._SyncObj__doChangeCluster((index, entry_members(data)))
        return True

    def _SyncObj__doChangeCluster(self, request: tuple[int, dict[int, Member]], reverse: bool = False) -> bool:
        """Put a whole membership into force from an index on; `reverse` takes back those from that index on."""
        index, members = request
        if reverse:
            self.history = [pair for pair in self.history if pair[0] < index]
        else:
            self.history.append((index, members))
        self._put_in_force()
        return True

    def _SyncObj__parseChangeClusterRequest(self, command: bytes) -> dict[int, Member] | None:
        """Return the membership in an entry; None for any other entry."""
        return entry_members(command) if entry_kind(command) == MEMBERSHIP else None

    def roll_back_memberships(self, index: int) -> None:
        """Take back memberships of entries that are about to be truncated, from `index` on."""
        if self.history[-1][0] >= index:
            self._SyncObj__doChangeCluster((index, {}), reverse=True)

    def replace_history(self, index: int, members: dict[int, Member]) -> None:
        """Start over from the membership of a snapshot."""
        self.history = [(index, members)]
        self._put_in_force()

    def keep_membership(self, index: int) -> None:
        """Store the membership in force at `index`, before the log up to there is trimmed."""
        at, members = self.members_at(index)
        store_membership(self.cabinet, self.cluster_id, self.me, at, members)
        self.history = [pair for pair in self.history if pair[0] >= at]

    def _put_in_force(self) -> None:
        """Make pysyncobj's sets of nodes, our peers and the wire follow `members`."""
        before = dict(self.peers)
        now = self.clock()
        for number, old in before.items():
            if number not in self.members:
                self.departing[number] = (old, self.history[-1][0], now + 60 * self.config.election_max)
                del self.peers[number]
        for number, member in self.members.items():
            if number == self.me:
                continue
            peer = self.peers.get(number)
            if peer is None:
                peer = self.peers[number] = Peer(member)
                peer.start_over(now)
                self.next[peer] = self.last_index + 1
                self.match[peer] = 0
            peer.member = member
            self.departing.pop(number, None)
        self.quorum_until = float("-inf")
        self.voters = {peer for peer in self.peers.values() if not peer.member.learner}
        self.learners = {peer for peer in self.peers.values() if peer.member.learner}
        self.tell_wire()

    def forget_departed(self, now: float) -> None:
        """Stop talking to removed members that know it, or whose time is up."""
        gone = [number for number, (_, _, until) in self.departing.items() if until <= now]
        for number in gone:
            peer = self.departing.pop(number)[0]
            self.next.pop(peer, None)
            self.match.pop(peer, None)
        if gone:
            self.tell_wire()

    def tell_wire(self) -> None:
        """Tell the wire whom it may talk to: members, those just removed, and a joining member's contacts."""
        known = {**self.contacts, **{number: peer.member for number, (peer, _, _) in self.departing.items()}}
        known.update({number: peer.member for number, peer in self.peers.items()})
        self.wire.set_peers({number: member for number, member in known.items() if number != self.me})
