"""An entry of the cache: its name, its value, and the sum that tells whether the disk gave back what it was given."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from quartet_server.objects.digest import Digest

_SUM_BYTES = 16


@dataclass(frozen=True, slots=True)
class Key:
    """Names an entry.

    Attributes:
        zone: Whose it is.
        digest: The bytes that were parsed.
        parser: Name of the parser.
        version: Its version.
    """

    zone: str
    digest: Digest
    parser: str
    version: str

    @property
    def columns(self) -> tuple[str, bytes, str, str]:
        """Zone, hash and size, parser and version, as the table has them."""
        return self.zone, packed(self.digest), self.parser, self.version

    def sum(self, value: bytes) -> bytes:
        """Return 16 bytes that tell this value under this name from any other."""
        state = hashlib.blake2b(digest_size=_SUM_BYTES)
        for part in (self.zone.encode(), packed(self.digest), self.parser.encode(), self.version.encode()):
            state.update(len(part).to_bytes(4, "big") + part)
        state.update(value)
        return state.digest()


@dataclass(frozen=True, slots=True)
class Kept:
    """What the cache has under a name.

    Attributes:
        value: The bytes that were put.
        expires: Until when, in seconds since 1970.
    """

    value: bytes
    expires: float


def packed(digest: Digest) -> bytes:
    """Return a digest in 40 bytes."""
    return digest.hash + digest.size.to_bytes(8, "big")
