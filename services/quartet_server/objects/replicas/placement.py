"""Placement: which nodes keep a blob, the same for all who know the same placement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from quartet.objects.storage.v1 import storage_pb2

from quartet_server.objects.digest import Digest

SAFE = 2
"""Copies without which no write is acknowledged, where there are so many nodes: the loss of one disk loses nothing."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Who keeps blobs. It is agreed on in the Metastore, so that no two nodes choose owners differently for long.

    Attributes:
        number: Grows with each change: another node, another disk, another number of copies. 0: nothing is agreed on yet.
        replicas: Copies of each blob that are wanted.
        stores: Member id -> id of the store on its disk.
    """

    number: int
    replicas: int
    stores: Mapping[int, bytes]

    @property
    def copies(self) -> int:
        """Copies of each blob."""
        return min(self.replicas, len(self.stores))

    @property
    def needed(self) -> int:
        """Copies that must be durable before a write is acknowledged, when the other nodes fail."""
        return min(self.copies, SAFE)

    def order(self, digest: Digest) -> list[int]:
        """Return all nodes, by rendezvous: those that should keep the blob first, each next one stands in for them.

        The weight of a node depends on its id and the hash alone: a node more or less moves no blob between the others.
        """
        name = digest.hash
        return sorted(
            self.stores,
            key=lambda node: blake2b(name, digest_size=8, key=node.to_bytes(8, "big")).digest(),
            reverse=True,
        )

    def owners(self, digest: Digest) -> list[int]:
        """Return the nodes that should keep the blob."""
        return self.order(digest)[: self.copies]

    def by_owner(self, digests: Iterable[Digest]) -> dict[int, list[Digest]]:
        """Return owner -> those that it should keep."""
        found: dict[int, list[Digest]] = {}
        for digest in digests:
            for owner in self.owners(digest):
                found.setdefault(owner, []).append(digest)
        return found

    def by_other(self, digests: Iterable[Digest]) -> dict[int, list[Digest]]:
        """Return node -> those that it may have though it should not."""
        found: dict[int, list[Digest]] = {}
        for digest in digests:
            for other in self.order(digest)[self.copies :]:
                found.setdefault(other, []).append(digest)
        return found

    @classmethod
    def decode(cls, value: bytes) -> Placement:
        """Return the placement that `encode` wrote."""
        record = storage_pb2.Placement.FromString(value)
        return cls(record.number, record.replicas, dict(zip(record.nodes, record.store_ids, strict=True)))

    def encode(self) -> bytes:
        """Return the placement as the Metastore keeps it."""
        nodes = sorted(self.stores)
        return storage_pb2.Placement(
            number=self.number, replicas=self.replicas, nodes=nodes, store_ids=[self.stores[node] for node in nodes]
        ).SerializeToString()


NOWHERE = Placement(0, 1, {})
"""Nothing is agreed on yet."""
