"""What is decided about blobs inside a batch: keep, hit, delete, condemn and sweep, each seeing what came before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from quartet_server.objects.digest import Digest
from quartet_server.objects.disk.entry import Entry, key_of
from quartet_server.objects.disk.files import Files
from quartet_server.objects.disk.journal import Batch
from quartet_server.objects.disk.record import Kind
from quartet_server.objects.drafts import Draft


class Kept(NamedTuple):
    """A blob as it will be kept.

    Attributes:
        digest: Its name.
        codec: How its bytes are kept.
        stored: How many bytes that are.
        payload: They, for a pack; None: they are in `draft`.
        draft: A durable file with them, for a place of its own; its checksums are kept with the record.
    """

    digest: Digest
    codec: int
    stored: int
    payload: bytes | None = None
    draft: Draft | None = None


class Steps:
    """Makes the steps of one store."""

    def __init__(self, files: Files, damaged: set[bytes], touch_seconds: float) -> None:
        """Decide about blobs whose large ones are in `files`; those with a key in `damaged` are to be kept anew."""
        self._files = files
        self._damaged = damaged
        self._touch_seconds = touch_seconds

    def keep(self, zone: str, kept: Kept) -> Callable[[Batch], None]:
        """Keep a blob, or count a hit if it is there."""

        def step(batch: Batch) -> None:
            digest = kept.digest
            entry = batch.find(zone, digest)
            if entry is not None and key_of(zone, digest.hash) not in self._damaged:
                self._hit(batch, zone, digest, entry)
            elif kept.payload is not None:
                batch.write(Kind.PACKED, zone, digest, kept.codec, kept.stored, kept.payload)
            elif kept.draft is not None:
                self._files.prepare(zone, digest)
                path = self._files.path(zone, digest)
                kept.draft.move(path)
                batch.synced.add(path.parent)
                batch.write(Kind.FILED, zone, digest, kept.codec, kept.stored, kept.draft.sums.packed())

        return step

    def missing(self, zone: str, digests: list[Digest]) -> Callable[[Batch], list[Digest]]:
        """Count hits of those that are there; return the others."""

        def step(batch: Batch) -> list[Digest]:
            absent = []
            for digest in digests:
                if (entry := self.there(batch.find(zone, digest), zone, digest)) is not None:
                    self._hit(batch, zone, digest, entry)
                else:
                    absent.append(digest)
            return absent

        return step

    def there(self, entry: Entry | None, zone: str, digest: Digest) -> Entry | None:
        """Return the entry of a blob if it is to be had."""
        if entry is None or entry.size != digest.size or key_of(zone, digest.hash) in self._damaged:
            return None
        return entry

    def is_stale(self, entry: Entry, now: float) -> bool:
        """Tell whether a hit changes anything."""
        return entry.condemned is not None or now - entry.touched > self._touch_seconds

    def _hit(self, batch: Batch, zone: str, digest: Digest, entry: Entry) -> None:
        if entry.condemned is not None:
            batch.write(Kind.REVIVED, zone, digest)
        elif self.is_stale(entry, batch.now):
            batch.change(zone, digest, partial(replace, touched=batch.now))

    def delete(self, zone: str, digests: list[Digest]) -> Callable[[Batch], int]:
        """Remove blobs; return how many were there."""

        def step(batch: Batch) -> int:
            count = 0
            for digest in digests:
                if (entry := _same(batch.find(zone, digest), digest)) is not None:
                    batch.write(Kind.DELETED, zone, digest, stored=entry.pack)
                    count += 1
            return count

        return step

    def condemn(self, zone: str, digests: list[Digest], untouched_since: float) -> Callable[[Batch], list[Digest]]:
        """Condemn what lives and was not touched since; return all that are condemned now."""

        def step(batch: Batch) -> list[Digest]:
            condemned = []
            for digest in digests:
                if (entry := _same(batch.find(zone, digest), digest)) is None:
                    continue
                if entry.condemned is None and entry.touched <= untouched_since:
                    batch.change(zone, digest, partial(replace, condemned=batch.now))
                elif entry.condemned is None:
                    continue
                condemned.append(digest)
            return condemned

        return step

    def sweep(self, zone: str, digests: list[Digest], condemned_until: float) -> Callable[[Batch], list[Digest]]:
        """Remove what was condemned until then; return it."""

        def step(batch: Batch) -> list[Digest]:
            gone = []
            for digest in digests:
                entry = _same(batch.find(zone, digest), digest)
                if entry is not None and entry.condemned is not None and entry.condemned <= condemned_until:
                    batch.write(Kind.DELETED, zone, digest, stored=entry.pack)
                    gone.append(digest)
            return gone

        return step


def _same(entry: Entry | None, digest: Digest) -> Entry | None:
    return entry if entry is not None and entry.size == digest.size else None
