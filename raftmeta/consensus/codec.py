"""Bytes of log entries, messages and memberships: a strict schema, a version in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.message import DecodeError

from raftmeta.v1 import peer_pb2

from .contract import Member

VERSION = 1
COMMAND, NO_OP, MEMBERSHIP = 0, 1, 2  # kinds of entries; pysyncobj's own numbers
HEADERS = tuple(bytes([VERSION << 4 | kind]) for kind in (COMMAND, NO_OP, MEMBERSHIP))

Members = Mapping[int, Member]


class FormatError(ValueError):
    """Bytes from a peer or a disk that do not follow the schema."""


def entry_kind(data: bytes) -> int:
    """Return what kind of entry `data` is; raise `FormatError` for an unknown version or kind."""
    header = data[:1]
    if header not in HEADERS:
        raise FormatError(f"log entry with unknown header {header.hex() or 'missing'}: written by a newer version?")
    return header[0] & 15


def pack_members(members: Members) -> peer_pb2.Membership:
    """Return the message for a membership."""
    return peer_pb2.Membership(
        members=[
            peer_pb2.Member(
                id=m.id, name=m.name, peer_address=m.peer_address, client_address=m.client_address, learner=m.learner
            )
            for m in sorted(members.values(), key=lambda m: m.id)
        ]
    )


def unpack_members(message: peer_pb2.Membership) -> dict[int, Member]:
    """Return the membership of a message; raise `FormatError` when an id is 0 or occurs twice."""
    members = {m.id: Member(m.id, m.name, m.peer_address, m.client_address, m.learner) for m in message.members}
    if 0 in members or len(members) != len(message.members):
        raise FormatError("membership with a zero or repeated member id")
    return members


def membership_entry(members: Members) -> bytes:
    """Return the data of a log entry that puts `members` in force."""
    return HEADERS[MEMBERSHIP] + pack_members(members).SerializeToString()


def entry_members(data: bytes) -> dict[int, Member]:
    """Return the membership a membership entry carries."""
    try:
        return unpack_members(peer_pb2.Membership.FromString(data[1:]))
    except DecodeError as error:
        raise FormatError(f"membership entry: {error}") from None


def by_id(members: Iterable[Member]) -> dict[int, Member]:
    """Return members by id."""
    return {member.id: member for member in members}


def decode(frame: bytes) -> peer_pb2.PeerMessage:
    """Return the message in a frame; raise `FormatError` for anything that breaks the schema or its rules."""
    try:
        message = peer_pb2.PeerMessage.FromString(frame)
    except DecodeError as error:
        raise FormatError(f"frame: {error}") from None
    if message.version != VERSION:
        raise FormatError(f"message of version {message.version}, this member speaks {VERSION}")
    kind = message.WhichOneof("body")
    if kind is None:
        raise FormatError("message without a body this version knows")
    if kind == "append":
        append = message.append
        term = append.prev_term
        for entry in append.entries:
            if not term <= entry.term <= message.term or not entry.term:
                raise FormatError("entries whose terms go down, are 0 or pass the leader's")
            term = entry.term
            if entry_kind(entry.data) == MEMBERSHIP:
                entry_members(entry.data)
    return message
