"""One watcher: what it wants and how far it has been served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from raftmeta.etcd import kv_pb2 as kv
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine.history import KeyRange

if TYPE_CHECKING:
    from raftmeta.watch.stream import Stream

_FILTERS = {pb.WatchCreateRequest.NOPUT: kv.Event.PUT, pb.WatchCreateRequest.NODELETE: kv.Event.DELETE}


class Watcher:
    """A watcher of one stream.

    Attributes:
        stream: The stream it answers on.
        id: Its number within the stream.
        keys: What it watches.
        start: First revision it may hear of, 0 for whatever comes next: nothing is reported to it before.
        next_revision: While it is behind, the first revision it has not been served.
        synced: It gets events as they happen; otherwise the stream reads history for it.
        previous: Events carry prev_kv.
        fragment: Large responses are split.
        notify: It wants to hear of progress when nothing happens.
        quiet: Nothing was sent since the last round of progress notifications.
    """

    __slots__ = (
        "fragment", "id", "keys", "next_revision", "notify", "previous", "quiet", "start", "stream", "synced", "unwanted"
    )  # fmt: skip

    def __init__(self, stream: Stream, number: int, keys: KeyRange, request: pb.WatchCreateRequest) -> None:
        """Take over the wishes of a create request."""
        self.stream = stream
        self.id = number
        self.keys = keys
        self.start = max(request.start_revision, 0)
        self.next_revision = request.start_revision
        self.synced = False
        self.previous = request.prev_kv
        self.fragment = request.fragment
        self.notify = request.progress_notify
        self.quiet = True
        self.unwanted = frozenset(_FILTERS[kind] for kind in request.filters if kind in _FILTERS)

    def wanted(self, events: list[kv.Event]) -> list[kv.Event]:
        """Return the events that pass the filters."""
        return [event for event in events if event.type not in self.unwanted] if self.unwanted else events


def keys_of(request: pb.WatchCreateRequest) -> KeyRange | None:
    """Return what a create request watches, or None when that is nothing; no key at all means from the first key on."""
    start = request.key or b"\0"
    if request.range_end == b"\0":
        return KeyRange(start, None)
    if request.range_end and start >= request.range_end:
        return None
    return KeyRange(start, request.range_end)


def fragments(response: pb.WatchResponse, limit: int) -> Iterator[pb.WatchResponse]:
    """Split a response into pieces of at most `limit` bytes (or one event), all but the last marked `fragment`."""
    if len(response.events) < 2 or response.ByteSize() < limit:
        yield response
        return
    head = pb.WatchResponse(watch_id=response.watch_id)
    head.header.CopyFrom(response.header)
    fixed = head.ByteSize() + 2  # the mark itself
    piece, size = pb.WatchResponse(), 0
    piece.CopyFrom(head)
    for event in response.events:
        cost = event.ByteSize() + 6  # tag and length of an event below 4 GiB
        if piece.events and fixed + size + cost > limit:
            piece.fragment = True
            yield piece
            piece, size = pb.WatchResponse(), 0
            piece.CopyFrom(head)
        piece.events.append(event)
        size += cost
    yield piece
