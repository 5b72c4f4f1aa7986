"""The first start of a founder: a member that lost its directory must not pass for one that never ran."""

from __future__ import annotations

import logging

from google.protobuf.message import DecodeError

from raftmeta.v1 import peer_pb2

from .changes import Changes
from .codec import VERSION, FormatError
from .peer import Peer
from .state import StartError, Surroundings

logger = logging.getLogger(__name__)

RECORD = "enlistment"

_ASK_AGAIN = 0.2
"""Seconds after which others are asked again: not this member's election timeout, which may be longer than its peers care to wait."""


def enlistments_needed(founders: int) -> int:
    """Return how many of the other founders must write a founder down before it takes part.

    Any two such sets share more members than may have lost their directories besides: of n founders f = (n - 1) // 2
    may be lost, the one that asks is one of them, so that the sets must share f of the n - 1 others.
    """
    others = founders - 1
    return (others + others // 2 + 1) // 2


class Enlisting(Changes):
    """A founder on an empty directory neither votes nor confirms anything until others wrote down that it begins.

    They write down the number its directory drew. A founder that comes with another number had a directory before and
    lost it: what it promised is forgotten, so that it is refused for good.
    """

    def __init__(self, given: Surroundings) -> None:
        """Look whether this directory has begun."""
        self.nonces: dict[int, int] = {}
        self.enlisted = True
        self._written_down: set[int] = set()
        self._ask_at = float("-inf")
        super().__init__(given)
        self._load()
        founders = self.history[0][1]
        unused = not (self.last_index or self.term or self.history[0][0])
        if self.enlisted or not unused or self.me not in founders or len(founders) == 1:
            self.enlisted = True
            return
        if self.me not in self.nonces:
            self.nonces[self.me] = self.rng.getrandbits(62) | 1
            self._save()

    def _load(self) -> None:
        data = self.cabinet.load(RECORD)
        if not data:
            self.enlisted = False
            return
        try:
            record = peer_pb2.StoredEnlistment.FromString(data)
        except DecodeError as error:
            raise FormatError(f"stored enlistment: {error}") from None
        if (record.version, record.member_id) != (VERSION, self.me):
            raise FormatError(f"stored enlistment of version {record.version} and member {record.member_id:x}")
        self.enlisted = record.enlisted
        self.nonces = dict(record.nonces)

    def _save(self) -> None:
        record = peer_pb2.StoredEnlistment(
            version=VERSION, member_id=self.me, enlisted=self.enlisted, nonces=self.nonces
        )
        self.cabinet.save(RECORD, record.SerializeToString())

    def check_election(self) -> None:
        """Call no election before this member takes part; ask to be written down instead."""
        if self.enlisted:
            super().check_election()
        elif self._ask_at <= self.clock():
            self._ask_at = self.clock() + _ASK_AGAIN
            for peer in self.voters:
                self.tell(peer.number, durable=False, enlist=peer_pb2.Enlist(nonce=self.nonces[self.me]))

    def on_enlist(self, peer: Peer, message: peer_pb2.Enlist) -> None:
        """Write a founder down, or refuse one that is known with another directory.

        A member that did not begin this way itself (its directory is that of a restored backup) knows that the others
        did not either: whoever comes with an empty directory lost its own.
        """
        if peer.number not in self.peers:
            self.tell_stranger(peer)
            return
        known = self.nonces.get(peer.number)
        refused = self.me not in self.nonces or known not in (None, message.nonce)
        if not refused and known is None:
            self.nonces[peer.number] = message.nonce
            try:
                self._save()
            except OSError as error:  # a full disk: it asks again
                del self.nonces[peer.number]
                logger.warning("member %x cannot be written down yet: %s", peer.number, error)
                return
        reply = peer_pb2.EnlistReply(nonce=message.nonce, refused=refused)
        self.tell(peer.number, durable=False, enlist_reply=reply)

    def on_enlist_reply(self, peer: Peer, reply: peer_pb2.EnlistReply) -> None:
        """Take part once enough others wrote this member down; raise `StartError` when one knows better."""
        if self.enlisted or reply.nonce != self.nonces[self.me] or peer not in self.voters:
            return
        if reply.refused:
            raise StartError(
                f"the data directory is empty, but member {self.me:x} ran before, as member {peer.number:x} knows: what it"
                " had promised is lost with its data. Remove this member from the cluster and add it again"
            )
        self._written_down.add(peer.number)
        if len(self._written_down) >= enlistments_needed(len(self.history[0][1])):
            self.enlisted = True
            try:
                self._save()
            except OSError as error:  # a full disk: the next answer tries again
                self.enlisted = False
                logger.warning("this member cannot begin yet: %s", error)
            self.deadline = self.clock() + self._SyncObj__generateRaftTimeout()
