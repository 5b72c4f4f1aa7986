"""Pages: every row once, in order, whatever is written meanwhile; tokens that are not for the request are refused."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count, pairwise
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from harness.records import Opening
from harness.shelf import BOOKS, COPIES, SCHEMA, SHELVES, pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet_server.errors import FieldInvalid, PageTokenInvalid, QuartetError
from quartet_server.record_errors import ColumnUnknown, ColumnUnusable
from quartet_server.records import paging, rows, tokens
from quartet_server.records.contract import Database, Session, Work
from quartet_server.records.ordering import order

METHOD = "/quartet.testing.v1.ShelfService/ListBooks"
COLUMNS = ["id", "title", "pages", "weight", "lent", "condition", "created_at"]
ZONES = count()
ORDERS = st.lists(
    st.tuples(st.sampled_from(COLUMNS), st.sampled_from(["", " asc", " desc"])),
    max_size=3,
    unique_by=lambda one: one[0],
)


def listing(token: str = "", **asked: Any) -> Work[tuple[list[Any], str]]:
    """Return the Work that reads a page of books."""
    request = {"method": METHOD, "equal": {}, "filter": "", "order_by": "", "page_size": 0, "page_token": token}
    return lambda session: paging.listing(session, BOOKS, **(request | asked))  # type: ignore[arg-type]


def book(number: int, **fields: Any) -> Any:
    """Return one of many books that are equal in much."""
    return pb.Book(
        shelf_id="s", title=f"t{number % 4}", pages=number % 3 - 1, weight=number % 2 / 3, lent=number % 5 == 0,
        condition=number % 3 + 1, **fields,
    )  # fmt: skip


def paged(record: Any, token: str, **asked: Any) -> Work[tuple[list[Any], str]]:
    """Return the Work that reads a page of a list with conditions of its own."""
    return lambda session: paging.page(session, record, page_token=token, seal="x", **asked)


def move(key: str) -> Work[int]:
    """Return the Work that gives a book another place in most orders."""
    chosen = BOOKS.table.c.id == key
    return lambda session: rows.change(session, BOOKS, chosen, {"title": "u", "pages": 9})


def add(*made: Any) -> Work[Any]:
    return lambda session: rows.insert_all(session, BOOKS, made)


@pytest_asyncio.fixture
async def shelf(opening: Opening) -> AsyncIterator[Database]:
    """A database with shelves s in the zones a and b."""
    database = await opening.database(SCHEMA)
    for zone in "ab":
        await database.write(zone, lambda session: rows.insert(session, SHELVES, pb.Shelf(id="s", name="s")))
    yield database


async def walk(database: Database, zone: str, **asked: Any) -> list[Any]:
    """Return all pages one after another; at most 200."""
    found: list[Any] = []
    token = ""
    for _ in range(200):
        page, token = await database.read(zone, listing(token, **asked))
        found += page
        if not token:
            return found
    raise AssertionError("the list has no end")


def placed(made: Any, by: list[tuple[str, str]]) -> tuple[Any, ...]:
    """Return where a book comes in an order whose columns all go up."""
    names = [name for name, _ in by] + ["id"]
    spelled = {pb.CONDITION_GOOD: "good", pb.CONDITION_BARELY_READABLE: "barely_readable", pb.CONDITION_LOST: "lost"}
    values = [getattr(made, name) for name in names]
    return tuple(
        spelled[one] if name == "condition" else one.ToMicroseconds() if name == "created_at" else one
        for name, one in zip(names, values, strict=True)
    )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(by=ORDERS, size=st.integers(1, 9), changes=st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=12))
async def test_rows_that_stay_come_once_and_in_order_while_others_come_and_go(
    shelf: Database, by: list[tuple[str, str]], size: int, changes: list[tuple[bool, int]]
) -> None:
    name = f"z{next(ZONES)}"  # examples share a database
    await shelf.write(name, lambda session: rows.insert(session, SHELVES, pb.Shelf(id="s", name="s")))
    await shelf.write(
        name, add(*(book(n, id=f"stays-{n:02}") for n in range(20)), *(book(n, id=f"goes-{n:02}") for n in range(20)))
    )
    told = ", ".join(column + direction for column, direction in by)
    found, token, left = [], "", iter(changes)
    for _ in range(100):
        page, token = await shelf.read(name, listing(token, order_by=told, page_size=size))
        assert len(page) <= size
        found += page
        if not token:
            break
        for comes, number in [one for one in [next(left, None)] if one]:
            work = add(book(number, id=f"new-{len(found)}-{number}")) if comes else move(f"goes-{number:02}")
            await shelf.write(name, work)
    stayed = [one for one in found if one.id.startswith("stays")]
    assert sorted(one.id for one in stayed) == [f"stays-{n:02}" for n in range(20)]
    directions = [direction == " desc" for _, direction in by]
    for earlier, later in pairwise(stayed):
        first, second = placed(earlier, by), placed(later, by)
        at = next(place for place, (x, y) in enumerate(zip(first, second, strict=True)) if x != y)
        down = directions[min(at, len(by) - 1)] if by else False
        assert (first[at] > second[at]) is down


async def test_a_page_has_a_hundred_records_unless_another_number_is_asked_for(shelf: Database) -> None:
    await shelf.write("a", add(*(book(n) for n in range(1001))))
    page, token = await shelf.read("a", listing())
    assert (len(page), bool(token)) == (paging.PAGE, True)
    page, token = await shelf.read("a", listing(page_size=paging.MOST))
    assert (len(page), bool(token)) == (paging.MOST, True)
    page, token = await shelf.read("a", listing(token, page_size=1))
    assert (len(page), token) == (1, "")


@pytest.mark.parametrize("size", [-1, 1001, 2**31 - 1])
async def test_a_size_that_no_page_has_is_refused(shelf: Database, size: int) -> None:
    with pytest.raises(FieldInvalid, match="page_size"):
        await shelf.read("a", listing(page_size=size))


async def test_a_list_that_just_fills_its_page_has_no_next_one(shelf: Database) -> None:
    await shelf.write("a", add(*(book(n) for n in range(6))))
    assert [len(page) for page, token in [await shelf.read("a", listing(page_size=6))] if not token] == [6]
    assert await shelf.read("b", listing()) == ([], "")


async def test_a_page_ends_early_when_its_records_are_large(shelf: Database) -> None:
    await shelf.write("a", add(*(book(n, id=f"{n:02}", subtitle="x" * 500_000) for n in range(12))))
    page, token = await shelf.read("a", listing())
    assert paging.MAX_BYTES < sum(one.ByteSize() for one in page) < 4 * 1024**2
    assert token
    assert [one.id for one in await walk(shelf, "a")] == [f"{n:02}" for n in range(12)]


async def test_records_are_listed_by_keys_of_several_columns(shelf: Database) -> None:
    made = [pb.Copy(book_id=f"b{n // 7}", number=n % 7 - 3) for n in range(21)]
    await shelf.write("a", lambda session: rows.insert_all(session, COPIES, made))
    for text, expected in (
        ("", made),
        ("book_id desc", made[::-1]),
        ("book_id desc, number", [*made[14:], *made[7:14], *made[:7]]),
    ):
        found: list[Any] = []
        token = ""
        for _ in range(10):
            page, token = await shelf.read("a", paged(COPIES, token, order_by=text, page_size=5))
            found += page
            if not token:
                break
        assert [(one.book_id, one.number) for one in found] == [(one.book_id, one.number) for one in expected]


async def test_lists_with_conditions_of_their_own_are_paged_the_same_way(shelf: Database) -> None:
    await shelf.write("a", add(*(book(n) for n in range(40))))
    condition = [BOOKS.table.c.pages >= 0, sa.or_(BOOKS.table.c.lent.is_(True), BOOKS.table.c.title != "t1")]
    found: list[Any] = []
    token = ""
    for _ in range(20):
        asked = {"conditions": condition, "order_by": "title desc, pages", "page_size": 3}
        page, token = await shelf.read("a", paged(BOOKS, token, **asked))
        found += page
        if not token:
            break
    by_filter = await walk(
        shelf, "a", filter="pages >= 0 (lent = true OR title != t1)", order_by="title desc, pages", page_size=4
    )
    assert found == by_filter
    assert 0 < len(found) < 40


@pytest.mark.parametrize(
    ("zone", "change", "kind"),
    [
        ("b", {}, "foreign"),
        ("a", {"method": "/quartet.testing.v1.ShelfService/ListOthers"}, "foreign"),
        ("a", {"filter": "pages > 0"}, "stale"),
        ("a", {"order_by": "title desc"}, "stale"),
        ("a", {"order_by": "pages"}, "stale"),
        ("a", {"equal": {"shelf_id": "s"}}, "stale"),
    ],
)
async def test_a_token_is_of_no_use_with_another_request(
    shelf: Database, zone: str, change: dict[str, Any], kind: str
) -> None:
    await shelf.write("a", add(*(book(n) for n in range(5))))
    asked: dict[str, Any] = {"order_by": "title", "page_size": 2}
    _, token = await shelf.read("a", listing(**asked))
    await shelf.read("a", listing(token, **(asked | {"page_size": 3})))
    with pytest.raises(PageTokenInvalid) as caught:
        await shelf.read(zone, listing(token, **(asked | change)))
    assert caught.value.metadata == {"kind": kind}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    token=st.one_of(
        st.text(min_size=1), st.binary(min_size=1, max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    )
)
async def test_no_text_is_a_token_unless_it_was_made_here(shelf: Database, token: str) -> None:
    with pytest.raises(PageTokenInvalid) as caught:
        await shelf.read("a", listing(token))
    assert caught.value.metadata == {"kind": "malformed"}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_token_of_which_any_character_was_changed_is_refused(shelf: Database, data: st.DataObject) -> None:
    await shelf.write(
        "a", lambda session: session.connection.execute(BOOKS.table.delete().where(BOOKS.table.c.zone == "a"))
    )
    await shelf.write("a", add(*(book(n, id=f"{n}") for n in range(3))))
    _, token = await shelf.read("a", listing(page_size=1))
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("abcXYZ019-_=+/ é").filter(lambda one: one != token[place]))
    with pytest.raises(PageTokenInvalid):
        await shelf.read("a", listing(token[:place] + other + token[place + 1 :], page_size=1))
    with pytest.raises(PageTokenInvalid):
        await shelf.read("a", listing(token[: place or 1], page_size=1))


@pytest.mark.parametrize(
    ("by", "values"),
    [
        ("pages", ["x", "id"]),
        ("pages", [True, "id"]),
        ("pages", [1.5, "id"]),
        ("pages", [2**63, "id"]),
        ("pages", [None, "id"]),
        ("pages", [[], "id"]),
        ("pages", [1]),
        ("pages", [1, "id", "more"]),
        ("title", [1, "id"]),
        ("title", ["a\0", "id"]),
        ("title", ["\ud800", "id"]),
        ("title", ["x" * 4097, "id"]),
        ("lent", [2, "id"]),
        ("lent", ["true", "id"]),
        ("weight", ["1", "id"]),
        ("weight", [True, "id"]),
        ("created_at", [1.0, "id"]),
        ("condition", [1, "id"]),
    ],
)
async def test_a_forged_token_of_the_right_request_is_checked_by_type(
    shelf: Database, by: str, values: list[Any]
) -> None:
    seal = tokens.Seal.of("a", BOOKS, order(BOOKS, by), METHOD, repr(("", [])))
    if "\ud800" in values:
        with pytest.raises(UnicodeEncodeError):
            tokens.encode(seal, values)
        return
    with pytest.raises(PageTokenInvalid) as caught:
        await shelf.read("a", listing(tokens.encode(seal, values), order_by=by))
    assert caught.value.metadata == {"kind": "malformed"}


async def test_a_forged_token_of_the_right_types_shows_rows_of_the_zone_from_another_place(shelf: Database) -> None:
    await shelf.write("a", add(*(book(n, id=f"{n}") for n in range(5))))
    seal = tokens.Seal.of("a", BOOKS, order(BOOKS, ""), METHOD, repr(("", [])))
    page, _ = await shelf.read("a", listing(tokens.encode(seal, ["3"])))
    assert [one.id for one in page] == ["4"]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("x", ColumnUnknown, "character 1"),
        ("title, x desc", ColumnUnknown, "character 8"),
        ("zone", ColumnUnknown, "zone"),
        ("metadata.a", ColumnUnknown, "metadata.a"),
        ("subtitle", ColumnUnusable, "may be absent"),
        ("title, printed_at", ColumnUnusable, "character 8"),
        ("tags", ColumnUnusable, "is json"),
        ("cover", ColumnUnusable, "is bytes"),
        ("embedding", ColumnUnusable, "is vector"),
        ("title title", FieldInvalid, "character 1"),
        ("title, title desc", FieldInvalid, "twice"),
        ("title,", FieldInvalid, "character 7"),
        (",", FieldInvalid, "character 1"),
        ("-title", FieldInvalid, "character 1"),
        ("title; DROP TABLE books", FieldInvalid, "character 1"),
        ("title," * 200, FieldInvalid, "1024 characters"),
    ],
)
async def test_an_order_that_there_is_not_is_refused(
    shelf: Database, text: str, error: type[QuartetError], said: str
) -> None:
    with pytest.raises(error, match=said):
        await shelf.read("a", listing(order_by=text))


def test_the_key_comes_last_in_the_direction_of_the_last_column() -> None:
    assert order(BOOKS, "title, pages DESC").columns == ("title", "pages", "id")
    assert order(BOOKS, "title, pages DESC").descending == (False, True, True)
    assert order(BOOKS, "id desc, title").columns == ("id", "title")
    assert order(COPIES, "number desc").descending == (True, True)


async def test_a_page_begins_behind_no_text_that_is_longer_than_a_token_takes(shelf: Database) -> None:
    long = [pb.Book(id=str(n), shelf_id="s", title="x" * 5000) for n in range(3)]
    await shelf.write("a", add(*long))
    with pytest.raises(ColumnUnusable, match="5000 characters"):
        await shelf.read("a", listing(order_by="title", page_size=2))
    assert len((await shelf.read("a", listing(order_by="title")))[0]) == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=30))
async def test_any_order_is_taken_or_refused(shelf: Database, text: str) -> None:
    def work(session: Session) -> None:
        paging.page(session, BOOKS, order_by=text, seal="x")

    with suppress(FieldInvalid, ColumnUnknown, ColumnUnusable):
        await shelf.read("a", work)
