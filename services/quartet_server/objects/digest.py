"""Digest: the name of a blob, which is the SHA-256 of its bytes and how many they are."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from quartet_server.errors import DigestMismatch, FieldInvalid

HASH_BYTES = 32
PACKED_BYTES = HASH_BYTES + 8
LARGEST = 1 << 40
"""Bytes of the largest blob that has a name here: 1 TiB."""
_HEX = re.compile(r"[0-9a-f]{64}")


class Digest(NamedTuple):
    """Names a blob; two blobs with equal digests are one.

    Attributes:
        hash: SHA-256 of the uncompressed bytes, 32 bytes.
        size: How many bytes they are.
    """

    hash: bytes
    size: int

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Digest:
        """Return the digest of `data`; hashing large data releases the GIL."""
        return cls(hashlib.sha256(data).digest(), len(data))

    @classmethod
    def parse(cls, text: str, size: int | str, field: str = "digest") -> Digest:
        """Return the digest with the lower-case hexadecimal hash `text` and `size` bytes.

        Raises:
            FieldInvalid: The hash is not 64 digits of 0-9a-f, the size is no number from 0 to `LARGEST`, or the two cannot
                belong together; `field` is what the request calls the digest.
        """
        if not _HEX.fullmatch(text):
            raise FieldInvalid.of(f"{field}.hash", "must be a SHA-256: 64 digits of 0-9 and a-f, lower case")
        try:
            number = int(size)
        except ValueError:
            number = -1
        if not 0 <= number <= LARGEST:
            raise FieldInvalid.of(f"{field}.size_bytes", f"must be a number from 0 to {LARGEST}")
        digest = cls(bytes.fromhex(text), number)
        if (digest.hash == EMPTY.hash) != (number == 0):
            raise FieldInvalid.of(f"{field}.size_bytes", f"{number} bytes cannot have this hash")
        return digest

    @classmethod
    def from_text(cls, text: str, field: str = "digest") -> Digest:
        """Return the digest written as `str` writes it: HASH/SIZE. Raises FieldInvalid as `parse` does."""
        name, slash, size = text.partition("/")
        if not slash:
            raise FieldInvalid.of(field, "must be HASH/SIZE")
        return cls.parse(name, size, field)

    @classmethod
    def unpack(cls, data: bytes, field: str = "digest") -> Digest:
        """Return the digest that `packed` wrote. Raises FieldInvalid as `parse` does, and for another length."""
        if len(data) != PACKED_BYTES:
            raise FieldInvalid.of(field, f"must be {PACKED_BYTES} bytes: a SHA-256 and a size")
        size = int.from_bytes(data[HASH_BYTES:], "big")
        if size > LARGEST or (data[:HASH_BYTES] == EMPTY.hash) != (size == 0):
            raise FieldInvalid.of(field, f"{size} bytes cannot have this hash")
        return cls(data[:HASH_BYTES], size)

    @property
    def packed(self) -> bytes:
        """The digest in `PACKED_BYTES` bytes: the hash, and the size as 8 bytes, big-endian."""
        return self.hash + self.size.to_bytes(8, "big")

    @property
    def hex(self) -> str:
        """The hash in 64 lower-case hexadecimal digits."""
        return self.hash.hex()

    @property
    def is_empty(self) -> bool:
        """Whether this is the blob without bytes, which every zone of every store has."""
        return self.size == 0

    def check(self, found: Digest) -> None:
        """Raise DigestMismatch unless bytes whose digest is `found` are those of this blob."""
        if found != self:
            raise DigestMismatch(
                f"the bytes are {found}, not {self}" if found.size == self.size
                else f"{self.hex} has {self.size} bytes, {found.size} came",
                declared=str(self),
                found=str(found),
            )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.hex}/{self.size}"


EMPTY = Digest(hashlib.sha256(b"").digest(), 0)
"""The blob without bytes."""
