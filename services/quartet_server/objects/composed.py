"""Blobs that are kept as their chunks: who asks for one by its own digest gets it put together, and nothing is kept twice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import BlobNotFound, QuartetError
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.arguments import absent, bounded, span
from quartet_server.objects.chunking import ChunkList
from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobStore, BlobWriter, Put, Usage
from quartet_server.objects.digest import Digest
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

SMALLEST = 4 << 10
"""Bytes up to which nothing is ever kept as chunks."""
_TOGETHER = 100  # records in one transaction


class Compositions:
    """Which blobs are kept as their chunks: a key `ZONE NUL Oc HASH` names the blob that lists them.

    A record promises nothing: it is what to try for a blob that is not there, and useless when its list is gone. Who wants
    the blob to stay holds the list and the chunks.
    """

    def __init__(self, store: Metastore) -> None:
        """Keep them in `store`."""
        self._store = store

    async def record(self, zone: str, lists: Mapping[Digest, Digest]) -> None:
        """Note which blob lists the chunks of which; always written, so that `forget` sees it. Raises MetastoreError."""
        writes = [ops.put(_key(zone, whole), _packed(whole, listed)) for whole, listed in lists.items()]
        for at in range(0, len(writes), _TOGETHER):
            await self._store.txn(pb.TxnRequest(success=writes[at : at + _TOGETHER]))

    async def find(self, zone: str, wholes: Iterable[Digest]) -> dict[Digest, Digest]:
        """Return the lists of those of `wholes` that have one. Raises MetastoreError."""
        wanted = {_key(zone, whole): whole for whole in wholes if whole.size > SMALLEST}
        found = await Snapshot(self._store).get(list(wanted))
        lists = {}
        for key, kv in found.items():
            chunk = storage_pb2.Chunk.FromString(kv.value[8:])
            if int.from_bytes(kv.value[:8], "big") == wanted[key].size:
                lists[wanted[key]] = Digest(chunk.hash, chunk.size)
        return lists

    async def forget(self, zone: str, blobs: BlobStore) -> int:
        """Delete the records whose lists are gone; return how many. Raises MetastoreError, and as `BlobStore.stat` does."""
        prefix = start = _key(zone)
        more, gone = True, 0
        while more:
            page = await Snapshot(self._store).scan(start, ops.prefix_end(prefix), 1000)
            for kv in page.kvs:
                chunk = storage_pb2.Chunk.FromString(kv.value[8:])
                start = kv.key + b"\0"
                if await blobs.stat(zone, Digest(chunk.hash, chunk.size)) is None:
                    request = pb.TxnRequest(
                        compare=[ops.unchanged(kv.key, kv.mod_revision)], success=[ops.delete(kv.key)]
                    )
                    gone += (await self._store.txn(request)).succeeded
            more = page.more
        return gone


class ComposedBlobs:
    """A `BlobStore` that also has what is recorded as kept in chunks: for services on the wire, which know digests alone.

    Reads, `missing` and `stat` put it together or look at its chunks; everything else is the store's own.
    """

    def __init__(self, store: BlobStore, compositions: Compositions) -> None:
        """Look in `store` first, in `compositions` for what is not there."""
        self._store = store
        self._compositions = compositions

    @property
    def touch_seconds(self) -> float:
        """See `BlobStore.touch_seconds`."""
        return self._store.touch_seconds

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`: a composed blob is there when its list and all of its chunks are."""
        missing = await self._store.missing(zone, digests)
        if not missing:
            return missing
        there: set[Digest] = set()
        for whole, listed in (await self._compositions.find(zone, missing)).items():
            if await self._store.missing(zone, [listed]):
                continue
            if not await self._store.missing(zone, (await self._chunks(zone, whole, listed)).chunks):
                there.add(whole)
        return [one for one in missing if one not in there]

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`; of a composed blob, of what lists its chunks."""
        info = await self._store.stat(zone, digest)
        if info is None and (listed := await self._list(zone, digest)) is not None:
            known = await self._store.stat(zone, listed)
            info = known and BlobInfo(digest, known.stored, known.touched, known.condemned)
        return info

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """See `BlobStore.put`."""
        return await self._store.put(zone, data, digest)

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """See `BlobStore.put_many`."""
        return await self._store.put_many(zone, blobs)

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """See `BlobStore.writer`."""
        return self._store.writer(zone, declared, limit=limit)

    async def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`; each chunk of a composed blob is checked by itself."""
        begun = False
        try:
            async with aclosing(self._store.read(zone, digest, offset, length, verify=verify)) as pieces:
                async for piece in pieces:
                    begun = True
                    yield piece
            return
        except BlobNotFound:
            listed = None if begun else await self._list(zone, digest)
            if listed is None:
                raise
        first, end = span(digest, offset, length)
        try:
            for part in (await self._chunks(zone, digest, listed)).parts(first, end - first):
                async with aclosing(
                    self._store.read(zone, part.chunk, part.offset, part.length, verify=verify)
                ) as pieces:
                    async for piece in pieces:
                        yield piece
        except BlobNotFound as error:
            raise absent(digest) from error

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`."""
        try:
            return await self._store.get(zone, digest)
        except BlobNotFound:
            if await self._list(zone, digest) is None:
                raise
        return b"".join([piece async for piece in self.read(zone, digest)])

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`."""
        distinct = bounded(digests, limit)
        found = dict(await self._store.get_many(zone, distinct, limit))
        lost = [digest for digest, data in found.items() if isinstance(data, BlobNotFound)]
        for digest in await self._compositions.find(zone, lost) if lost else ():
            try:
                found[digest] = await self.get(zone, digest)
            except QuartetError as error:
                found[digest] = error
        return found

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """See `BlobStore.delete`."""
        return await self._store.delete(zone, digests)

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """See `BlobStore.condemn`."""
        return await self._store.condemn(zone, digests, untouched_since)

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """See `BlobStore.sweep`."""
        return await self._store.sweep(zone, digests, condemned_until)

    async def scan(self, zone: str, after: Digest | None = None, limit: int = LIST_LIMIT) -> Sequence[BlobInfo]:
        """See `BlobStore.scan`."""
        return await self._store.scan(zone, after, limit)

    async def zones(self) -> Sequence[str]:
        """See `BlobStore.zones`."""
        return await self._store.zones()

    async def usage(self, zone: str | None = None) -> Usage:
        """See `BlobStore.usage`."""
        return await self._store.usage(zone)

    async def close(self) -> None:
        """See `BlobStore.close`."""
        await self._store.close()

    async def _list(self, zone: str, digest: Digest) -> Digest | None:
        if digest.size <= SMALLEST:
            return None
        return (await self._compositions.find(zone, [digest])).get(digest)

    async def _chunks(self, zone: str, whole: Digest, listed: Digest) -> ChunkList:
        """Read the chunks of a composed blob. Raises BlobNotFound."""
        found = storage_pb2.ChunkList.FromString(await self._store.get(zone, listed))
        return ChunkList(whole, tuple(Digest(chunk.hash, chunk.size) for chunk in found.chunks))


def _key(zone: str, whole: Digest | None = None) -> bytes:
    return zone.encode() + b"\0Oc" + (b"" if whole is None else whole.hash)


def _packed(whole: Digest, listed: Digest) -> bytes:
    """Return the size of the whole and the digest of the list."""
    return whole.size.to_bytes(8, "big") + storage_pb2.Chunk(hash=listed.hash, size=listed.size).SerializeToString()
