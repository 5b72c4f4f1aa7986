"""The index: where each blob is, in LMDB, with what is newer held in memory until the next checkpoint.

LMDB is written only at checkpoints, each one durable transaction that names the place in the packs up to which it knows
everything. What came after is read from the packs when the store is opened. So a put waits for its pack alone, and an
index that is lost or damaged is made again from the packs.
"""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Container
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Any

import lmdb

from quartet_server.objects.contract import Usage
from quartet_server.objects.disk.entry import Entry, zone_of
from quartet_server.objects.filesystem import make_directory, sync_directory

_FORMAT = 1
_STATE = b"state"
_NEW = {"format": _FORMAT, "place": [0, 0], "live": {}, "notes": {}, "usage": {}}
_MAP_BYTES = 1 << 37  # address space, not memory: a thousand million blobs
_READERS = 126
_DAMAGED = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    ValueError,
    KeyError,
    TypeError,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the packs: everything before it is known.

    Attributes:
        pack: Number of a pack; 0: nothing is known.
        offset: Where in it.
    """

    pack: int = 0
    offset: int = 0


class Index:
    """Entries by key. One thread changes it, any number read it.

    Attributes:
        place: Everything in the packs before it is in the last checkpoint.
        live: Pack number -> bytes of its records that an entry points to.
    """

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`; one that cannot be used is removed and begun anew. Raises OSError."""
        self._env, self._entries, state = _open(folder)
        self.place = Place(*state["place"])
        self.live: dict[int, int] = {int(number): length for number, length in state["live"].items()}
        self._notes: dict[int, dict[int, int]] = {
            int(number): {int(about): length for about, length in notes.items()}
            for number, notes in state["notes"].items()
        }
        self._usage = {zone: Usage(*counts) for zone, counts in state["usage"].items()}
        self._front: dict[bytes, Entry | None] = {}
        self._frozen: dict[bytes, Entry | None] = {}
        self._lock = threading.Lock()
        self._state = b""
        self._freezing = self.place

    def __len__(self) -> int:
        return len(self._front)

    def get(self, key: bytes) -> Entry | None:
        """Return an entry."""
        for newer in (self._front, self._frozen):  # in this order, LMDB last: entries move that way
            if key in newer:
                return newer[key]
        with self._env.begin() as txn:
            data = txn.get(key, db=self._entries)
        return None if data is None else Entry.unpack(data)

    def set(self, key: bytes, entry: Entry | None, old: Entry | None) -> None:
        """Set or remove (None) an entry; `old` is the one that `get` returns now."""
        with self._lock:
            self._front[key] = entry
            self._count(key, old, -1)
            self._count(key, entry, 1)

    def _count(self, key: bytes, entry: Entry | None, sign: int) -> None:
        if entry is None:
            return
        zone = zone_of(key)
        usage = self._usage.get(zone, Usage())
        usage = Usage(usage.blobs + sign, usage.logical + sign * entry.size, usage.physical + sign * entry.physical)
        if usage.blobs:
            self._usage[zone] = usage
        else:
            self._usage.pop(zone, None)
        self.live[entry.pack] = self.live.get(entry.pack, 0) + sign * entry.length

    def note(self, number: int, about: int, length: int) -> None:
        """Take note of a record of so many bytes in pack `number` that says that a blob in pack `about` was deleted."""
        with self._lock:
            notes = self._notes.setdefault(number, {})
            notes[about] = notes.get(about, 0) + length

    def needed(self, number: int, packs: Container[int]) -> int:
        """Return how many bytes of a pack's records are needed while `packs` are there."""
        with self._lock:
            notes = sum(
                size for about, size in self._notes.get(number, {}).items() if about in packs and about != number
            )
            return self.live.get(number, 0) + notes

    def forget(self, number: int) -> None:
        """A pack is gone."""
        with self._lock:
            self.live.pop(number, None)
            self._notes.pop(number, None)

    def usage(self, zone: str | None) -> Usage:
        """Return what a zone holds, or all of them."""
        with self._lock:
            zones = list(self._usage.values()) if zone is None else [self._usage.get(zone, Usage())]
        return Usage(sum(u.blobs for u in zones), sum(u.logical for u in zones), sum(u.physical for u in zones))

    def zones(self) -> list[str]:
        """Return the zones that have entries, sorted."""
        with self._lock:
            return sorted(self._usage)

    def after(self, prefix: bytes, key: bytes, limit: int) -> list[tuple[bytes, Entry]]:
        """Return entries after `key` whose keys begin with `prefix`, in order, at most `limit`."""
        with self._lock:
            newer = {**self._frozen, **self._front}
            with self._env.begin() as txn:
                kept = _range(txn, self._entries, prefix, key, limit + len(newer))
        changed = sorted((k, e) for k, e in newer.items() if k > key and k.startswith(prefix) and e is not None)
        old = ((k, e) for k, e in kept if k not in newer)
        found = []
        for pair in merge(changed, old, key=lambda pair: pair[0]):
            found.append(pair)
            if len(found) == limit:
                break
        return found

    def freeze(self, place: Place) -> None:
        """Take what is known now for the next checkpoint; everything in the packs before `place` is. In the changing thread."""
        with self._lock:
            self._frozen = {**self._frozen, **self._front}  # what an earlier one could not write comes along
            self._front = {}
            self._state = json.dumps(
                {
                    "format": _FORMAT,
                    "place": [place.pack, place.offset],
                    "live": {number: length for number, length in self.live.items() if length},
                    "notes": self._notes,
                    "usage": {zone: [u.blobs, u.logical, u.physical] for zone, u in self._usage.items()},
                }
            ).encode()
            self._freezing = place

    def write(self) -> None:
        """Make what was frozen durable. In any one thread, before the next `freeze`.

        Raises:
            lmdb.Error: The disk is full or failed; nothing was lost, the next checkpoint tries again.
        """
        with self._env.begin(write=True) as txn:
            for key, entry in sorted(self._frozen.items()):
                if entry is None:
                    txn.delete(key, db=self._entries)
                else:
                    txn.put(key, entry.pack_bytes(), db=self._entries)
            txn.put(_STATE, self._state)
        with self._lock:
            self._frozen = {}
            self.place = self._freezing

    def close(self) -> None:
        """Let go of LMDB; called once, when nobody reads."""
        self._env.close()


def _range(
    txn: lmdb.Transaction[bytes], table: lmdb._Database, prefix: bytes, key: bytes, limit: int
) -> list[tuple[bytes, Entry]]:
    found = list[tuple[bytes, Entry]]()
    with txn.cursor(db=table) as cursor:
        going = cursor.set_range(key)
        while going and len(found) < limit:
            here = cursor.key()
            if not here.startswith(prefix):
                break
            if here > key:
                found.append((here, Entry.unpack(cursor.value())))
            going = cursor.next()
    return found


def _open(folder: Path) -> tuple[lmdb.Environment, lmdb._Database, dict[str, Any]]:
    """Open LMDB and read the state of the last checkpoint; begin anew if there is none that can be used."""
    for _ in range(2):
        make_directory(folder)
        env = None
        try:
            env = lmdb.open(str(folder), map_size=_MAP_BYTES, max_dbs=1, max_readers=_READERS)
            _check_length(folder, env)
            table = env.open_db(b"entries")
            with env.begin() as txn:
                state = json.loads(txn.get(_STATE) or b"null") or _NEW
            if state["format"] == _FORMAT:
                env.sync(True)
                sync_directory(folder)
                return env, table, state
        except _DAMAGED:
            shutil.rmtree(folder, ignore_errors=True)
        except lmdb.Error as error:  # the disk: a new index would fare no better
            if env is not None:
                env.close()
            raise OSError(errno.EIO, str(error), str(folder)) from error
        if env is not None:
            env.close()
    raise OSError(errno.EIO, "no index can be made", str(folder))


def _check_length(folder: Path, env: lmdb.Environment) -> None:
    """Refuse a file shorter than its pages: reading the missing ones through the map would kill the process."""
    used = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if (folder / "data.mdb").stat().st_size < used:
        raise ValueError("cut short")
