"""Join tokens: told once, kept as hashes, used by one node.

A token is `SECRET.TICKET`. The secret is what lets a node in; the ticket, which only the node reads, is how it finds the
cluster and knows it. Below /system/join/ is the secret's hash, for as long as the token's lease lives; its value is
empty until a node claims the token, and then says which: that node may repeat its request, no other may use the token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets

from google.protobuf.message import DecodeError
from quartet.cluster.storage.v1.storage_pb2 import JoinTicket

from quartet_server.errors import JoinTokenInvalid
from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore


def _key(token: str) -> bytes:
    return system.TOKENS + hashlib.sha256(token.partition(".")[0].encode()).hexdigest().encode()


async def issue(store: Metastore, ttl: int, ticket: JoinTicket) -> str:
    """Return a token for one node that works within `ttl` seconds. Raises MetastoreError."""
    token = secrets.token_hex(32)  # never begins like a flag
    lease = await store.lease_grant(pb.LeaseGrantRequest(TTL=ttl))
    await store.put(pb.PutRequest(key=_key(token), value=b"", lease=lease.ID))
    return f"{token}.{base64.urlsafe_b64encode(ticket.SerializeToString()).decode().rstrip('=')}"


def ticket_of(token: str) -> JoinTicket:
    """Read the ticket in a token. Raises ValueError when there is none."""
    text = token.strip().partition(".")[2]
    try:
        ticket = JoinTicket.FromString(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, DecodeError, ValueError) as error:
        raise ValueError(f"not a join token: {error}") from error
    if not ticket.endpoints:
        raise ValueError("not a join token: it names no node")
    return ticket


def claim_of(name: str, peer_address: str, request: bytes) -> bytes:
    """Return what tells one joining node from every other: name, Raft address and key."""
    return hashlib.sha256(b"\0".join((name.encode(), peer_address.encode(), request))).digest()


async def claimed(store: Metastore, token: str, claim: bytes) -> bool:
    """Tell whether the token is claimed by `claim`, False when it is free. Raises JoinTokenInvalid, MetastoreError."""
    key = _key(token)
    found = (await Snapshot(store).get([key])).get(key)
    if found is None:
        raise JoinTokenInvalid("the join token is unknown or expired")
    if found.value not in (b"", claim):
        raise JoinTokenInvalid("the join token is used up")
    return found.value == claim


async def use(store: Metastore, token: str, claim: bytes) -> None:
    """Claim a free token. Raises JoinTokenInvalid, MetastoreError."""
    key = _key(token)
    free = pb.Compare(key=key, result=pb.Compare.EQUAL, target=pb.Compare.VALUE, value=b"")
    put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=claim, ignore_lease=True))
    answer = await store.txn(pb.TxnRequest(compare=[ops.exists(key), free], success=[put]))
    if not answer.succeeded and not await claimed(store, token, claim):
        raise JoinTokenInvalid("the join token was used by another node just now")
