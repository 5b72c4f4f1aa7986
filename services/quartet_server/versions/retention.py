"""How long versions are kept: the rule, and which setting holds for a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.versions.storage.v1 import storage_pb2
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.files import keys as files
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions import keys
from quartet_server.versions.keys import RecordKey

MOST = 1000
"""The most old versions of a file that anybody can keep."""
LONGEST = 100 * 366 * 86_400
_PAGE = 1000
_DEEPEST = 256


@dataclass(frozen=True, slots=True)
class Rule:
    """Which old versions of a file stay.

    Attributes:
        most: At most this many.
        least: At least this many of a file that exists, however old.
        seconds: None, besides those, that ended longer ago; nothing of a file that was deleted longer ago.
    """

    most: int = 100
    least: int = 1
    seconds: int = 30 * 86_400

    @classmethod
    def of(cls, message: pb.Retention, field_: str = "retention") -> Rule:
        """Return what a request says, unset fields by their defaults. Raises FieldInvalid."""
        most = message.max_versions if message.HasField("max_versions") else cls().most
        least = message.min_versions if message.HasField("min_versions") else min(cls().least, most)
        seconds = message.keep.seconds if message.HasField("keep") else cls().seconds
        if not 0 <= most <= MOST:
            raise FieldInvalid.of(f"{field_}.max_versions", f"0 to {MOST} are taken")
        if not 0 <= least <= most:
            raise FieldInvalid.of(f"{field_}.min_versions", f"0 to {most}, which is max_versions, are taken")
        if not 0 <= seconds <= LONGEST or message.keep.nanos:
            raise FieldInvalid.of(f"{field_}.keep", "is a whole number of seconds, from 0 to 100 years")
        return cls(most, least, seconds)

    def message(self) -> pb.Retention:
        """Return it as a message with every field set."""
        told = pb.Retention(max_versions=self.most, min_versions=self.least)
        told.keep.seconds = self.seconds
        return told

    def expired(self, records: Sequence[RecordKey], now: float) -> list[RecordKey]:
        """Return those of a file's records, the oldest first, that are past it at `now`, in seconds since 1970."""
        if not records:
            return []
        last = records[-1]
        if last.deleted and now - last.end > self.seconds:
            return list(records)
        old = list(records[: max(len(records) - self.most, 0)])
        rest = records[len(old) : max(len(records) - self.least, len(old))]
        return old + [one for one in rest if now - one.end > self.seconds]


DEFAULT = Rule()


@dataclass(slots=True)
class Rules:
    """The settings of a zone as one snapshot shows them, and what was looked up for them.

    Attributes:
        own: Inode number -> what was set for it.
    """

    zone: str
    snapshot: Snapshot
    own: dict[int, Rule] = field(default_factory=dict)
    _parents: dict[int, int] = field(default_factory=dict)

    @classmethod
    async def load(cls, zone: str, snapshot: Snapshot) -> Rules:
        """Read all settings of a zone. Raises MetastoreError."""
        rules = cls(zone, snapshot)
        start = keys.retentions(zone)
        end, more = ops.prefix_end(start), True
        while more:
            page = await snapshot.scan(start, end, _PAGE)
            for kv in page.kvs:
                rules.own[int.from_bytes(kv.key[-8:], "big")] = decoded(kv.value)
                start = kv.key + b"\0"
            more = page.more
        return rules

    @property
    def strictest(self) -> tuple[int, int]:
        """The fewest versions and the shortest time that hold anywhere: whatever is within them stays."""
        rules = [DEFAULT, *self.own.values()]
        return min(rule.most for rule in rules), min(rule.seconds for rule in rules)

    async def holding(self, ino: int, parent: int = 0) -> tuple[Rule, int]:
        """Return what holds for a file, and at which inode it was set, 0 for the default.

        `parent` is the directory from which it was deleted, if it was. Raises MetastoreError.
        """
        at, steps = ino, 0
        while self.own and steps < _DEEPEST:
            if at in self.own:
                return self.own[at], at
            above = parent if steps == 0 and parent else await self._above(at)
            if not above:
                break
            at, steps = above, steps + 1
        if files.ROOT in self.own:
            return self.own[files.ROOT], files.ROOT
        return DEFAULT, 0

    async def _above(self, ino: int) -> int:
        """Return the directory that holds an inode; 0 for the root and for what is cut off."""
        if ino == files.ROOT:
            return 0
        if ino not in self._parents:
            key = files.parent(self.zone, ino)
            kv = (await self.snapshot.get([key])).get(key)
            self._parents[ino] = 0 if kv is None else files_storage.Parent.FromString(kv.value).ino
        return self._parents[ino]


def decoded(value: bytes) -> Rule:
    """Decode a setting."""
    return Rule.of(storage_pb2.RetentionRecord.FromString(value).retention)
