"""What every driver of records promises."""

from __future__ import annotations

import asyncio
import threading

import pytest
import sqlalchemy as sa
from harness.records import TABLE, Clock
from quartet_server.record_errors import DatabaseBusy
from quartet_server.records.contract import Database, Session, Work


def put(key: str, number: int = 0) -> Work[str]:
    def work(session: Session) -> str:
        session.connection.execute(TABLE.insert().values(zone=session.zone, id=key, number=number))
        return key

    return work


def add(key: str) -> Work[int]:
    """Read a number, and write the next: what only writes in turn get right."""

    def work(session: Session) -> int:
        row = (TABLE.c.zone == session.zone) & (TABLE.c.id == key)
        number = int(session.connection.execute(sa.select(TABLE.c.number).where(row)).scalar_one())
        session.connection.execute(TABLE.update().where(row).values(number=number + 1))
        return number + 1

    return work


def keys(session: Session) -> list[str]:
    chosen = sa.select(TABLE.c.id).where(TABLE.c.zone == session.zone).order_by(TABLE.c.id)
    return list(session.connection.execute(chosen).scalars())


def fail(_session: Session) -> None:
    raise ZeroDivisionError


async def test_a_read_sees_every_write_that_returned_before(database: Database) -> None:
    for number in range(20):
        assert await database.write("a", put(f"k{number:02}")) == f"k{number:02}"
        assert len(await database.read("a", keys)) == number + 1


async def test_writes_of_one_zone_happen_one_after_another(database: Database) -> None:
    await database.write("a", put("counter"))
    told = await asyncio.gather(*(database.write("a", add("counter")) for _ in range(200)))
    assert sorted(told) == list(range(1, 201))


async def test_a_write_that_raises_is_undone_alone(database: Database) -> None:
    def half(session: Session) -> None:
        put("half")(session)
        raise ZeroDivisionError

    async with asyncio.TaskGroup() as tasks:
        good = [tasks.create_task(database.write("a", put(f"k{number}"))) for number in range(20)]
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await database.write("a", half)
    assert [one.result() for one in good] == [f"k{number}" for number in range(20)]
    assert "half" not in await database.read("a", keys)
    assert len(await database.read("a", keys)) == 20


async def test_what_a_statement_breaks_does_not_break_the_writes_beside_it(database: Database) -> None:
    await database.write("a", put("taken"))
    results = await asyncio.gather(
        *(database.write("a", put("taken" if number % 3 == 0 else f"k{number}")) for number in range(30)),
        return_exceptions=True,
    )
    failed = [number for number, one in enumerate(results) if isinstance(one, Exception)]
    assert failed == list(range(0, 30, 3))
    assert len(await database.read("a", keys)) == 21


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        await database.read("a", put("k"))
    assert await database.read("a", keys) == []


async def test_a_read_sees_one_state_and_holds_nobody_up(database: Database) -> None:
    seen, go = threading.Event(), threading.Event()

    def twice(session: Session) -> tuple[list[str], list[str]]:
        first = keys(session)
        seen.set()
        assert go.wait(20)
        return first, keys(session)

    await database.write("a", put("one"))
    reading = asyncio.create_task(database.read("a", twice))
    assert await asyncio.to_thread(seen.wait, 20)
    await database.write("a", put("two"))
    go.set()
    assert await reading == (["one"], ["one"])
    assert await database.read("a", keys) == ["one", "two"]


async def test_a_zone_has_rows_of_its_own(database: Database) -> None:
    await database.write("a", put("k", 1))
    await database.write("b", put("k", 2))
    assert await database.read("a", keys) == await database.read("b", keys) == ["k"]


async def test_a_caller_that_goes_away_harms_nobody(database: Database) -> None:
    going = [asyncio.create_task(database.write("a", put(f"gone{number}"))) for number in range(10)]
    staying = [asyncio.create_task(database.write("a", put(f"k{number}"))) for number in range(10)]
    await asyncio.sleep(0)
    for one in going:
        one.cancel()
    assert await asyncio.gather(*staying) == [f"k{number}" for number in range(10)]
    assert set(await database.read("a", keys)) >= {f"k{number}" for number in range(10)}


async def test_too_many_writes_are_refused_and_those_that_waited_are_done(small: Database) -> None:
    hold = threading.Event()

    def wait(_session: Session) -> None:
        assert hold.wait(20)

    first = asyncio.create_task(small.write("a", wait))
    waiting = [asyncio.create_task(small.write("a", put(f"k{number}"))) for number in range(7)]
    await asyncio.sleep(0)
    with pytest.raises(DatabaseBusy) as refused:
        await small.write("a", put("too much"))
    assert refused.value.retry_after
    hold.set()
    await asyncio.gather(first, *waiting)
    assert await small.write("a", put("later")) == "later"
    assert "too much" not in await small.read("a", keys)


async def test_time_in_a_zone_never_goes_back(database: Database, clock: Clock) -> None:
    def now(session: Session) -> int:
        return session.now

    first = await database.write("a", now)
    clock.now -= 1000
    second = await database.write("a", now)
    clock.now += 2000
    assert first <= second < await database.write("a", now)


async def test_who_waits_for_a_zone_hears_of_its_writes_and_of_no_others(database: Database) -> None:
    before = database.version("a")
    waiting = asyncio.create_task(database.changed("a", before, 20))
    other = asyncio.create_task(database.changed("b", database.version("b"), 0.05))
    await asyncio.sleep(0)
    await database.write("a", put("k"))
    assert await waiting != before
    assert await other == database.version("b")
    assert await database.changed("a", before, 0) == database.version("a")  # at once, as it is another already


async def test_a_write_that_failed_wakes_nobody(database: Database) -> None:
    before = database.version("a")
    with pytest.raises(ZeroDivisionError):
        await database.write("a", fail)
    assert database.version("a") == before


async def test_ids_sort_in_the_order_in_which_they_are_drawn(database: Database) -> None:
    def draw(session: Session) -> list[str]:
        return [session.new_id() for _ in range(500)]

    drawn = await database.write("a", draw)
    assert drawn == sorted(set(drawn))
    assert {one[14] for one in drawn} == {"7"}


async def test_the_first_of_writes_that_wait_together_is_undone_alone_too(database: Database) -> None:
    hold = threading.Event()

    def first(session: Session) -> None:
        put("first")(session)
        assert hold.wait(20)
        raise ZeroDivisionError

    failing = asyncio.create_task(database.write("a", first))
    others = [asyncio.create_task(database.write("a", put(f"k{number}"))) for number in range(5)]
    await asyncio.sleep(0)
    hold.set()
    with pytest.raises(ZeroDivisionError):
        await failing
    assert await asyncio.gather(*others) == [f"k{number}" for number in range(5)]
    assert await database.read("a", keys) == [f"k{number}" for number in range(5)]
