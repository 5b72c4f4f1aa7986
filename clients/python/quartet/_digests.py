"""Names of blobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quartet._errors import ConfigurationError
from quartet.objects.v1 import objects_pb2 as pb

PIECE = 512 << 10
"""Bytes that are sent, or read from a file, at once."""

_TEXT = re.compile(r"([0-9a-f]{64})/(0|[1-9][0-9]{0,12})")


@dataclass(frozen=True, slots=True)
class Digest:
    """Names a blob; `str` writes it as HASH/SIZE, `Digest.parse` reads that.

    Attributes:
        hash: SHA-256 of its bytes, 32 bytes.
        size: How many they are.
    """

    hash: bytes
    size: int

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the digest of bytes."""
        return cls(hashlib.sha256(data).digest(), len(data))

    @classmethod
    def of_file(cls, path: str | Path) -> Digest:
        """Return the digest of what a file holds. Raises OSError."""
        found, size = hashlib.sha256(), 0
        for piece in pieces(path):
            found.update(piece)
            size += len(piece)
        return cls(found.digest(), size)

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest that is written as HASH/SIZE. Raises ConfigurationError."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ConfigurationError(f"{text[:80]!r} is no digest: 64 digits of 0-9 and a-f, a slash, the size")
        return cls(bytes.fromhex(found[1]), int(found[2]))

    @classmethod
    def named(cls, digest: Digest | pb.Digest | str) -> Digest:
        """Return the digest that a caller names, in whatever form. Raises ConfigurationError."""
        if isinstance(digest, str):
            return cls.parse(digest)
        return cls(digest.hash, digest.size)

    @property
    def message(self) -> pb.Digest:
        """The digest as it is sent."""
        return pb.Digest(hash=self.hash, size=self.size)

    def __str__(self) -> str:
        return f"{self.hash.hex()}/{self.size}"


def pieces(path: str | Path) -> Iterator[bytes]:
    """Yield what a file holds. Raises OSError."""
    with Path(path).open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
