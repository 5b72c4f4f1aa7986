"""The contract of the Metastore pillar: what services may ask of a metadata store, in etcd's own messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, runtime_checkable

from raftmeta.etcd import rpc_pb2 as pb


class Metastore(Protocol):
    """An ordered, revisioned key-value store with transactions, watches and leases: etcd's semantics, no socket implied.

    Drivers: `raftmeta.drivers.embedded` (this process is a member) and `raftmeta.drivers.remote` (any etcd v3
    endpoint). A driver is bound to one keyspace; keys in requests and answers are the caller's own.

    Consistency: writes are linearizable; `Range`, and a `Txn` that only reads, are linearizable unless
    `serializable` is set. Revisions count from 1 and grow by one with every request that changed something.

    Durability: when a write returns, a majority has it on disk.

    Failure: every method raises `raftmeta.errors.MetastoreError` and nothing else (`asyncio.CancelledError` aside). A
    write that raises the TIMEOUT family, STOPPED or LEADER_CHANGED may have happened; any other error means that it did
    not. No driver repeats a write on its own after it may have happened, unless it can tell the store that it is the same.

    Concurrency: all methods are coroutines of one event loop and may be called concurrently. Requests are not modified
    and answers belong to the caller.
    """

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """Read keys. Raises EMPTY_KEY, COMPACTED, FUTURE_REVISION, INVALID_SORT_OPTION."""

    async def put(self, request: pb.PutRequest) -> pb.PutResponse:
        """Write a key. Raises EMPTY_KEY, KEY_NOT_FOUND, VALUE_PROVIDED, LEASE_PROVIDED, LEASE_NOT_FOUND, NO_SPACE."""

    async def delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        """Delete the keys of a range in one revision. Raises EMPTY_KEY."""

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Compare, then run one branch, atomically. Raises TOO_MANY_OPS, DUPLICATE_KEY and what its operations raise."""

    async def compact(self, request: pb.CompactionRequest) -> pb.CompactionResponse:
        """Forget versions superseded at or below a revision. Raises COMPACTED, FUTURE_REVISION."""

    async def set_floor(self, holder: str, revision: int) -> bool:
        """Keep history from a revision on for `holder` (1 to 128 bytes), however anybody compacts; 0 gives that up.

        Returns whether the store does so: etcd knows no floors, and whoever compacts it must know what others still need.
        The last floor of a holder counts, and outlives its process. Raises COMPACTED when that history is forgotten already.
        """

    def watch(self, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchResponse]:
        """Watch: one stream carries many watchers, created and cancelled by `requests`; ends when `requests` ends.

        Events of one watcher come in revision order, each revision whole (unless `fragment`), none missing and none twice.
        """

    async def lease_grant(self, request: pb.LeaseGrantRequest) -> pb.LeaseGrantResponse:
        """Create a lease; TTL in seconds, raised to the store's minimum. Raises LEASE_EXISTS, LEASE_TTL_TOO_LARGE."""

    async def lease_revoke(self, request: pb.LeaseRevokeRequest) -> pb.LeaseRevokeResponse:
        """Revoke a lease and delete its keys in one revision. Raises LEASE_NOT_FOUND."""

    def lease_keep_alive(
        self, requests: AsyncIterator[pb.LeaseKeepAliveRequest]
    ) -> AsyncIterator[pb.LeaseKeepAliveResponse]:
        """Renew leases, one answer per request in order; TTL 0 says that the lease is gone. Raises NO_LEADER."""

    async def lease_time_to_live(self, request: pb.LeaseTimeToLiveRequest) -> pb.LeaseTimeToLiveResponse:
        """Tell how long a lease still lives; TTL -1 says that it is gone."""

    async def lease_leases(self, request: pb.LeaseLeasesRequest) -> pb.LeaseLeasesResponse:
        """List the leases."""


@runtime_checkable
class Local(Protocol):
    """What a driver offers beside `Metastore` when the state is in this process: to be told of every change of it.

    Concurrency: as for `Metastore`; the listener is called on the same event loop.
    """

    def follow(self, listener: Callable[[int, Sequence[bytes] | None], None]) -> Callable[[], None]:
        """Tell `listener` of every step of this process's state; returns what ends that.

        It is called at once with (current revision, None), then after every step that changed the keyspace, before any
        coroutine of the loop can read what the step made: (newest revision, the keys that were put or deleted, those
        that changed repeatedly perhaps repeatedly); None for the keys when anything may have changed. It must not block.
        """

    async def confirmed(self) -> None:
        """Wait until what the listener was told covers every write acknowledged before. Raises as a linearizable read."""
