"""Pins: blobs that somebody wants kept for a while, in the Metastore, so that every node knows and none outlives its time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Protocol

from quartet.objects.storage.v1 import storage_pb2

from quartet_server.errors import LimitReached
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import HASH_BYTES, Digest
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

MOST = 10_000
"""Pins in a zone."""
_PAGE = 64  # pins read at once: each may hold 1,000 digests of 40 bytes


class Holder(Protocol):
    """Whatever keeps blobs from being deleted or collected: pins, files that refer to them.

    **Who refers to a blob** has put it, or asked `missing` for it, before the transaction that refers to it, and less than the
    collector's grace before (`objects.gc_grace`). One that takes a reference over from another holder without asking, as
    the version of a file does that was overwritten, stands behind that one in `Resources.holders`: holders are asked one after another
    in that order. Every node has all of them, whichever services it offers.
    """

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        """Return those of `digests` that must stay. What begins to be held later has asked the store for it first."""

    def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        """Yield every digest it keeps in the zone, in any order, repeats allowed, at one revision of the Metastore.

        The revision is not older than the call. A blob that leads to others (a list of chunks, a directory, the root of a snapshot)
        comes with all that it leads to. Memory stays bounded.

        Raises whatever keeps it from being sure that nothing is left out: MetastoreError, errors of `BlobStore`, an
        observer that lags behind the revision. Then nothing is condemned and nothing swept.
        """


class Pins:
    """The pins of all zones. A key `ZONE NUL Op ID` holds the digests and hangs on a lease of its own.

    Who pins writes the pin first and then asks the store whether the blobs are there; who collects or deletes condemns
    first and then looks for pins. One of the two sees the other.
    """

    def __init__(self, store: Metastore) -> None:
        """Keep them in `store`."""
        self._store = store

    async def pin(self, zone: str, pin_id: str, digests: Sequence[Digest], seconds: int) -> None:
        """Hold `digests` for `seconds`, in the place of what the pin held. Raises LimitReached, MetastoreError."""
        prefix = _key(zone)
        key = _key(zone, pin_id)
        count = await Snapshot(self._store).scan(prefix, ops.prefix_end(prefix), count_only=True)
        if count.count >= MOST and key not in await Snapshot(self._store).get([key]):
            raise LimitReached(f"the zone has {MOST} pins", limit=MOST)
        granted = await self._store.lease_grant(pb.LeaseGrantRequest(TTL=seconds))
        value = storage_pb2.Pin(digests=[_packed(digest) for digest in digests]).SerializeToString()
        await self._replace(key, ops.put(key, value, granted.ID))

    async def unpin(self, zone: str, pin_id: str) -> bool:
        """Let go; tell whether there was such a pin. Raises MetastoreError."""
        key = _key(zone, pin_id)
        return await self._replace(key, ops.delete(key))

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        """Return those of `digests` that a pin holds. Raises MetastoreError."""
        wanted = {_packed(digest): digest for digest in digests}
        found: set[Digest] = set()
        prefix = start = _key(zone)
        snapshot = Snapshot(self._store)
        more = True
        while more:
            page = await snapshot.scan(start, ops.prefix_end(prefix), _PAGE)
            for kv in page.kvs:
                found.update(wanted[one] for one in storage_pb2.Pin.FromString(kv.value).digests if one in wanted)
                start = kv.key + b"\0"
            more = page.more
        return found

    async def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        """See `Holder.reached`."""
        prefix = start = _key(zone)
        snapshot = Snapshot(self._store)
        more = True
        while more:
            page = await snapshot.scan(start, ops.prefix_end(prefix), _PAGE)
            for kv in page.kvs:
                for packed in storage_pb2.Pin.FromString(kv.value).digests:
                    yield Digest(packed[:HASH_BYTES], int.from_bytes(packed[HASH_BYTES:], "big"))
                start = kv.key + b"\0"
            more = page.more

    async def _replace(self, key: bytes, operation: pb.RequestOp) -> bool:
        """Carry out a write of a pin's key and end the lease on which the key hung before; tell whether there was one."""
        before = (await self._store.txn(pb.TxnRequest(success=[ops.get(key), operation]))).responses[0].response_range
        for kv in before.kvs:
            if kv.lease:
                await self._revoke(kv.lease)
        return bool(before.kvs)

    async def _revoke(self, lease: int) -> None:
        try:
            await self._store.lease_revoke(pb.LeaseRevokeRequest(ID=lease))
        except MetastoreError as error:
            if error.fault is not Fault.LEASE_NOT_FOUND:  # it expired meanwhile
                raise


def _key(zone: str, pin_id: str = "") -> bytes:
    return zone.encode() + b"\0Op" + pin_id.encode()


def _packed(digest: Digest) -> bytes:
    assert len(digest.hash) == HASH_BYTES
    return digest.hash + digest.size.to_bytes(8, "big")
