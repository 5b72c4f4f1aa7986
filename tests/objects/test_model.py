"""Any sequence of calls leaves every driver where a model of three dictionaries says, a store that is opened again too."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import pytest
from harness.blobs import TOUCH_SECONDS, Clock, bucket
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from quartet_server.errors import BlobNotFound
from quartet_server.objects.contract import BlobStore, Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.memory import MemoryBlobs

T = TypeVar("T")
ZONES = st.sampled_from(["a", "ab", "b"])
NUMBERS = st.integers(0, 9)
LIMITS = DiskLimits(pack_bytes=4096, packed_bytes=300, touch_seconds=TOUCH_SECONDS)
"""So small that few blobs fill a pack, and some get a file."""


def content(number: int) -> bytes:
    return b"%d" % number * (1, 50, 200, 500)[number % 4]


class Blobs(RuleBasedStateMachine):
    """The model, and the store beside it."""

    driver = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.blobs = dict[tuple[str, int], list[float | None]]()  # zone and number -> touched, condemned
        self.store = self.run(self.open())

    def run(self, work: Awaitable[T]) -> T:
        async def bounded() -> T:
            return await asyncio.wait_for(work, 60)

        return self.loop.run_until_complete(bounded())

    async def open(self) -> BlobStore:
        if self.driver == "disk":
            return await DiskBlobs.open(self.folder / "blobs", LIMITS, self.clock, os.urandom)
        if self.driver == "bucket":
            return await bucket("bucket-memory:", "", self.clock)
        return MemoryBlobs(self.clock, TOUCH_SECONDS)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def hit(self, zone: str, number: int) -> None:
        touched, condemned = self.blobs.setdefault((zone, number), [self.clock.now, None])
        assert touched is not None
        if condemned is not None or self.clock.now - touched > TOUCH_SECONDS:
            self.blobs[zone, number] = [self.clock.now, None]

    @rule(seconds=st.sampled_from([0.5, 30.0, 61.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(zone=ZONES, number=NUMBERS)
    def put(self, zone: str, number: int) -> None:
        self.run(self.store.put(zone, content(number)))
        self.hit(zone, number)

    @rule(zone=ZONES, numbers=st.lists(NUMBERS, max_size=5))
    def put_many(self, zone: str, numbers: list[int]) -> None:
        blobs = [Put(Digest.of(content(n)), content(n)) for n in numbers]
        assert self.run(self.store.put_many(zone, blobs)) == [None] * len(numbers)
        for number in numbers:
            self.hit(zone, number)

    @rule(zone=ZONES, number=NUMBERS, end=st.sampled_from(["commit", "abort"]))
    def write(self, zone: str, number: int, end: str) -> None:
        async def work() -> None:
            async with self.store.writer(zone) as writer:
                await writer.write(content(number)[:10])
                await writer.write(content(number)[10:])
                if end == "commit":
                    await writer.commit()

        self.run(work())
        if end == "commit":
            self.hit(zone, number)

    @rule(zone=ZONES, numbers=st.lists(NUMBERS, max_size=5))
    def missing(self, zone: str, numbers: list[int]) -> None:
        absent = self.run(self.store.missing(zone, [Digest.of(content(n)) for n in numbers]))
        expected = [n for n in dict.fromkeys(numbers) if (zone, n) not in self.blobs]
        assert absent == [Digest.of(content(n)) for n in expected]
        for number in set(numbers) - set(expected):
            self.hit(zone, number)

    @rule(zone=ZONES, number=NUMBERS, offset=st.integers(0, 30))
    def read(self, zone: str, number: int, offset: int) -> None:
        data = content(number)
        digest, offset = Digest.of(data), min(offset, len(data))

        async def work() -> bytes:
            return b"".join([piece async for piece in self.store.read(zone, digest, offset, 40)])

        if (zone, number) in self.blobs:
            assert self.run(work()) == data[offset : offset + 40]
        else:
            with pytest.raises(BlobNotFound):
                self.run(work())

    @rule(zone=ZONES, numbers=st.lists(NUMBERS, max_size=4))
    def delete(self, zone: str, numbers: list[int]) -> None:
        count = self.run(self.store.delete(zone, [Digest.of(content(n)) for n in numbers]))
        assert count == sum((zone, n) in self.blobs for n in set(numbers))
        for number in numbers:
            self.blobs.pop((zone, number), None)

    @rule(zone=ZONES, numbers=st.lists(NUMBERS, max_size=8), ago=st.sampled_from([0.0, 50.0, 500.0]))
    def condemn(self, zone: str, numbers: list[int], ago: float) -> None:
        condemned = self.run(self.store.condemn(zone, [Digest.of(content(n)) for n in numbers], self.clock.now - ago))
        expected = []
        for number in dict.fromkeys(numbers):
            if (blob := self.blobs.get((zone, number))) is not None:
                if blob[1] is None and (blob[0] or 0) <= self.clock.now - ago:
                    blob[1] = self.clock.now
                if blob[1] is not None:
                    expected.append(Digest.of(content(number)))
        assert condemned == expected

    @rule(zone=ZONES, numbers=st.lists(NUMBERS, max_size=8), ago=st.sampled_from([0.0, 50.0, 500.0]))
    def sweep(self, zone: str, numbers: list[int], ago: float) -> None:
        gone = self.run(self.store.sweep(zone, [Digest.of(content(n)) for n in numbers], self.clock.now - ago))
        expected = []
        for number in dict.fromkeys(numbers):
            blob = self.blobs.get((zone, number))
            if blob is not None and blob[1] is not None and blob[1] <= self.clock.now - ago:
                expected.append(Digest.of(content(number)))
                del self.blobs[zone, number]
        assert gone == expected

    @rule(index=st.sampled_from(["kept", "lost"]))
    def open_again(self, index: str) -> None:
        if self.driver != "disk":
            return
        self.run(self.store.close())
        if index == "lost":
            shutil.rmtree(self.folder / "blobs" / "index")
            self.blobs = {key: [None, None] for key in self.blobs}
        self.store = self.run(self.open())
        if index == "lost":
            for (zone, number), blob in self.blobs.items():
                info = self.run(self.store.stat(zone, Digest.of(content(number))))
                assert info is not None
                blob[0] = info.touched

    @rule()
    def compact(self) -> None:
        if isinstance(self.store, DiskBlobs):
            self.run(self.store.compact())

    @invariant()
    def what_is_listed_is_what_the_model_has(self) -> None:
        found = dict[tuple[str, Digest], list[float | None]]()
        for zone in self.run(self.store.zones()):
            after = None
            while page := self.run(self.store.scan(zone, after, 3)):
                found |= {(zone, info.digest): [info.touched, info.condemned] for info in page}
                after = page[-1].digest
        assert found == {(zone, Digest.of(content(n))): blob for (zone, n), blob in self.blobs.items()}
        usage = self.run(self.store.usage())
        assert (usage.blobs, usage.logical) == (len(found), sum(digest.size for _, digest in found))


@pytest.mark.parametrize(("driver", "examples"), [("memory", 30), ("disk", 15), ("bucket", 15)])
def test_every_driver_does_what_the_model_says(driver: str, examples: int) -> None:
    machine = type(f"{driver.title()}Blobs", (Blobs,), {"driver": driver})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
