"""What the machine tells its listeners after entries were applied, and what it tells readers about leases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import Message

from raftmeta.errors import Fault
from raftmeta.etcd import kv_pb2 as kv
from raftmeta.machine.wire import varint

Result = Message | Fault


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease as the log knows it.

    Attributes:
        ttl: Granted time to live, seconds.
        remaining: Seconds left at the last checkpoint; 0 when none was taken since it was granted or renewed.
    """

    ttl: int
    remaining: int


@dataclass(frozen=True, slots=True)
class SpacePolicy:
    """What one keyspace may use and keeps.

    Attributes:
        quota: Bytes in use at which the leader proposes the NOSPACE alarm.
        keep_revisions: Revisions of history kept by automatic compaction; None compacts only when asked.
    """

    quota: int = 2 << 30
    keep_revisions: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one batch.

    Attributes:
        client: Incarnation of the proposing node.
        sequence: Number of the batch within it.
        results: One per command, in order: its response message, or the reason it was refused. Headers carry the
            revision only.
    """

    client: int
    sequence: int
    results: list[Result]


class Change(NamedTuple):
    """What happened to one key: an event, kept as the bytes it is sent in.

    Attributes:
        key: The key.
        revision: Main revision of the change.
        deleted: It was deleted.
        created: It was put, and was not there before.
        item: `KeyValue` bytes as an event shows them.
        previous: `KeyValue` bytes of prev_kv, None without one.
    """

    key: bytes
    revision: int
    deleted: bool
    created: bool
    item: bytes
    previous: bytes | None = None

    def encoded(self) -> bytes:
        """Return the `Event` message in bytes."""
        body = b"\x12" + varint(len(self.item)) + self.item
        if self.previous is not None:
            body += b"\x1a" + varint(len(self.previous)) + self.previous
        return b"\x08\x01" + body if self.deleted else body

    @property
    def event(self) -> kv.Event:
        """The event as a message."""
        return kv.Event.FromString(self.encoded())


def tombstone(key: bytes, main: int, record: bytes) -> Change:
    """Return the change that a tombstone stands for; `record` is its `KeyValue`, which has the key only."""
    return Change(key, main, True, False, record + b"\x18" + varint(main))


@dataclass(slots=True)
class SpaceChange:
    """What one `apply` changed in one keyspace.

    Attributes:
        revisions: (revision, its changes in order), ascending.
        granted: Leases granted: id -> ttl in seconds.
        revoked: Ids of leases revoked.
        checkpointed: Leases checkpointed: id -> seconds left.
        compacted: New compacted revision, or None.
    """

    revisions: list[tuple[int, list[Change]]] = field(default_factory=list)
    granted: dict[int, int] = field(default_factory=dict)
    revoked: list[int] = field(default_factory=list)
    checkpointed: dict[int, int] = field(default_factory=dict)
    compacted: int | None = None

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.revisions or self.granted or self.revoked or self.checkpointed or self.compacted is not None)


@dataclass(frozen=True, slots=True)
class Applied:
    """One step of the machine. Shared by all listeners: nobody changes it.

    Attributes:
        index: Raft index up to which everything is applied.
        term: Term of that entry.
        outcomes: Of the batches in this step, in log order.
        changes: By keyspace; a keyspace in which nothing happened is absent.
        installed: The whole state was replaced by a snapshot; outcomes and changes are empty, re-read what you cache.
    """

    index: int
    term: int
    outcomes: list[Outcome]
    changes: dict[int, SpaceChange]
    installed: bool = False
