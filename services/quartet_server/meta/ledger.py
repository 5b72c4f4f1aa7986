"""Remembers the answers to requests that carry an id, so that a repetition changes nothing and is told the same."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message
from quartet.meta.storage.v1 import ledger_pb2

from quartet_server.errors import FieldInvalid, RequestIdReused
from quartet_server.meta.snapshot import KeyValue
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

WINDOW = 600.0
"""Seconds for which one lease takes new records."""
KEEP = 1800
"""Seconds for which a record is kept at least."""
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Claim:
    """A request id as one request uses it.

    Attributes:
        request_id: What the caller gave; not empty.
        key: Where the record lives.
        fingerprint: SHA-256 of the method and the request.
    """

    request_id: str
    key: bytes
    fingerprint: bytes

    def read(self, kv: KeyValue) -> ledger_pb2.Recorded:
        """Decode the record. Raises RequestIdReused when another request wrote it."""
        recorded = ledger_pb2.Recorded.FromString(kv.value)
        if recorded.fingerprint != self.fingerprint:
            raise RequestIdReused("the request id was used for another request", request_id=self.request_id)
        return recorded

    def value(self, answer: bytes) -> bytes:
        """Encode a record."""
        return ledger_pb2.Recorded(fingerprint=self.fingerprint, answer=answer).SerializeToString()


def claim(prefix: bytes, method: str, request: Message, request_id: str) -> Claim | None:
    """Return the claim of a request below `prefix`; None when it has no id. Raises FieldInvalid for a bad one."""
    if not request_id:
        return None
    encoded = request_id.encode()
    if len(encoded) > _LONGEST:
        raise FieldInvalid.of("request_id", f"{len(encoded)} bytes, at most {_LONGEST} are taken")
    if b"\0" in encoded:  # what follows one in a key is the part of a batch
        raise FieldInvalid.of("request_id", "holds a NUL")
    digest = hashlib.sha256(method.encode() + b"\0" + request.SerializeToString(deterministic=True))
    return Claim(request_id, prefix + encoded, digest.digest())


class LedgerLease:
    """The lease to which this node ties its records: a new one every ten minutes, not one per request.

    A lease is granted for the window plus the time that records are kept, and never renewed: whatever is written last
    under it still lives for `KEEP` seconds.
    """

    def __init__(self, store: Metastore, clock: Callable[[], float] = time.monotonic) -> None:
        """Grant leases in `store`; `clock` returns seconds and never goes back."""
        self._store = store
        self._clock = clock
        self._lock = asyncio.Lock()
        self._id = 0
        self._until = 0.0

    async def current(self) -> int:
        """Return the id of the lease for a record written now."""
        async with self._lock:
            if not self._id or self._clock() >= self._until:
                until = self._clock() + WINDOW
                granted = await self._store.lease_grant(pb.LeaseGrantRequest(TTL=int(WINDOW) + KEEP))
                self._id, self._until = granted.ID, until
            return self._id

    def lost(self, lease: int) -> None:
        """Forget a lease that the store does not know any more."""
        if self._id == lease:
            self._id = 0
