"""Replication: everything that keeps copies of blobs on several nodes, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from quartet_server.config import Config
from quartet_server.errors import ObjectStoreUnreachable
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.replicas.asking import Asking
from quartet_server.objects.replicas.debts import Debts
from quartet_server.objects.replicas.finding import Finding
from quartet_server.objects.replicas.group import Group, GroupMember
from quartet_server.objects.replicas.links import Calling, Link
from quartet_server.objects.replicas.own import OwnShare
from quartet_server.objects.replicas.pace import Pace, Progress
from quartet_server.objects.replicas.place import Here, Place
from quartet_server.objects.replicas.repair import Repair, Rhythm
from quartet_server.objects.replicas.serving import PeerService
from quartet_server.objects.replicas.spreading import Spreading
from quartet_server.objects.replicas.store import ReplicatedBlobs
from raftmeta.metastore import Metastore

_MESSAGE = 4 << 20  # bytes of a message, though nodes may take larger ones: it is held in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How copies are kept.

    Attributes:
        replicas: Copies of each blob.
        absent_seconds: For how long a node may be gone before its share is given to others.
        patience: Seconds without progress after which a node is taken for dead.
        repair_bytes: Bytes that repair may copy in a second.
        message_bytes: Most bytes of a message that nodes take.
        pace: Seconds between two looks at who is there.
        rhythm: When repair looks again.
    """

    replicas: int = 2
    absent_seconds: float = 900.0
    patience: float = 8.0
    repair_bytes: float = 64 << 20
    message_bytes: int = 4 << 20
    pace: float = 1.0
    rhythm: Rhythm = field(default_factory=Rhythm)


def settings_of(config: Config) -> Settings:
    """Return how a node's configuration wants copies to be kept."""
    objects = config.objects
    return Settings(
        replicas=objects.replicas,
        absent_seconds=objects.absent_seconds,
        patience=objects.peer_seconds,
        repair_bytes=objects.repair_bytes,
        message_bytes=min(config.limits.message_bytes, _MESSAGE),
    )


class Replication:
    """One node's part in keeping copies.

    Attributes:
        blobs: The cluster's store.
        own: This node's share, for its collector and its scrub.
        group: The nodes.
        debts: What they lack.
        progress: Of this node's repair.
        service: What this node does for the others.
    """

    def __init__(
        self,
        store: BlobStore,
        store_id: bytes,
        metastore: Metastore,
        member: GroupMember,
        settings: Settings,
        *,
        credentials: Callable[[], grpc.ChannelCredentials | None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        """Keep copies of what is in `store`; nothing happens before `start`.

        Args:
            store: This node's disk; closed with `blobs`.
            store_id: Its id.
            metastore: Quartet's keyspace.
            member: This process's member.
            settings: How.
            credentials: For calls to other nodes; None in a cluster whose gRPC ports are plaintext.
            clock: Seconds since 1970.
            monotonic: Seconds, monotonic.
            new_id: Draws an id nobody else has.
        """
        self._calling = Calling(credentials, settings.patience, settings.message_bytes, monotonic)
        self._links: dict[int, Link] = {}
        self._retired: list[Link] = []  # a node's address changes seldom
        self.own = OwnShare(store)
        self.progress = Progress()
        self.group = Group(
            metastore,
            member,
            store_id,
            settings.replicas,
            settings.absent_seconds,
            pace=settings.pace,
            clock=monotonic,
        )
        self._here = Here(self.group.me, self.own)
        self.debts = Debts(metastore, new_id)
        self._repair = Repair(
            metastore,
            self.group,
            self.own,
            store_id,
            self.place,
            self.debts,
            Pace(settings.repair_bytes),
            self.progress,
            clock,
            settings.rhythm,
        )
        self.own.tell_damage(self._repair.damaged)
        extra, patience = self._repair.extra, settings.patience
        spreading = Spreading(self.group, self.place, self.debts, patience, extra)
        finding = Finding(self.group, self.place, patience)
        asking = Asking(self.group, self.place, finding, self.debts, patience)
        self.blobs = ReplicatedBlobs(self.group, self.own, self.place, spreading, finding, asking, extra)
        self.service = PeerService(
            self.group, self.own, self.progress, self._calling.piece, self._calling.batch_bytes, extra
        )

    def start(self) -> None:
        """Take part."""
        self.group.start(self._answers)
        self._repair.start()

    async def close(self) -> None:
        """Stop; the disk stays open."""
        await self._repair.close()
        await self.group.close()
        await self.debts.close()
        links, self._links = [*self._links.values(), *self._retired], {}
        await asyncio.gather(*(link.close() for link in links))

    def place(self, node: int) -> Place:
        """Return the place of a member."""
        return self._here if node == self.group.me else self.link(node)

    def link(self, node: int) -> Link:
        """Return the connection to another member."""
        member = self.group.members.get(node)
        address = member.client_address if member is not None else ""
        link = self._links.get(node)
        if link is None or (address and link.address != address):
            if link is not None:
                link.retire()
                self._retired.append(link)
            link = self._links[node] = Link(node, address or "unknown.invalid:1", self._calling)
        return link

    async def _answers(self, node: int) -> bool:
        try:
            await self.link(node).status(self._calling.patience)
        except ObjectStoreUnreachable:
            return False
        return True
