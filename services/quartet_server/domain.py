"""The contract between the composition root and a domain service: what it is given, what it offers, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from grpc import aio
from prometheus_client import CollectorRegistry

from quartet_server.config import Config
from raftmeta.metastore import Metastore

if TYPE_CHECKING:  # a service that needs no member does not wait for Raft to be imported
    from quartet_server.objects.contract import BlobStore
    from quartet_server.objects.gc.upkeep import Upkeep
    from quartet_server.objects.mounts.opened import OpenStores
    from quartet_server.objects.mounts.referring import Referrer
    from quartet_server.objects.pins import Holder
    from quartet_server.records.contract import Databases
    from quartet_server.records.engine import OpenDatabases
    from raftmeta.node import Node as Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the composition root gives every domain service.

    Attributes:
        config: The node's effective configuration.
        metastore: Quartet's own keyspace.
        objects: The store of blobs; None when no service of the node needs one.
        local_objects: This node's share of it, on which its collector and its scrub work; the same as `objects` where all
            nodes share one store, or there is one node.
        member: This process's end of the cluster; None when the store is external.
        address: HOST:PORT by which clients reach this node.
        clock: Seconds since 1970, as this machine has them.
        new_id: Draws an id nobody else has: 32 hexadecimal digits.
        holders: Whatever keeps blobs from being deleted or collected, besides pins: all there are, whichever services the
            node offers, in the order that `Holder` asks for.
        upkeep: What collects the node's own store of blobs; None when no service of the node needs one.
        mounts: What opens mounted stores; None where there is no store of blobs.
        referrers: Whatever may have contents in mounted stores, files first.
        registry: What /metrics shows; None where nobody asks.
        records: The node's databases of records; None when no service of the node needs one.
        opened: The same as the node opened them, for who looks after databases and not after rows.
        disk: Id of the disk on which they are.
    """

    config: Config
    metastore: Metastore
    member: Member | None
    address: str
    clock: Callable[[], float]
    new_id: Callable[[], str]
    objects: BlobStore | None = None
    local_objects: BlobStore | None = None
    holders: Sequence[Holder] = ()
    upkeep: Upkeep | None = None
    mounts: OpenStores | None = None
    referrers: Sequence[Referrer] = ()
    registry: CollectorRegistry | None = None
    records: Databases | None = None
    opened: OpenDatabases | None = None
    disk: bytes = b""


class Domain(Protocol):
    """A domain service of a running node.

    Every folder `quartet_server/<domain>/service.py` has `async def start(resources: Resources) -> Domain`. It returns
    at once: a store without a leader is no reason not to start. `stop` is called after the last call has ended.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of its gRPC services, for health and reflection."""

    def add_to(self, server: aio.Server) -> None:
        """Register its servicers; called once, before the server starts."""

    async def stop(self) -> None:
        """End its background work; called once."""
