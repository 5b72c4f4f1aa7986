"""What a file consists of, and how an inode says so."""

from __future__ import annotations

from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import ContentAbsent, FileTooLarge
from quartet_server.files.paths import Path
from quartet_server.objects.chunking import ChunkList
from quartet_server.objects.digest import EMPTY, Digest

INLINE = 4 << 10
"""Bytes up to which a file lives in its inode."""
LISTED = 64
"""Chunks up to which an inode lists them; a longer list is a blob, so that an inode stays below 16 KiB."""
LARGEST = 64 << 30
"""Bytes of the largest file: the list of its chunks stays below 24 MiB."""


@dataclass(frozen=True, slots=True)
class Body:
    """The content of a file.

    Attributes:
        digest: SHA-256 and size of the whole.
        inline: All bytes, when they are at most `INLINE`; else empty.
        chunks: The chunks in order, when they are more; else none.
        store: Number of the mounted store that has the chunks; 0 for the cluster's own.
    """

    digest: Digest
    inline: bytes = b""
    chunks: tuple[Digest, ...] = ()
    store: int = 0

    @classmethod
    def small(cls, data: bytes) -> Body:
        """Return the body of at most `INLINE` bytes."""
        return cls(Digest.of(data), data)

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.digest.size

    def list(self) -> ChunkList:
        """Return its chunks as a list that knows where each begins."""
        return ChunkList(self.digest, self.chunks)


NOTHING = Body(EMPTY)
"""The content of an empty file."""


def chunks_of(listed: storage_pb2.ChunkList | storage_pb2.Content) -> tuple[Digest, ...]:
    """Decode a list of chunks."""
    return tuple(Digest(chunk.hash, chunk.size) for chunk in listed.chunks)


def encoded(chunks: tuple[Digest, ...]) -> list[storage_pb2.Chunk]:
    """Encode a list of chunks."""
    return [storage_pb2.Chunk(hash=chunk.hash, size=chunk.size) for chunk in chunks]


def digest_of(inode: storage_pb2.Inode, path: Path) -> Digest:
    """Return the digest of a file's content. Raises ContentAbsent when only its attributes were ever written."""
    if inode.HasField("content"):
        return Digest(inode.attributes.digest, inode.attributes.size)
    if inode.attributes.size:
        raise ContentAbsent(
            f"{path} was created with a size of {inode.attributes.size} but its bytes were never written",
            path=str(path),
        )
    return EMPTY


def check_size(size: int, path: Path) -> None:
    """Hold the size of a file against the limit. Raises FileTooLarge."""
    if size > LARGEST:
        raise FileTooLarge(f"{path} would have more than {LARGEST} bytes", path=str(path), limit=LARGEST)
