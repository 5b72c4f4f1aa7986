"""What ClusterService asks of this process's member of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from raftmeta.consensus.contract import Member, Status


class Membership(Protocol):
    """Changes of the membership, possible on any member. Methods raise `raftmeta.errors.MetastoreError`."""

    async def add(self, member: Member) -> None:
        """Add a voter or learner. Raises MEMBER_EXISTS, PEER_URL_EXISTS, NOT_ENOUGH_STARTED, TOO_MANY_LEARNERS."""

    async def remove(self, member_id: int) -> None:
        """Remove a member. Raises MEMBER_NOT_FOUND, NOT_ENOUGH_STARTED."""

    async def promote(self, member_id: int) -> None:
        """Give a learner its vote. Raises MEMBER_NOT_FOUND, NOT_LEARNER, LEARNER_NOT_READY."""

    async def hand_over(self, member_id: int) -> int:
        """Transfer leadership (0: to the best follower); returns the new leader. Raises BAD_LEADER_TRANSFEREE."""


class ClusterMember(Protocol):
    """What the member in this process can do."""

    @property
    def membership(self) -> Membership:
        """The membership."""

    def status(self) -> Status:
        """Return Raft's latest picture of itself."""

    def on_status(self, listener: Callable[[Status], None]) -> None:
        """Call `listener` on the loop when role, term, leader or membership changed."""
