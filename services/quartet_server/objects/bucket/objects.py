"""The calls to a bucket that the store makes, with its errors turned into ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from quartet_server.errors import ObjectStoreUnreachable
from quartet_server.objects.bucket.copies import ROOT, Copies, folder

_PART = 8 << 20
_PARTS = 9_000


@contextmanager
def translated() -> Iterator[None]:
    """Turn what obstore raises into ObjectStoreUnreachable; FileNotFoundError passes."""
    try:
        yield
    except BaseError as error:
        fact = str(error).partition("\n")[0][:300]
        raise ObjectStoreUnreachable(f"the bucket does not answer or lets us not in: {fact}", retry_after=1) from error


@contextmanager
def no_bucket() -> Iterator[None]:
    """Turn the FileNotFoundError of a write into ObjectStoreUnreachable: there is no bucket of that name."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectStoreUnreachable("there is no such bucket", hint="make the bucket, or mend objects.url") from error


class Bucket:
    """A bucket, or the part of one below a prefix."""

    def __init__(self, store: ObjectStore) -> None:
        """Speak to `store`."""
        self._store = store

    async def copies(self, zone: str, name: str) -> Copies:
        """Return what is there under a hash: one LIST."""
        copies = Copies()
        with translated():
            async for page in obstore.list(self._store, folder(zone, name), chunk_size=1_000):
                for meta in page:
                    copies.add(meta["path"], meta["size"])
        return copies

    async def hashes(self, zone: str, after: str = "") -> AsyncIterator[tuple[str, Copies]]:
        """Yield each hash of a zone after `after`, in order, with what is there under it."""
        current, copies = "", Copies()
        offset = f"{folder(zone, after)}/~" if after else None  # ~ comes after everything that is in names
        with translated():
            async for page in obstore.list(self._store, f"{ROOT}/{zone}", offset=offset, chunk_size=1_000):
                for meta in page:
                    name = meta["path"].rsplit("/", 2)[1]
                    if name != current:
                        if current:
                            yield current, copies
                        current, copies = name, Copies()
                    copies.add(meta["path"], meta["size"])
        if current:
            yield current, copies

    async def zones(self) -> list[str]:
        """Return the names of all zones that have objects, sorted."""
        with translated():
            found = await obstore.list_with_delimiter_async(self._store, ROOT)
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])

    async def names(self, below: str) -> frozenset[str]:
        """Return the last parts of the names of all objects below `below`."""
        found = set[str]()
        with translated():
            async for page in obstore.list(self._store, below, chunk_size=1_000):
                found.update(meta["path"].rpartition("/")[2] for meta in page)
        return frozenset(found)

    async def put(self, path: str, data: bytes | Path, size: int) -> None:
        """Write an object; large ones in parts."""
        with translated(), no_bucket():
            await obstore.put_async(self._store, path, data, chunk_size=max(_PART, size // _PARTS))

    async def copy(self, source: str, target: str) -> None:
        """Copy an object within the bucket. Raises FileNotFoundError."""
        with translated():
            await obstore.copy_async(self._store, source, target)

    async def delete(self, paths: Iterable[str]) -> None:
        """Delete objects in this order; those that are gone are fine."""
        with translated():
            for path in paths:
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, path)

    async def get(self, path: str) -> bytes:
        """Return an object's bytes. Raises FileNotFoundError."""
        with translated():
            result = await obstore.get_async(self._store, path)
            return bytes(await result.bytes_async())

    async def stream(self, path: str, first: int, end: int, piece: int) -> AsyncIterator[bytes]:
        """Yield an object's bytes from `first` to `end`, first < end. Raises FileNotFoundError."""
        with translated():
            result = await obstore.get_async(self._store, path, options={"range": (first, end)})
            async for chunk in result.stream(min_chunk_size=piece):
                data = bytes(chunk)
                for start in range(0, len(data), piece):
                    yield data[start : start + piece]
