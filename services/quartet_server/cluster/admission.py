"""Letting nodes in: tokens for them, their certificates, their place in the membership."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quartet.cluster.storage.v1.storage_pb2 import JoinTicket
from quartet.cluster.v1 import cluster_pb2 as pb

from quartet_server.addresses import Address
from quartet_server.cluster import tokens
from quartet_server.cluster.members import ClusterMember
from quartet_server.config import Config
from quartet_server.errors import AuthorityMissing, ClusterUnsupported, FieldInvalid, NodeExists
from quartet_server.meta import system
from quartet_server.rpc.zones import NODE_ZONE
from raftmeta import identity, pki
from raftmeta.consensus.contract import Member
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ADDRESS = re.compile(r"\[?[^\s/@]+\]?:[0-9]{1,5}")
_LONGEST_ADDRESS = 300


@dataclass(frozen=True, slots=True)
class Trust:
    """What a node vouches with. The files are read at each use, so that they can be replaced while it runs.

    Attributes:
        ca: Authorities of the Raft port, PEM; None when it is plaintext.
        ca_key: Private key of one of them; None when this node signs nothing.
        client_ca: Authorities of the gRPC port, PEM; None when it is plaintext.
    """

    ca: Path | None = None
    ca_key: Path | None = None
    client_ca: Path | None = None

    @classmethod
    def of(cls, config: Config) -> Trust:
        """Take the files from a node's configuration."""
        return cls(config.raft.ca, config.raft.ca_key, config.tls.client_ca)

    def ticket(self, endpoints: list[str], lifetime: dt.timedelta) -> JoinTicket:
        """Write down what a new node needs to know. Raises PkiError."""
        files = [path for path in (self.ca, self.client_ca) if path is not None]
        ticket = JoinTicket(endpoints=endpoints, authorities=pki.bundle(*files), secure=self.client_ca is not None)
        if self.client_ca is not None and self.ca is not None and self.ca_key is not None:
            authority = pki.load_ca(self.ca, self.ca_key)
            if pki.der(authority.certificate) in pki.bundle(self.client_ca):
                ticket.certificate, ticket.key = pki.passing_client(authority, "joining", NODE_ZONE, lifetime)
        return ticket

    def sign(self, request: bytes, name: str, addresses: list[str]) -> bytes:
        """Return the PEM certificate of the node `name`. Raises AuthorityMissing, FieldInvalid."""
        if self.ca is None or self.ca_key is None:
            raise AuthorityMissing("this node does not hold the authority's key and cannot sign certificates")
        hosts = {address.rpartition(":")[0].strip("[]") for address in addresses if address}
        try:
            authority = pki.load_ca(self.ca, self.ca_key)
        except pki.PkiError as error:
            raise AuthorityMissing(f"the authority's key cannot be used: {error}") from error
        try:
            return pki.sign_node_request(authority, request, name, sorted({*hosts, "localhost", "127.0.0.1", "::1"}))
        except pki.PkiError as error:
            raise FieldInvalid.of("certificate_request", str(error)) from error


class Admission:
    """Makes tokens and takes in who shows one."""

    def __init__(self, store: Metastore, member: ClusterMember, trust: Trust, new_nonce: Callable[[], str]) -> None:
        """Keep tokens in `store`; `new_nonce` keeps ids of members at one address apart."""
        self._store = store
        self._member = member
        self._trust = trust
        self._new_nonce = new_nonce

    async def token(self, ttl: int) -> str:
        """Make a token that works for `ttl` seconds. Raises ClusterUnsupported, AuthorityMissing, MetastoreError."""
        self._demand_raft_port()
        status = self._member.status()
        me = status.members[status.member_id]
        others = (one for one in status.members.values() if one.id != me.id)
        endpoints = [one.client_address for one in (me, *others) if one.client_address]
        try:
            ticket = self._trust.ticket(endpoints, dt.timedelta(seconds=ttl))
        except pki.PkiError as error:
            raise AuthorityMissing(f"the authority cannot be used: {error}") from error
        return await tokens.issue(self._store, ttl, ticket)

    async def admit(self, request: pb.JoinRequest) -> tuple[int, bytes]:
        """Add a node as a learner; returns its member id and its certificate (PEM, empty when it asked for none).

        The token is used up only by a request that is well formed and new. A request that comes again because its answer
        was lost, or because the membership could not be changed at the moment, is taken up where it was left. Raises
        what `ClusterService.Join` answers.
        """
        self._demand_raft_port()
        if _NAME.fullmatch(request.name) is None:
            raise FieldInvalid.of("name", "is 1 to 63 of a-z, 0-9 and -")
        for field, address in (("peer_address", request.peer_address), ("client_address", request.client_address)):
            if (address or field == "peer_address") and not _reachable(address):
                raise FieldInvalid.of(field, "is HOST:PORT, up to 300 bytes, with a port from 1 to 65535")
        claim = tokens.claim_of(request.name, request.peer_address, request.certificate_request)
        again = await tokens.claimed(self._store, request.token, claim)
        known = self._known(request, again=again)
        certificate = b""
        if request.certificate_request:
            addresses = [request.peer_address, request.client_address]
            certificate = self._trust.sign(request.certificate_request, request.name, addresses)
        if known is None:
            await tokens.use(self._store, request.token, claim)
            number = identity.member_id("quartet", request.peer_address, self._new_nonce())
            # a client address in the log says that a member has run: it publishes its own when it does
            known = Member(number, request.name, request.peer_address, learner=True)
            await self._member.membership.add(known)
        if known.learner and not request.learner:
            await self._store.put(rpc_pb2.PutRequest(key=system.vote(known.id), value=b""))
        return known.id, certificate

    def _known(self, request: pb.JoinRequest, *, again: bool) -> Member | None:
        """Return the member that an earlier attempt of this request added. Raises NodeExists for any other."""
        for one in self._member.status().members.values():
            if again and (one.name, one.peer_address) == (request.name, request.peer_address):
                return one
            if request.name == one.name or request.peer_address == one.peer_address:
                raise NodeExists(f"a node called {one.name} at {one.peer_address} is a member", node=one.name)
        return None

    def _demand_raft_port(self) -> None:
        status = self._member.status()
        me = status.members.get(status.member_id)
        if me is None or ":" not in me.peer_address:
            raise ClusterUnsupported(
                "this node opens no Raft port, so that nobody can join it",
                hint="restart it with --raft-ca, --raft-cert, --raft-key and --listen-raft HOST:PORT",
            )


def _reachable(address: str) -> bool:
    """Tell whether others could connect to an address of this form."""
    if len(address) > _LONGEST_ADDRESS or _ADDRESS.fullmatch(address) is None:
        return False
    try:
        return Address.parse(address).port > 0
    except ValueError:
        return False
