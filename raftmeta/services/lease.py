"""etcdserverpb.Lease over a Metastore."""

from __future__ import annotations

from collections.abc import AsyncIterator

from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.services.admission import Admission, Context, refuse


class LeaseService(rpc.LeaseServicer):
    """Grant, revoke, keep alive, time to live, list."""

    def __init__(self, admission: Admission) -> None:
        """Serve what `admission` admits."""
        self._admission = admission

    async def LeaseGrant(self, request: pb.LeaseGrantRequest, context: Context) -> pb.LeaseGrantResponse:
        """Create a lease; see `Metastore.lease_grant`."""
        try:
            return await self._admission.write(context).lease_grant(request)
        except MetastoreError as error:
            await refuse(context, error)

    async def LeaseRevoke(self, request: pb.LeaseRevokeRequest, context: Context) -> pb.LeaseRevokeResponse:
        """End a lease; see `Metastore.lease_revoke`."""
        try:
            return await self._admission.write(context).lease_revoke(request)
        except MetastoreError as error:
            await refuse(context, error)

    async def LeaseKeepAlive(
        self, request_iterator: AsyncIterator[pb.LeaseKeepAliveRequest], context: Context
    ) -> AsyncIterator[pb.LeaseKeepAliveResponse]:
        """Renew leases; see `Metastore.lease_keep_alive`."""
        try:
            store = self._admission.write(context)
            async for response in store.lease_keep_alive(self._admission.stream(context, request_iterator)):
                yield response
        except MetastoreError as error:
            await refuse(context, error)

    async def LeaseTimeToLive(self, request: pb.LeaseTimeToLiveRequest, context: Context) -> pb.LeaseTimeToLiveResponse:
        """Tell how long a lease lives; see `Metastore.lease_time_to_live`."""
        try:
            return await self._admission.read(context).lease_time_to_live(request)
        except MetastoreError as error:
            await refuse(context, error)

    async def LeaseLeases(self, request: pb.LeaseLeasesRequest, context: Context) -> pb.LeaseLeasesResponse:
        """List leases; see `Metastore.lease_leases`."""
        try:
            return await self._admission.read(context).lease_leases(request)
        except MetastoreError as error:
            await refuse(context, error)
