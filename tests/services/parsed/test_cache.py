"""The cache: bounded, the least recently used goes first, time runs out, and damage is a miss."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from harness.blobs import Clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet_server.objects.digest import Digest
from quartet_server.parsed.cache import ParsedCache
from quartet_server.parsed.entries import Kept, Key
from quartet_server.parsed.table import Table

LATER = 2_000_000.0
FILE = "cache.sqlite"


def key(name: str, parser: str = "md", version: str = "1", zone: str = "default") -> Key:
    """The name of an entry of some bytes."""
    return Key(zone, Digest.of(name.encode()), parser, version)


@pytest_asyncio.fixture
async def cache(tmp_path: Path) -> AsyncIterator[ParsedCache]:
    """An empty cache of 64 KiB."""
    opened = ParsedCache(tmp_path, 1 << 16, Clock())
    yield opened
    await opened.close()


async def test_an_entry_is_found_by_zone_bytes_parser_and_version_and_by_nothing_less(cache: ParsedCache) -> None:
    mine = key("a")
    assert await cache.get(mine) is None
    assert await cache.put(mine, Kept(b"parsed", LATER))
    assert await cache.get(mine) == Kept(b"parsed", LATER)
    for other in (key("b"), key("a", "pdf"), key("a", "md", "2"), key("a", zone="red")):
        assert await cache.get(other) is None
    assert await cache.put(mine, Kept(b"again", LATER))
    assert await cache.get(mine) == Kept(b"again", LATER)
    assert (cache.hits, cache.misses, cache.figures[0]) == (2, 5, 1)


async def test_an_entry_goes_when_its_time_is_over(tmp_path: Path) -> None:
    clock = Clock()
    cache = ParsedCache(tmp_path, 1 << 16, clock)
    await cache.put(key("a"), Kept(b"x", clock.now + 10))
    clock.now += 9
    assert await cache.get(key("a")) is not None
    clock.now += 1
    assert await cache.get(key("a")) is None
    assert cache.figures[:2] == (0, 0)
    await cache.close()


async def test_what_was_used_last_stays_over_a_restart_too(tmp_path: Path) -> None:
    cache = ParsedCache(tmp_path, 10_000, Clock())
    for name in "abcd":
        assert await cache.put(key(name), Kept(bytes(1_500), LATER))
    assert await cache.get(key("a")) is not None
    await cache.close()
    cache = ParsedCache(tmp_path, 10_000, Clock())
    assert await cache.put(key("e"), Kept(bytes(1_500), LATER))
    assert await cache.put(key("f"), Kept(bytes(1_500), LATER))
    there = [name for name in "abcdef" if await cache.get(key(name)) is not None]
    assert there == ["a", "d", "e", "f"]
    assert cache.figures[2] == 2
    await cache.close()
    smaller = ParsedCache(tmp_path, 3_000, Clock())
    assert await smaller.get(key("f")) is not None
    assert smaller.figures[0] == 1
    await smaller.close()


async def test_what_is_larger_than_the_cache_is_not_kept_and_pushes_nothing_out(cache: ParsedCache) -> None:
    await cache.put(key("a"), Kept(b"x", LATER))
    assert not await cache.put(key("b"), Kept(bytes(1 << 16), LATER))
    assert await cache.get(key("a")) is not None


async def test_a_cache_that_is_switched_off_has_nothing_and_makes_no_file(tmp_path: Path) -> None:
    cache = ParsedCache(tmp_path / "off", 0, Clock())
    assert not await cache.put(key("a"), Kept(b"x", LATER))
    assert await cache.get(key("a")) is None
    await cache.close()
    assert not (tmp_path / "off").exists()


async def test_entries_are_forgotten_by_bytes_by_parser_and_by_version(cache: ParsedCache) -> None:
    names = [("md", "1"), ("md", "2"), ("pdf", "1")]
    for parser, version in names:
        await cache.put(key("a", parser, version), Kept(b"x", LATER))
    await cache.put(key("a", zone="red"), Kept(b"x", LATER))
    await cache.put(key("b"), Kept(b"x", LATER))
    digest = key("a").digest
    assert await cache.delete("default", digest, "md", "2") == 1
    assert await cache.delete("default", digest, "md") == 1
    assert await cache.delete("default", digest) == 1
    assert await cache.delete("default", digest) == 0
    assert cache.figures[0] == 2


@pytest.mark.parametrize("garbage", [b"", b"no database at all" * 500, None])
async def test_a_file_that_is_no_database_is_thrown_away_and_the_cache_goes_on(
    tmp_path: Path, garbage: bytes | None
) -> None:
    cache = ParsedCache(tmp_path, 1 << 16, Clock())
    await cache.put(key("a"), Kept(b"x", LATER))
    await cache.close()
    if garbage is None:
        sqlite3.connect(tmp_path / FILE).executescript("DROP TABLE entry; CREATE TABLE entry (other INTEGER)").close()
    else:
        (tmp_path / FILE).write_bytes(garbage)
    cache = ParsedCache(tmp_path, 1 << 16, Clock())
    assert await cache.get(key("a")) is None
    assert await cache.put(key("a"), Kept(b"y", LATER))
    assert await cache.get(key("a")) == Kept(b"y", LATER)
    await cache.close()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32))
async def test_bytes_that_rot_on_the_disk_are_a_miss_and_never_an_answer(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    dice, folder = random.Random(seed), tmp_path_factory.mktemp("rot")
    cache = ParsedCache(folder, 1 << 20, Clock())
    values = {key(str(i)): dice.randbytes(dice.choice((10, 3_000, 20_000))) for i in range(6)}
    for name, value in values.items():
        await cache.put(name, Kept(value, LATER))
    await cache.close()
    raw = bytearray((folder / FILE).read_bytes())
    for _ in range(dice.randint(1, 40)):
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
    (folder / FILE).write_bytes(raw)
    cache = ParsedCache(folder, 1 << 20, Clock())
    for name, value in values.items():
        found = await cache.get(name)
        assert found is None or found.value == value
    fresh = key("fresh")
    for _ in range(3):  # the damage may be met by the put itself, once, and then it is thrown away
        if await cache.put(fresh, Kept(b"z", LATER)):
            break
    found = await cache.get(fresh)
    assert found is not None
    assert found.value == b"z"
    await cache.close()


_WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from quartet_server.objects.digest import Digest
from quartet_server.parsed.cache import ParsedCache
from quartet_server.parsed.entries import Key, Kept
async def main():
    cache = ParsedCache(Path(sys.argv[1]), 200_000, lambda: 1.0)
    for i in itertools.count():
        name = str(i % 50).encode()
        assert await cache.put(Key("z", Digest.of(name), "p", "1"), Kept(name * (50 * (i % 97)), 9e9))
        if i == 60:
            print("busy", flush=True)
asyncio.run(main())
"""


async def test_a_process_that_is_killed_while_it_writes_leaves_whole_entries(tmp_path: Path) -> None:
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"busy\n"
            writer.send_signal(signal.SIGKILL)
            writer.wait(20)
        cache, found = ParsedCache(tmp_path, 200_000, Clock()), 0
        for i in range(50):
            name = str(i).encode()
            kept = await cache.get(Key("z", Digest.of(name), "p", "1"))
            if kept is not None:
                found += 1
                assert kept.value == name * (len(kept.value) // len(name))
        assert found > 5
        assert cache.failures == 0
        await cache.close()


_names = st.sampled_from("abcdefgh")
_steps = st.lists(
    st.tuples(st.just("get"), _names, st.just(0))
    | st.tuples(st.just("put"), _names, st.sampled_from([0, 100, 800, 2_400, 9_000]))
    | st.tuples(st.just("delete"), _names, st.just(0))
    | st.tuples(st.just("wait"), st.just(""), st.integers(1, 6))
    | st.tuples(st.just("reopen"), st.just(""), st.just(0)),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=_steps)
def test_the_table_does_what_a_list_in_the_order_of_use_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    limit, clock, path = 8_000, Clock(), tmp_path_factory.mktemp("table") / FILE
    table, model = Table(path, limit, clock), dict[str, tuple[bytes, float]]()
    for step, name, number in steps:
        if step == "get":
            expected = model.get(name)
            if expected is not None and expected[1] <= clock.now:
                expected = None
                del model[name]
            found = table.get(key(name))
            assert (found.value if found else None) == (expected[0] if expected else None)
            if expected is not None:
                model[name] = model.pop(name)
        elif step == "put":
            value, cost = bytes(number), number + 512
            assert table.put(key(name), Kept(value, clock.now + 10)) is (cost <= limit)
            if cost <= limit:
                model.pop(name, None)
                if _cost(model) + cost > limit:
                    model = {one: kept for one, kept in model.items() if kept[1] > clock.now}
                while _cost(model) + cost > limit:
                    del model[next(iter(model))]
                model[name] = (value, clock.now + 10)
        elif step == "delete":
            assert table.delete("default", key(name).digest, "", "") == (model.pop(name, None) is not None)
        elif step == "wait":
            clock.now += number
        else:
            table.close()
            table = Table(path, limit, clock)
        assert (table.entries, table.bytes) == (len(model), _cost(model))
    table.close()


def _cost(model: dict[str, tuple[bytes, float]]) -> int:
    return sum(len(value) + 512 for value, _ in model.values())
