"""Requests with an id are done once, whatever is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from harness.records import Clock, Opening
from harness.shelf import SCHEMA, SHELVES, pb
from quartet_server.errors import FieldInvalid, RequestIdReused
from quartet_server.record_errors import RecordExists
from quartet_server.records import requests, rows
from quartet_server.records.contract import Database, Session

DAY = 24 * 3600
TABLE = SCHEMA.metadata.tables[requests.TABLE]


@pytest_asyncio.fixture
async def shelf(opening: Opening) -> AsyncIterator[Database]:
    """An empty database."""
    yield await opening.database(SCHEMA)


async def create(
    database: Database, request_id: str, name: str = "n", *, zone: str = "a", key: str = "", method: str = "/x/Create"
) -> Any:
    request = pb.CreateShelfRequest(shelf=pb.Shelf(id=key, name=name), request_id=request_id)
    return await requests.once(
        database, zone, method=method, request_id=request_id, request=request, answer=pb.Shelf,
        work=lambda session: rows.insert(session, SHELVES, request.shelf),
    )  # fmt: skip


def kept(session: Session) -> list[str]:
    chosen = (
        sa.select(TABLE.c.request_id)
        .where(TABLE.c.zone == session.zone)
        .order_by(TABLE.c.created_at, TABLE.c.request_id)
    )
    return list(session.connection.execute(chosen).scalars())


def stored(session: Session) -> list[Any]:
    return rows.select(session, SHELVES)


async def test_a_repetition_is_told_the_first_answer_and_changes_nothing(shelf: Database, clock: Clock) -> None:
    first = await create(shelf, "r")
    await shelf.write("a", lambda session: rows.delete(session, SHELVES, first.id))
    clock.now += DAY - 1
    assert await create(shelf, "r") == first
    assert await shelf.read("a", stored) == []


async def test_repetitions_at_the_same_time_do_it_once(shelf: Database) -> None:
    answers = await asyncio.gather(*(create(shelf, "r") for _ in range(20)))
    assert len({one.id for one in answers}) == 1
    assert len(await shelf.read("a", stored)) == 1


async def test_without_an_id_nothing_is_remembered(shelf: Database) -> None:
    await create(shelf, "")
    await create(shelf, "")
    assert len(await shelf.read("a", stored)) == 2
    assert await shelf.read("a", kept) == []


@pytest.mark.parametrize("change", [{"name": "other"}, {"method": "/x/Other"}, {"key": "k"}])
async def test_an_id_that_comes_back_with_another_request_is_refused(shelf: Database, change: dict[str, str]) -> None:
    await create(shelf, "r")
    with pytest.raises(RequestIdReused) as caught:
        await create(shelf, "r", **change)
    assert caught.value.metadata == {"request_id": "r"}
    assert len(await shelf.read("a", stored)) == 1


async def test_the_same_id_in_another_zone_is_another_request(shelf: Database) -> None:
    await create(shelf, "r")
    await create(shelf, "r", "other", zone="b")
    assert [one.name for one in await shelf.read("b", stored)] == ["other"]


async def test_what_failed_is_not_remembered(shelf: Database) -> None:
    await create(shelf, "first", key="k")
    with pytest.raises(RecordExists):
        await create(shelf, "r", key="k")
    await shelf.write("a", lambda session: rows.delete(session, SHELVES, "k"))
    assert (await create(shelf, "r", key="k")).id == "k"
    assert await shelf.read("a", kept) == ["first", "r"]


async def test_answers_older_than_a_day_go_a_few_at_a_time(shelf: Database, clock: Clock) -> None:
    for number in range(20):
        await create(shelf, f"old-{number:02}")
    clock.now += DAY
    await create(shelf, "new-0")
    assert len(await shelf.read("a", kept)) == 21  # none is older than a day yet
    clock.now += 1
    for number in range(1, 5):
        before = await shelf.read("a", kept)
        await create(shelf, f"new-{number}")
        gone = set(before) - set(await shelf.read("a", kept))
        assert gone == set(before[:8]) - {one for one in before if one.startswith("new")}
    assert await shelf.read("a", kept) == [f"new-{number}" for number in range(5)]
    assert (await create(shelf, "old-00")).name == "n"


@pytest.mark.parametrize("request_id", ["x" * 129, "é" * 65, "a\0", "a\n", "\x7f"])
async def test_what_cannot_be_a_request_id_is_refused(shelf: Database, request_id: str) -> None:
    with pytest.raises(FieldInvalid, match="request_id"):
        await create(shelf, request_id)


async def test_the_longest_id_is_taken(shelf: Database) -> None:
    await create(shelf, "é" * 64)
    assert await shelf.read("a", kept) == ["é" * 64]
