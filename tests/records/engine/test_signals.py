"""Who waits for a zone is woken by its next write."""

from __future__ import annotations

import asyncio

from quartet_server.records.signals import Signals


async def test_all_who_wait_for_a_zone_are_woken() -> None:
    signals = Signals()
    waiting = [asyncio.create_task(signals.changed("a", 0, 20)) for _ in range(3)]
    await asyncio.sleep(0)
    signals.bump(["a", "b"])
    assert await asyncio.gather(*waiting) == [1, 1, 1]


async def test_nobody_waits_longer_than_asked() -> None:
    assert await Signals().changed("a", 0, 0.01) == 0


async def test_one_that_stops_waiting_leaves_the_others_waiting() -> None:
    signals = Signals()
    assert await signals.changed("a", 0, 0.01) == 0
    later = asyncio.create_task(signals.changed("a", 0, 20))
    await asyncio.sleep(0)
    signals.bump(["a"])
    assert await later == 1
