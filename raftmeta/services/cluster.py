"""etcdserverpb.Cluster: who the members are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from raftmeta import identity
from raftmeta.consensus.contract import Member
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.services.admission import Admission, Context, refuse


def address_of(urls: Sequence[str]) -> str:
    """Return the HOST:PORT of a member's peer URLs, of which there must be one. Raises BAD_MEMBER_URLS."""
    addresses = set()
    for url in urls:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise MetastoreError(Fault.BAD_MEMBER_URLS) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port is None or parts.path not in ("", "/"):
            raise MetastoreError(Fault.BAD_MEMBER_URLS)
        addresses.add(parts.netloc)
    if len(addresses) != 1:
        raise MetastoreError(Fault.BAD_MEMBER_URLS)
    return addresses.pop()


class ClusterService(rpc.ClusterServicer):
    """MemberList, MemberAdd, MemberRemove, MemberUpdate, MemberPromote. Headers carry no revision, as in etcd 3.4."""

    def __init__(self, admission: Admission, now: Callable[[], int] = time.time_ns) -> None:
        """Serve what `admission` admits; `now` tells apart members that come back to an address."""
        self._admission = admission
        self._node = admission.node
        self._now = now

    async def MemberList(self, request: pb.MemberListRequest, context: Context) -> pb.MemberListResponse:
        """List the members; `linearizable` asks a quorum first."""
        try:
            self._admission.space(context, learner=False)
            if request.linearizable:
                await self._node.reads.confirmed()
            return pb.MemberListResponse(header=self._header(), members=self._members())
        except MetastoreError as error:
            await refuse(context, error)

    async def MemberAdd(self, request: pb.MemberAddRequest, context: Context) -> pb.MemberAddResponse:
        """Add a voter or learner at a peer URL; start it with `--join` afterwards."""
        try:
            self._admission.write(context)
            address = address_of(request.peerURLs)
            number = identity.member_id(self._node.identity.token, address, str(self._now()))
            member = Member(number, "", address, learner=request.isLearner)
            await self._node.membership.add(member)
            return pb.MemberAddResponse(header=self._header(), member=self._shown(member), members=self._members())
        except MetastoreError as error:
            await refuse(context, error)

    async def MemberRemove(self, request: pb.MemberRemoveRequest, context: Context) -> pb.MemberRemoveResponse:
        """Remove a member."""
        try:
            self._admission.write(context)
            await self._node.membership.remove(request.ID)
            return pb.MemberRemoveResponse(header=self._header(), members=self._members())
        except MetastoreError as error:
            await refuse(context, error)

    async def MemberUpdate(self, request: pb.MemberUpdateRequest, context: Context) -> pb.MemberUpdateResponse:
        """Change where a member takes Raft connections."""
        try:
            self._admission.write(context)
            await self._node.membership.update(request.ID, address_of(request.peerURLs))
            return pb.MemberUpdateResponse(header=self._header(), members=self._members())
        except MetastoreError as error:
            await refuse(context, error)

    async def MemberPromote(self, request: pb.MemberPromoteRequest, context: Context) -> pb.MemberPromoteResponse:
        """Give a learner its vote."""
        try:
            self._admission.write(context)
            await self._node.membership.promote(request.ID)
            return pb.MemberPromoteResponse(header=self._header(), members=self._members())
        except MetastoreError as error:
            await refuse(context, error)

    def _header(self) -> pb.ResponseHeader:
        header = pb.ResponseHeader()
        self._node.complete(header)
        return header

    def _members(self) -> list[pb.Member]:
        return [self._shown(member) for member in self._node.membership.list()]

    def _shown(self, member: Member) -> pb.Member:
        config = self._node.config
        shown = pb.Member(ID=member.id, name=member.name, isLearner=member.learner)
        if member.peer_address:
            shown.peerURLs.append(f"{'https' if config.peer_tls else 'http'}://{member.peer_address}")
        if member.client_address:
            shown.clientURLs.append(f"{'https' if config.client_tls else 'http'}://{member.client_address}")
        else:
            shown.name = ""
        return shown
