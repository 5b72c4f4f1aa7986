"""Answers of a watch stream in bytes: what is sent to many watchers is serialized once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine.applied import Change
from raftmeta.machine.wire import varint

_FRAGMENT = b"\x38\x01"


class Reply(NamedTuple):
    """A `WatchResponse` without its header.

    Attributes:
        revision: What the header says.
        body: The other fields, serialized.
    """

    revision: int
    body: bytes

    @property
    def message(self) -> pb.WatchResponse:
        """The response; its header has the revision only."""
        response = pb.WatchResponse.FromString(self.body)
        response.header.revision = self.revision
        return response

    def encoded(self, header: bytes) -> bytes:
        """Return the response in bytes, with a serialized `ResponseHeader`."""
        return b"\x0a" + varint(len(header)) + header + self.body


def reply(revision: int, response: pb.WatchResponse) -> Reply:
    """Return the reply that a response without a header makes."""
    return Reply(revision, response.SerializeToString())


def events_field(changes: Iterable[Change]) -> list[bytes]:
    """Encode changes as the repeated field `events`, one item each."""
    events = (change.encoded() for change in changes)
    return [b"\x5a" + varint(len(event)) + event for event in events]


def events_reply(revision: int, number: int, events: Sequence[bytes]) -> Reply:
    """Return the reply that tells watcher `number` of events."""
    return Reply(revision, _watcher(number) + (events[0] if len(events) == 1 else b"".join(events)))


def fragments(revision: int, number: int, events: Sequence[bytes], limit: int) -> Iterator[Reply]:
    """Split events into replies of at most `limit` bytes (or one event), all but the last marked `fragment`."""
    head = _watcher(number)
    fixed = len(head) + 2 + len(varint(revision)) + 3  # the mark, and a header that says the revision
    piece: list[bytes] = []
    size = fixed
    for event in events:
        if piece and size + len(event) > limit:
            yield Reply(revision, b"".join((head, _FRAGMENT, *piece)))
            piece, size = [], fixed
        piece.append(event)
        size += len(event)
    yield Reply(revision, b"".join((head, *piece)))


def _watcher(number: int) -> bytes:
    return b"\x10" + varint(number & 0xFFFF_FFFF_FFFF_FFFF) if number else b""
