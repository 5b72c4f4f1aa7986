"""What every store of blobs promises: `BlobStore`, and the small types its calls speak in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

from quartet_server.errors import QuartetError
from quartet_server.objects.digest import Digest

LIST_LIMIT = 1_000
"""Most blobs on one page of a listing."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What a store knows of one blob of one zone.

    Attributes:
        digest: Its name.
        stored: Bytes it takes where it is kept: fewer than `digest.size` if it is compressed.
        touched: When it was last put or asked for by `missing`, in seconds since 1970. May lag by `touch_seconds` of the
            store, and after a crash by more: `condemn` and `sweep` allow for that.
        condemned: When it was condemned; None while it lives.
    """

    digest: Digest
    stored: int
    touched: float
    condemned: float | None = None


class Put(NamedTuple):
    """One blob of a `put_many`.

    Attributes:
        digest: What the sender says the bytes are.
        data: The bytes, whole and uncompressed.
    """

    digest: Digest
    data: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """What a zone, or the store, holds.

    Attributes:
        blobs: How many.
        logical: The sum of their sizes in bytes.
        physical: Bytes they take where they are kept. What deleted blobs still take until their space is given back is
            in the whole store's figure only.
    """

    blobs: int = 0
    logical: int = 0
    physical: int = 0


class BlobWriter(Protocol):
    """One blob on its way into a store, as `BlobStore.writer` returns it.

    Used by one task at a time. It may be held as long as its owner likes, across calls and connections; who lets go of
    it without `commit` calls `abort`. Used with `async with` it is aborted at the end of the block unless committed.
    Memory stays bounded whatever the size.
    """

    @property
    def size(self) -> int:
        """Bytes taken so far."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            DigestMismatch: More bytes than the declared digest has; nothing is left of the upload.
            LimitReached: More bytes than the writer's limit; nothing is left of the upload.
            StoreFull: There is no room; nothing is left of the upload.
        """

    async def commit(self) -> Digest:
        """Make the blob durable and visible; return its digest. The second call returns the same and does nothing.

        Raises:
            DigestMismatch: The bytes are not those of the declared digest; nothing is left of the upload.
            StoreFull: There is no room; nothing is left of the upload.
        """

    async def abort(self) -> None:
        """Leave nothing behind. After `commit`, and the second time, it does nothing."""

    async def __aenter__(self) -> Self:
        """Return the writer."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort, unless it was committed."""


class BlobStore(Protocol):
    """Immutable blobs, named by digest, each zone for itself.

    **Zones.** Every call names one. A blob of one zone does not exist in another, whatever bytes that one has: no answer,
    no error and no figure of a zone depends on what another holds. Equal bytes are kept once within a zone. Whether the
    caller may act in the zone has been decided before; its name is taken as it comes (1 to 63 of a-z, 0-9 and -).

    **Names.** The key is the digest of the uncompressed bytes, which the store computes itself on every write; no bytes
    are ever kept under a digest that is not theirs. So two writes of one blob cannot conflict, a write may be repeated, and
    nothing here needs compare-and-set from what lies below. The empty blob is in every zone: it is never missing, can
    be read, need not be put, is never listed and cannot be deleted.

    **Durability.** When a put, a commit or a delete returns, it survives kill -9 of the process and, on a local disk, the
    loss of power. One that raised or was cancelled may have happened (its bytes are right if so), but leaves no half a blob.

    **Order.** A blob is visible to all once its put has returned, to nobody before its bytes are durable. Reads that have
    begun are not disturbed by a delete: they end with all bytes or raise. Any number of tasks of one event loop may call at once.

    **Failure.** Errors are leaves of `quartet_server.errors`: what a call's own docstring says, and from any call
    ObjectStoreUnreachable (it may be repeated) or, from writes, StoreFull. A full disk refuses writes and harms nothing.

    **Lifetimes.** A blob lives until somebody deletes it. Collection of garbage is two steps that the collector drives, as
    only it knows what is reachable:

    1. `condemn` those that nothing leads to. They are there and readable as before.
    2. After its grace, and after looking again whether something leads to them, `sweep` those still condemned.

    A hit saves a condemned blob: a put of it, or a `missing` that names it, makes it live again, durably before it
    answers. So whoever was told that a blob is there has the collector's whole grace to make something lead to it.
    Reading saves nothing.
    """

    @property
    def touch_seconds(self) -> float:
        """A hit renews `BlobInfo.touched` only when it is older than this: a collector's grace must be longer."""

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """Return those of `digests` that the zone does not have, each once, in the order given; renew and save the others."""

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """Return what is known of a blob, None if the zone does not have it; saves and renews nothing."""

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """Keep one blob that is in memory; return its digest. Raises DigestMismatch if it is not `digest`; StoreFull."""

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """Keep many blobs with as few waits for the disk as can be: the way for small ones.

        Returns:
            For each blob, in order, None when it is durable, or why it is not: DigestMismatch, StoreFull. The others are
            not affected.
        """

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """Begin to write a blob of unknown size, or of the `declared` digest, in pieces.

        Nothing is reserved before the first piece. `limit` is the most bytes that are taken; None: `digest.LARGEST`. A blob
        that is already there is taken all the same and kept once; ask `missing` first to save the sending.
        """

    def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset`, at most `length` of them (None: all), in pieces of at most 1 MiB, none empty.

        A length beyond the end ends at the end. Whoever stops early closes the iterator. `verify` says whether the digest is
        checked, which takes reading from the beginning to the end; None: the check that the store was configured for. A damaged
        blob is refused at the latest instead of the last piece; compressed and small ones before the first.

        Raises:
            BlobNotFound: The zone does not have it.
            RangeInvalid: `offset` is beyond the end, or an argument is negative.
            BlobCorrupt: What is kept is not what was put.
        """

    async def get(self, zone: str, digest: Digest) -> bytes:
        """Return a whole blob. Raises as `read` does; the caller knows that `digest.size` fits its memory."""

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """Return whole blobs at once: the way for small ones.

        Returns:
            For each digest its bytes, BlobNotFound or BlobCorrupt.

        Raises:
            LimitReached: The sizes of the distinct digests sum up to more than `limit` bytes; nothing was read.
        """

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """Remove blobs whatever their state, durably; return how many were there. Bytes may be given back later."""

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """Condemn those that live and were not touched after `untouched_since` (seconds since 1970).

        Returns:
            Those that are condemned now, in the order given: these and those that were before.
        """

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """Delete those that were condemned at or before `condemned_until` and that no hit has saved since.

        A hit either comes before, and the blob stays, or after, and finds it missing.

        Returns:
            Those that are gone, in the order given.
        """

    async def scan(self, zone: str, after: Digest | None = None, limit: int = LIST_LIMIT) -> Sequence[BlobInfo]:
        """Return blobs of the zone in ascending order of hash, those after `after`, at most `limit`; empty at the end.

        What was put before the first page and is not deleted meanwhile is on exactly one page.

        Raises:
            FieldInvalid: `limit` is not from 1 to LIST_LIMIT.
        """

    async def zones(self) -> Sequence[str]:
        """Return the zones that have blobs, sorted."""

    async def usage(self, zone: str | None = None) -> Usage:
        """Return what a zone holds; None: the whole store."""

    async def close(self) -> None:
        """Finish what is under way and let go of everything; called once, after the last call has ended."""


@runtime_checkable
class Tidies(Protocol):
    """A store in which crashes leave something behind, or one in front of such a store."""

    async def tidy(self) -> int:
        """Remove it; return how many files that were. Raises ObjectStoreUnreachable."""


class Marked(Protocol):
    """A store that remembers which clusters use it, as short names of a-z and 0-9; every driver is one.

    Marks are the store's, not a zone's, and no blobs. What cannot be read comes back as some name that is no cluster's.
    All calls raise ObjectStoreUnreachable.
    """

    async def marks(self) -> frozenset[str]:
        """Return those that are there; a mark whose `mark` has returned is among them, whoever put it there."""

    async def mark(self, name: str) -> None:
        """Add one durably, beside the others. Raises StoreFull too."""

    async def unmark(self, names: Iterable[str]) -> None:
        """Remove some durably; those that are not there are fine. Raises StoreFull too."""


class MarkedBlobs(BlobStore, Marked, Protocol):
    """A store of blobs as a driver keeps it, with the marks of whom it belongs to."""
