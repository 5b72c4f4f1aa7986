"""What nothing leads to goes, a grace after it was condemned; everything else stays, whoever comes in between."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

import pytest
from harness.blobs import Clock
from quartet_server.errors import ContentLost
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.objects.gc.collector import Collector, Tally
from quartet_server.objects.memory import MemoryBlobs

GRACE, LAG, ZONE = 100.0, 10.0, "a"


@dataclass
class Keeper:
    """A holder that keeps what a test says."""

    kept: list[Digest] = field(default_factory=list)
    fails: bool = False

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        return set(self.kept).intersection(digests)

    async def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        for digest in self.kept:
            yield digest
        if self.fails:
            raise ContentLost("a list is lost")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> BlobStore:
    return MemoryBlobs(clock, LAG)


async def collect(store: BlobStore, clock: Clock, *holders: Keeper, dry: bool = False) -> Tally:
    async def demand() -> None:
        pass

    collector = Collector(store, holders, GRACE, clock=clock, draw=random.Random(1).randbytes, demand=demand)
    return [tally async for tally in collector.run(ZONE, dry=dry)][-1]


async def there(store: BlobStore) -> set[Digest]:
    return {info.digest for info in await store.scan(ZONE)}


async def test_garbage_is_condemned_a_grace_after_its_last_touch_and_swept_a_grace_later(
    store: BlobStore, clock: Clock
) -> None:
    kept, garbage = await store.put(ZONE, b"kept"), await store.put(ZONE, b"garbage")
    await store.put("b", b"of another zone")
    keeper = Keeper([kept, Digest.of(b"of another node")])
    clock.now += GRACE - 1
    tally = await collect(store, clock, keeper)
    assert (tally.reached, tally.examined, tally.young, tally.condemned) == (2, 2, 1, 0)
    clock.now += 1
    for dry in (True, True, False):
        tally = await collect(store, clock, keeper, dry=dry)
        assert (tally.condemned, tally.condemned_bytes, tally.young) == (1, len(b"garbage"), 0)
    clock.now += GRACE - 1
    assert (await collect(store, clock, keeper)).waiting == 1
    clock.now += 1
    for dry in (True, True, False):
        tally = await collect(store, clock, keeper, dry=dry)
        assert (tally.swept, tally.swept_bytes, tally.waiting) == (1, len(b"garbage"), 0)
        assert (garbage in await there(store)) is dry
    assert await there(store) == {kept}
    assert len(await store.scan("b")) == 1


async def test_what_is_referred_to_between_the_looks_is_saved(store: BlobStore, clock: Clock) -> None:
    blob, keeper = await store.put(ZONE, b"blob"), Keeper()
    clock.now += GRACE
    assert (await collect(store, clock, keeper)).condemned == 1
    keeper.kept.append(blob)  # as an observer does that lagged, without asking the store
    clock.now += GRACE
    assert (await collect(store, clock, keeper)).saved == 1
    info = await store.stat(ZONE, blob)
    assert info is not None
    assert info.condemned is None
    keeper.kept.clear()
    clock.now += GRACE - 1
    assert (await collect(store, clock, keeper)).young == 1  # a whole grace again


async def test_a_holder_that_cannot_answer_keeps_everything(store: BlobStore, clock: Clock) -> None:
    blob = await store.put(ZONE, b"blob")
    clock.now += GRACE
    with pytest.raises(ContentLost):
        await collect(store, clock, Keeper(), Keeper(fails=True))
    info = await store.stat(ZONE, blob)
    assert info is not None
    assert info.condemned is None
    assert (await collect(store, clock, Keeper())).condemned == 1
    clock.now += GRACE
    with pytest.raises(ContentLost):
        await collect(store, clock, Keeper(fails=True))
    assert await there(store) == {blob}


async def test_stores_of_many_pages_are_gone_through(store: BlobStore, clock: Clock) -> None:
    blobs = [await store.put(ZONE, b"%d" % number) for number in range(2500)]
    keeper = Keeper(blobs[::5])
    for _ in range(2):
        clock.now += GRACE
        tally = await collect(store, clock, keeper)
    assert (tally.reached, tally.examined, tally.swept) == (500, 2500, 2000)
    left = set[Digest]()
    after = None
    while page := await store.scan(ZONE, after):
        left |= {info.digest for info in page}
        after = page[-1].digest
    assert left == set(blobs[::5])
