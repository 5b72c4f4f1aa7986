"""Introductions: what a member says first, and whether it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from raftmeta.transport.contract import Peer
from raftmeta.v1.hello_pb2 import Hello

MAGIC = int.from_bytes(b"QUARTET", "big")
VERSION = 1
OLDEST_VERSION = 1
MAX_HELLO = 1024
"""Longest first frame, in bytes."""
_MAX_NAME = 128
_MAX_ADDRESS = 300


class Refused(Exception):  # noqa: N818
    """The other end is not who it should be; the message says why."""


@dataclass(frozen=True, slots=True)
class Self:
    """Who this member is: its id, name, cluster, and the address it tells others."""

    id: int
    name: str
    cluster_id: int
    address: str

    def hello(self, receiver_id: int) -> bytes:
        """The first frame's payload; `receiver_id` is 0 in an answer."""
        return Hello(
            magic=MAGIC,
            version=VERSION,
            oldest_version=OLDEST_VERSION,
            cluster_id=self.cluster_id,
            sender_id=self.id,
            receiver_id=receiver_id,
            name=self.name,
            address=self.address,
        ).SerializeToString()


def parse(payload: bytes) -> Hello:
    """Read a first frame. Raises Refused when it is none."""
    try:
        hello = Hello.FromString(payload)
    except DecodeError:
        raise Refused("the first frame is not a greeting") from None
    if hello.magic != MAGIC:
        raise Refused("the first frame is not a greeting")
    if len(hello.name) > _MAX_NAME or len(hello.address) > _MAX_ADDRESS:
        raise Refused("name or address in the greeting is too long")
    return hello


def judge(
    hello: Hello, me: Self, peers: Mapping[int, Peer], certified: frozenset[str] | None, expected: int | None
) -> None:
    """Decide whether to talk to who said `hello`.

    What binds a connection to a member: the certificate was issued by the cluster's CA to the name in the greeting, and
    that name is the member's in the replicated membership. A member that was just added has no name there yet: it may
    use any name that is no other member's, until the name it published is in force.

    Args:
        hello: The greeting.
        me: This member.
        peers: The allow-list.
        certified: Node names in the verified certificate; None without TLS.
        expected: Member that was dialled; None for who dialled us.

    Raises:
        Refused: Any doubt.
    """
    if hello.version < OLDEST_VERSION or hello.oldest_version > VERSION:
        raise Refused(f"speaks protocol {hello.oldest_version} to {hello.version}, we {OLDEST_VERSION} to {VERSION}")
    if hello.cluster_id != me.cluster_id:
        raise Refused(f"belongs to cluster {hello.cluster_id:x}, we to {me.cluster_id:x}")
    if hello.receiver_id not in (0, me.id):
        raise Refused(f"looks for member {hello.receiver_id:x}, this is {me.id:x}: an address is wrong")
    if expected is not None and hello.sender_id != expected:
        raise Refused(f"member {hello.sender_id:x} answered for {expected:x}: an address is wrong")
    peer = peers.get(hello.sender_id)
    if peer is None:
        raise Refused(f"member {hello.sender_id:x} is not in the membership")
    if certified is not None and hello.name not in certified:
        held = ", ".join(sorted(certified)) or "no member"
        raise Refused(f"calls itself {hello.name!r} with a certificate issued to {held}")
    if peer.name and hello.name != peer.name:
        raise Refused(f"member {hello.sender_id:x} is {peer.name!r} and came as {hello.name!r}")
    if not peer.name:
        taken = {other.name for other in peers.values()} | {me.name}
        if certified is not None and hello.name in taken:
            raise Refused(f"the name {hello.name!r} is another member's")
