"""The machine's durable state: MVCC records, key index, leases and bookkeeping in one LMDB environment."""

from raftmeta.store.environment import StoreError, StoreFull
from raftmeta.store.store import Store
from raftmeta.store.verification import verify

__all__ = ["Store", "StoreError", "StoreFull", "verify"]
