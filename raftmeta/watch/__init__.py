"""Watch streams over the machine: history first, then live events, in order, once each."""

from raftmeta.watch.hub import WatchHub
from raftmeta.watch.stream import watch_replies, watch_stream

__all__ = ["WatchHub", "watch_replies", "watch_stream"]
