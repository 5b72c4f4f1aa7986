"""What every driver checks the same way: ranges of reads, limits of pages and of memory, bytes against their digest."""

from __future__ import annotations

from collections.abc import Iterable

from quartet_server.errors import BlobNotFound, DigestMismatch, FieldInvalid, LimitReached, RangeInvalid
from quartet_server.objects.contract import LIST_LIMIT, Put
from quartet_server.objects.digest import Digest

PIECE = 1 << 20
"""Most bytes that a read yields at once."""


def absent(digest: Digest) -> BlobNotFound:
    """Return the error for a blob that the zone does not have."""
    return BlobNotFound(f"no blob {digest}", digest=str(digest))


def span(digest: Digest, offset: int, length: int | None) -> tuple[int, int]:
    """Return (first, end) of the bytes to read. Raises RangeInvalid."""
    if offset < 0 or (length is not None and length < 0):
        raise RangeInvalid("offset and length cannot be negative", offset=offset, size=digest.size)
    if offset > digest.size:
        raise RangeInvalid(f"the blob has {digest.size} bytes", offset=offset, size=digest.size)
    return offset, digest.size if length is None else min(digest.size, offset + length)


def page_limit(limit: int) -> int:
    """Return `limit`. Raises FieldInvalid if no page may be so long."""
    if not 1 <= limit <= LIST_LIMIT:
        raise FieldInvalid.of("limit", f"must be from 1 to {LIST_LIMIT}")
    return limit


def bounded(digests: Iterable[Digest], limit: int) -> list[Digest]:
    """Return each digest once. Raises LimitReached if they are more than `limit` bytes together."""
    distinct = list(dict.fromkeys(digests))
    total = sum(digest.size for digest in distinct)
    if total > limit:
        raise LimitReached(f"{total} bytes are more than {limit} at once", hint="ask for fewer blobs", limit=limit)
    return distinct


def mismatch(blob: Put) -> DigestMismatch | None:
    """Say what is wrong if the bytes are not those of the digest."""
    try:
        blob.digest.check(Digest.of(blob.data))
    except DigestMismatch as error:
        return error
    return None
