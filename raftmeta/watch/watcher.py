"""One watcher: what it wants and how far it has been served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine.applied import Change
from raftmeta.machine.history import KeyRange

if TYPE_CHECKING:
    from raftmeta.watch.stream import Stream

_FILTERS = {pb.WatchCreateRequest.NOPUT: False, pb.WatchCreateRequest.NODELETE: True}  # by `Change.deleted`


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

    def wanted(self, changes: list[Change]) -> list[Change]:
        """Return the changes that pass the filters."""
        return [change for change in changes if change.deleted not in self.unwanted] if self.unwanted else changes


def keys_of(request: pb.WatchCreateRequest) -> KeyRange | None:
    """Return what a create request watches, or None when that is nothing; no key at all means from the first key on."""
    start = request.key or b"\0"
    if request.range_end == b"\0":
        return KeyRange(start, None)
    if request.range_end and start >= request.range_end:
        return None
    return KeyRange(start, request.range_end)
