"""What refers to mounted stores: files, and whatever else keeps a `Content`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Moved:
    """What a drain has done.

    Attributes:
        contents: How many were moved.
        bytes: How many they have.
    """

    contents: int = 0
    bytes: int = 0


class Referrer(Protocol):
    """Something that has contents in mounted stores. Calls raise MetastoreError, and what the stores of blobs raise."""

    async def count(self, zone: str, number: int, most: int) -> int:
        """Return how many contents are in a store, at one revision, and at least one later than the call; at most `most`."""

    async def drain(self, zone: str, number: int, moved: Moved) -> None:
        """Move the bytes of what is in a store into the cluster's own, and add to `moved`.

        Each is moved by a transaction that compares it: what is written meanwhile is left to the next round.
        """
