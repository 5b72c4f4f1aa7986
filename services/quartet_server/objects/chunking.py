"""Cutting large blobs where their content says so, so that two versions of a file share the chunks that did not change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from pyfastcdc import FastCDC

from quartet_server.errors import FieldInvalid
from quartet_server.objects.digest import Digest

THRESHOLD = 2 << 20
"""Bytes up to which a blob is one chunk."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """Parameters of FastCDC in its version of 2020, with normalization 2, as the Remote Execution API defines it.

    Attributes:
        average: Bytes of a usual chunk, a power of 2.
        smallest: Bytes of the smallest, the last of a blob excepted.
        largest: Bytes of the largest.
        seed: Changes where is cut; those who want to share chunks use the same.
    """

    average: int = 512 << 10
    smallest: int = 128 << 10
    largest: int = 2 << 20
    seed: int = 0


STANDARD = Cutting()
"""What files are cut with, and what the Capabilities announce."""


def cut(data: bytes | bytearray | memoryview, cutting: Cutting = STANDARD) -> Iterator[memoryview]:
    """Yield the chunks of `data`, which together are `data`; without data none. Takes about 0.3 ms a MiB."""
    cutter = FastCDC(
        cutting.average,
        min_size=cutting.smallest,
        max_size=cutting.largest,
        normalized_chunking=2,
        seed=cutting.seed,
    )
    whole = memoryview(data)
    for chunk in cutter.cut_buf(data):
        yield whole[chunk.offset : chunk.offset + chunk.length]


class Chunker:
    """Cuts a blob that arrives in pieces, of whatever sizes, into the chunks that `cut` would make of the whole.

    Used by one thread at a time; holds at most four chunks of the largest size, or one piece more than that.
    """

    def __init__(self, cutting: Cutting = STANDARD) -> None:
        """Begin a blob."""
        self._cutting = cutting
        self._held = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next piece; return the chunks that are complete."""
        self._held += piece
        if len(self._held) < 4 * self._cutting.largest:
            return []
        chunks = [bytes(chunk) for chunk in cut(bytes(self._held), self._cutting)]
        self._held = bytearray(chunks.pop())  # it ended because the data did
        return chunks

    def finish(self) -> list[bytes]:
        """Return the last chunks."""
        held, self._held = bytes(self._held), bytearray()
        return [bytes(chunk) for chunk in cut(held, self._cutting)]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a chunk.

    Attributes:
        chunk: Which.
        offset: Where in the chunk it begins, in bytes.
        length: Its bytes, at least 1.
    """

    chunk: Digest
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ChunkList:
    """A blob as the chunks that it is made of, in order.

    Attributes:
        digest: The blob's own.
        chunks: Digests of the chunks; none of them empty, together as long as the blob.
    """

    digest: Digest
    chunks: tuple[Digest, ...]
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise FieldInvalid if the chunks cannot be those of the blob."""
        object.__setattr__(self, "_starts", tuple(accumulate((chunk.size for chunk in self.chunks), initial=0)))
        if any(chunk.size < 1 for chunk in self.chunks):
            raise FieldInvalid.of("chunks", "an empty chunk is not one")
        if self._starts[-1] != self.digest.size:
            raise FieldInvalid.of("chunks", f"{self._starts[-1]} bytes in all, but the blob has {self.digest.size}")

    def parts(self, offset: int = 0, length: int | None = None) -> Iterator[Part]:
        """Yield what to read, in order, for the bytes from `offset`, at most `length` of them (None: all); 0 <= both."""
        end = self.digest.size if length is None else min(self.digest.size, offset + length)
        index = bisect_right(self._starts, offset) - 1
        while offset < end:
            start, stop = self._starts[index], min(self._starts[index + 1], end)
            yield Part(self.chunks[index], offset - start, stop - offset)
            offset, index = stop, index + 1
