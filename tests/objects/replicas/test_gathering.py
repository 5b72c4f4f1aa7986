"""Calls that come at once share calls, within limits, and each gets its own answer."""

from __future__ import annotations

import asyncio

import pytest
from quartet_server.errors import StoreFull
from quartet_server.objects.replicas.gathering import Gathering


class Far:
    """Somebody who answers when told to, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[int]]] = []
        self.go = asyncio.Event()

    async def __call__(self, zone: str, items: list[int]) -> list[int]:
        self.asked.append((zone, items))
        await self.go.wait()
        if 13 in items:
            raise StoreFull("no room for 13", hint="none", limit=13)
        return [2 * item for item in items]


def gathering(far: Far, **limits: int) -> Gathering[int, int]:
    return Gathering(far, lambda item: item, **{"most": 100, "most_bytes": 1000, "at_once": 1, **limits})


async def test_what_comes_while_a_call_is_under_way_shares_the_next_and_each_zone_has_its_own() -> None:
    far = Far()
    one = gathering(far)
    tasks = [asyncio.create_task(one.ask(zone, item)) for zone, item in (("a", 1), ("a", 2), ("b", 3), ("a", 4))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    far.go.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert len(far.asked) < 4
    assert sorted(item for _, items in far.asked for item in items) == [1, 2, 3, 4]
    assert all(zone == ("b" if items == [3] else "a") for zone, items in far.asked)


@pytest.mark.parametrize(("limits", "most"), [({"most": 3}, 3), ({"most_bytes": 20}, 2)])
async def test_no_call_is_larger_than_it_may_be(limits: dict[str, int], most: int) -> None:
    far = Far()
    one = gathering(far, **limits)
    tasks = [asyncio.create_task(one.ask("a", 10)) for _ in range(10)]
    far.go.set()
    await asyncio.gather(*tasks)
    assert max(len(items) for _, items in far.asked) <= most


async def test_what_fails_fails_for_all_who_shared_the_call_and_for_nobody_else() -> None:
    far = Far()
    one = gathering(far)
    tasks = [asyncio.create_task(one.ask("a", 1))]
    while not far.asked:
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(one.ask("a", item)) for item in (13, 5)]
    await asyncio.sleep(0)
    far.go.set()
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert first == 2
    assert [type(other) for other in others] == [StoreFull, StoreFull]
    assert others[0] is not others[1]
    assert [other.metadata for other in others if isinstance(other, StoreFull)] == [{"limit": "13"}] * 2
    assert await one.ask("a", 5) == 10


async def test_a_caller_that_goes_takes_nobody_with_it() -> None:
    far = Far()
    one = gathering(far)
    tasks = [asyncio.create_task(one.ask("a", item)) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    far.go.set()
    assert (await tasks[0], await tasks[2]) == (2, 6)


async def test_closing_ends_those_who_wait() -> None:
    far = Far()
    one = gathering(far)
    tasks = [asyncio.create_task(one.ask("a", item)) for item in (1, 2, 3)]
    while not far.asked:
        await asyncio.sleep(0)
    await one.close()
    done, waiting = await asyncio.wait(tasks, timeout=10)
    assert not waiting
    assert all(task.cancelled() for task in done)
