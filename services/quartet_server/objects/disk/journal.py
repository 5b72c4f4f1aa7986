"""The journal: packs and index as one, changed batch by batch in one thread and read in any."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import lmdb

from quartet_server.objects.digest import Digest
from quartet_server.objects.disk.entry import Entry, key_of
from quartet_server.objects.disk.index import Index, Place
from quartet_server.objects.disk.packs import HEADER_BYTES, Pack, PackAbandoned, PackDamaged, number_of
from quartet_server.objects.disk.record import Damage, Kind, Record
from quartet_server.objects.filesystem import make_directory, remove, sync_directory

_CHECKPOINT = 20_000  # entries held in memory until they are written to LMDB
_MOST = 200_000  # at so many nothing more is taken until they could be


class Batch:
    """Changes that become durable together; what is planned sees what was planned before it.

    Attributes:
        now: The time of all of them.
        records: What goes into a pack.
        steps: What happens to the index: by a record, in the order of `records`, or by a change.
        synced: Folders to sync first.
        unfiled: Blobs whose files may not be needed any more.
    """

    def __init__(self, journal: Journal, now: float) -> None:
        """Begin without changes; `now` is the time of all of them."""
        self.now = now
        self.records = list[Record]()
        self.steps = list[tuple[bytes, Record | Callable[[Entry], Entry]]]()
        self.synced = set[Path]()
        self._journal = journal
        self.unfiled = list[tuple[str, Digest]]()
        self._planned = dict[bytes, Entry | None]()

    def find(self, zone: str, digest: Digest) -> Entry | None:
        """Return the entry of a blob as it will be; its pack is 0 if the record is of this batch."""
        key = key_of(zone, digest.hash)
        if key not in self._planned:
            self._planned[key] = self._journal.index.get(key)
        return self._planned[key]

    def write(
        self,
        kind: Kind,
        zone: str,
        digest: Digest,
        codec: int = 0,
        stored: int = 0,
        payload: bytes = b"",
        time: float | None = None,
    ) -> None:
        """Plan a record and what it does to the index."""
        record = Record(kind, zone, digest, codec, stored, self.now if time is None else time, payload)
        key, old = key_of(zone, digest.hash), self.find(zone, digest)
        self._planned[key] = after(record, old, 0, 0)
        if old is not None and old.filed and kind in (Kind.PACKED, Kind.DELETED):
            self.unfiled.append((zone, digest))
        self.records.append(record)
        self.steps.append((key, record))

    def change(self, zone: str, digest: Digest, change: Callable[[Entry], Entry]) -> None:
        """Plan a change of an entry that is there, in the index alone: a crash may undo it."""
        key = key_of(zone, digest.hash)
        entry = self.find(zone, digest)
        if entry is not None:
            self._planned[key] = change(entry)
            self.steps.append((key, change))


def after(record: Record, entry: Entry | None, pack: int, offset: int) -> Entry | None:
    """Return what becomes of a blob's entry by a record."""
    if record.kind == Kind.DELETED:
        return None if entry is None or entry.pack == (record.stored or pack) else entry
    if record.kind == Kind.REVIVED:
        return None if entry is None else replace(entry, condemned=None, touched=record.time)
    return Entry.of(record, pack, offset)


class Journal:
    """Packs and the index of what is in them, below one folder.

    `commit`, `checkpoint` and what compaction calls run in one thread at a time; `find` and `record` in any.

    Attributes:
        index: Where each blob is.
        packs: By number.
        findings: What was wrong when it was opened, for people.
    """

    def __init__(
        self, folder: Path, pack_bytes: int, clock: Callable[[], float], draw: Callable[[int], bytes],
        is_filed: Callable[[str, Digest], bool],
    ) -> None:  # fmt: skip
        """Open what is below `folder`, or begin it; a torn end is cut. Raises OSError.

        Args:
            folder: Where packs and index are.
            pack_bytes: Length at which a new pack is begun.
            clock: Seconds since 1970.
            draw: Returns so many bytes that nobody can guess.
            is_filed: Tells whether the file of a blob is there.
        """
        self._folder = folder / "packs"
        self._pack_bytes = pack_bytes
        self._clock = clock
        self._draw = draw
        self.findings = list[str]()
        make_directory(self._folder)
        self.index = Index(folder / "index")
        self.packs = dict[int, Pack]()
        self._highest = 0
        self._active: Pack | None = None
        try:
            self._open(is_filed)
        except BaseException:
            self.index.close()
            raise

    def _open(self, is_filed: Callable[[str, Digest], bool]) -> None:
        for path in sorted(self._folder.iterdir()):
            if path.suffix == ".tmp":
                remove(path)
            elif (number := number_of(path.name)) is not None:
                self._highest = number
                try:
                    self.packs[number] = Pack.open(path)
                except PackDamaged as damage:
                    self.findings.append(str(damage))
        sync_directory(self._folder)
        for number, pack in self.packs.items():
            if (following := self.packs.get(number + 1)) is not None:
                if pack.end < following.previous_end:
                    self.findings.append(f"pack {number:08x} was cut from {following.previous_end} to {pack.end} bytes")
                pack.end = min(pack.end, following.previous_end)
        place = self.index.place
        for number, pack in self.packs.items():
            if number < place.pack:
                continue
            start = place.offset if number == place.pack else 0
            for item in pack.recover(start, last=number == self._highest):
                if isinstance(item, Damage):
                    self.findings.append(f"pack {number:08x} is damaged from byte {item.offset} to {item.end}")
                    continue
                record, key = item.record, key_of(item.record.zone, item.record.digest.hash)
                old = self.index.get(key)
                entry = after(record, old, number, item.offset)
                if record.kind == Kind.FILED and not is_filed(record.zone, record.digest):
                    entry = None  # deleted later in the packs, or lost
                self.index.set(key, entry, old)
                self._note(record, number)
            if len(self.index) > _CHECKPOINT:
                self.index.freeze(Place(number, pack.end))
                self.index.write()
        last = self.packs.get(self._highest)
        if last is not None and place.pack == last.number and last.end < place.offset:
            self.findings.append(f"pack {last.number:08x} was cut from {place.offset} to {last.end} bytes")
        elif last is not None and last.end < self._pack_bytes:
            self._active = last

    @property
    def place(self) -> Place:
        """Where the next record goes."""
        last = self._active or self.packs.get(self._highest)
        return Place() if last is None else Place(last.number, last.end)

    @property
    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock()

    def find(self, zone: str, digest: Digest) -> Entry | None:
        """Return the entry of a blob."""
        return self.index.get(key_of(zone, digest.hash))

    def record(self, entry: Entry) -> Record | None:
        """Return the record of an entry; None if it is damaged. Raises KeyError if its pack was removed meanwhile, OSError."""
        return self.packs[entry.pack].read(entry.offset, entry.length)

    def commit(self, batch: Batch) -> None:
        """Make a batch durable, then visible. Raises OSError: nothing has happened then."""
        if len(self.index) > _MOST:
            self.checkpoint()
        for folder in sorted(batch.synced):
            sync_directory(folder)
        number, places = 0, list[int]()
        if batch.records:
            pack = self._room(sum(record.length for record in batch.records))
            try:
                places = pack.append(batch.records)
            except PackAbandoned:
                self._active = None
                raise
            number = pack.number
        place = iter(places)
        for key, step in batch.steps:
            entry = self.index.get(key)
            if isinstance(step, Record):
                self.index.set(key, after(step, entry, number, next(place)), entry)
                self._note(step, number)
            elif entry is not None:
                self.index.set(key, step(entry), entry)

    def _note(self, record: Record, number: int) -> None:
        if record.kind == Kind.DELETED:
            self.index.note(number, record.stored or number, record.length)

    def _room(self, size: int) -> Pack:
        """Return the pack to write to, a new one if `size` bytes are too much for the one at hand."""
        pack = self._active
        if pack is None or (pack.end + size > self._pack_bytes and pack.end > HEADER_BYTES):
            pack = Pack.begin(self._folder, self._highest + 1, self._draw(16), self.place.offset)
            self._active, self._highest, self.packs[pack.number] = pack, pack.number, pack
        return pack

    @property
    def is_due(self) -> bool:
        """Whether there is enough for a checkpoint."""
        return len(self.index) > _CHECKPOINT

    def checkpoint(self) -> None:
        """Write what the index holds in memory to LMDB. Raises OSError: nothing is lost, a later one tries again."""
        self.index.freeze(self.place)
        try:
            self.index.write()
        except (lmdb.MapFullError, lmdb.DiskError) as error:
            raise OSError(errno.ENOSPC, str(error)) from error
        except lmdb.Error as error:
            full = os.statvfs(self._folder).f_bavail == 0
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error

    def sparse(self) -> list[int]:
        """Return the numbers of packs, but for the one that is written to, of which less than half is needed."""
        return [
            number
            for number, pack in sorted(self.packs.items())
            if number != self._highest and 2 * self.index.needed(number, self.packs) < pack.end - HEADER_BYTES
        ]

    def plan_moves(self, number: int, batch: Batch, start: int, limit: int) -> int | None:
        """Plan to copy what is still needed of a pack's records from the place `start` on, about `limit` bytes of it.

        A note that a blob was deleted is needed as long as the pack is there that has the blob. Returns where the next
        record begins, None at the end. Raises OSError.
        """
        size = 0
        for item in self.packs[number].records(start):
            if isinstance(item, Damage):
                continue
            if size >= limit:
                return item.offset
            record = item.record
            entry = batch.find(record.zone, record.digest)
            if record.kind == Kind.DELETED:
                about = record.stored or number
                if about == number or about not in self.packs:
                    continue
                batch.write(Kind.DELETED, record.zone, record.digest, stored=about)
            elif entry is not None and (entry.pack, entry.offset) == (number, item.offset):
                batch.write(
                    record.kind, record.zone, record.digest, record.codec, record.stored, record.payload, entry.touched
                )
                if entry.condemned is not None:
                    batch.change(record.zone, record.digest, partial(replace, condemned=entry.condemned))
            size += record.length
        return None

    def remove_pack(self, number: int) -> None:
        """Remove a pack that no entry needs. Raises OSError."""
        self.checkpoint()  # LMDB must not know its records as the place of anything any more
        if self.index.live.get(number, 0):
            raise OSError(errno.EBUSY, "the pack is in use")
        self.packs.pop(number)
        self.index.forget(number)
        remove(self._folder / f"{number:08x}.pack")
        sync_directory(self._folder)

    def pack_bytes(self) -> int:
        """Return the length of all packs together."""
        return sum(pack.end for pack in list(self.packs.values()))

    def close(self) -> None:
        """Let go of everything, after a last checkpoint if the disk allows one."""
        try:
            self.checkpoint()
        except OSError:
            pass  # the next opening reads it from the packs
        finally:
            self.index.close()
            self.packs.clear()
            self._active = None
