"""Scrubbing: reading everything a store has and comparing it with its digest, slowly, and saying what was found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from quartet_server.errors import BlobCorrupt, BlobNotFound
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest

_MOST_NAMED = 1_000


@dataclass(slots=True)
class ScrubReport:
    """What a scrub found.

    Attributes:
        blobs: How many were read.
        bytes: How many bytes they are.
        damaged: Zone and digest of the first 1,000 whose bytes are not theirs. They are missing from now on, until
            somebody puts them again.
        damaged_count: How many there are.
    """

    blobs: int = 0
    bytes: int = 0
    damaged: list[tuple[str, Digest]] = field(default_factory=list)
    damaged_count: int = 0


async def scrub(
    store: BlobStore, *, bytes_per_second: float, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> ScrubReport:
    """Read every blob of every zone once and check it; what comes or goes meanwhile may be left out.

    Args:
        store: Any.
        bytes_per_second: The most that is read, on average, so that others find the disk free.
        pause: Waits for so many seconds.

    Raises ObjectStoreUnreachable.
    """
    report = ScrubReport()
    for zone in await store.zones():
        after: Digest | None = None
        while page := await store.scan(zone, after):
            for info in page:
                try:
                    async with aclosing(store.read(zone, info.digest, verify=True)) as pieces:
                        async for _ in pieces:
                            pass
                except BlobNotFound:
                    continue
                except BlobCorrupt:
                    report.damaged_count += 1
                    if len(report.damaged) < _MOST_NAMED:
                        report.damaged.append((zone, info.digest))
                report.blobs += 1
                report.bytes += info.digest.size
                await pause(info.digest.size / bytes_per_second)
            after = page[-1].digest
    return report
