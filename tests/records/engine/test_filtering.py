"""Filters as SQL: held against the same filter in plain Python, over the same rows; and what they refuse."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToDict
from harness.records import Opening
from harness.shelf import BOOKS, SCHEMA, SHELVES, pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet_server.errors import QuartetError
from quartet_server.record_errors import ColumnUnknown, ColumnUnusable, FilterInvalid, FilterTypeMismatch
from quartet_server.records import rows
from quartet_server.records.contract import Database, Session
from quartet_server.records.filtering import where

TEXTS = [
    "",
    "a",
    "ab",
    "abc",
    "aBc",
    "abd",
    "a%",
    "a_c",
    "a*c",
    "é",
    "\ud7ff",
    "\ue000",
    "z\U0010ffff",
    "z\U0010ffffx",
    "'\"\\",
    "null",
    "5",
]
WHOLES = [0, 1, -1, 5, 7, 2**53 + 1, 2**63 - 1, -(2**63)]
REALS = [0.0, 1.0, -2.5, 0.1, 1e300, 5.0]
STAMPS = [
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "2026-01-31T08:00:00.000001Z",
    "2026-01-31T10:00:00+02:00",
]
CONDITIONS = {"good": pb.CONDITION_GOOD, "barely_readable": pb.CONDITION_BARELY_READABLE, "lost": pb.CONDITION_LOST}
DOCUMENTS: list[dict[str, Any] | None] = [
    None,
    {},
    {"a": 1},
    {"a": "1"},
    {"a": True, "ü k": "v"},
    {"a": None},
    {"a": {"b": 2.5, "c": "abc"}},
    {"a": ["a", 5, False, None, "b"]},
    {"a": {"b": ["ab"], "5": 7}},
    {"a": "abc", "0": -1, "b.c": "x"},
    {"a": 1e300, "b": ""},
    {"a": []},
]
MAPS: list[dict[str, str]] = [{}, {"a": "abc"}, {"a": "", "b": "é"}, {"ü k": "a%", "5": "5"}, {"b": "a\nb"}]
COUNTS: list[dict[str, int]] = [{}, {"a": 5}, {"a": 2**53 + 1, "b": 0}, {"b": -(2**63)}]
LISTS = [[], ["a"], ["abc", "é"], ["5", '"', "null"]]
YEARS = [[], [5], [0, 2**53 + 1], [-1, 7]]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def books(count: int = 60) -> list[Any]:
    """Return books with every value of the pools, those of optional fields now and then missing."""

    def column(pool: list[Any], step: int, *, gaps: bool = False) -> list[Any]:
        return list(
            islice(cycle([*pool[step % len(pool) :], *pool[: step % len(pool)], *([None] if gaps else [])]), count)
        )

    names: dict[str, list[Any]] = {
        "title": column([one for one in TEXTS if one], 0),
        "subtitle": column(TEXTS, 3, gaps=True),
        "pages": column(WHOLES, 1),
        "edition": column(WHOLES, 2, gaps=True),
        "weight": column(REALS, 1),
        "rating": column(REALS, 0, gaps=True),
        "lent": column([True, False, False], 0),
        "signed": column([True, False], 0, gaps=True),
        "condition": column(list(CONDITIONS.values()), 0),
        "insured": column(list(CONDITIONS.values()), 1, gaps=True),
        "tags": column(LISTS, 1),
        "years": column(YEARS, 0),
        "history": column([[], [pb.CONDITION_LOST], [pb.CONDITION_GOOD, pb.CONDITION_LOST]], 0),
        "labels": column(MAPS, 2),
        "counts": column(COUNTS, 0),
        "conditions": column([{}, {"a": pb.CONDITION_LOST}, {"a": pb.CONDITION_GOOD, "b": pb.CONDITION_LOST}], 1),
        "metadata": column(DOCUMENTS, 0),
        "printed_at": column([moment(one) for one in STAMPS], 0, gaps=True),
        "place": column([pb.Place(room="x"), pb.Place()], 0, gaps=True),
    }
    made = []
    for number in range(count):
        given = {name: values[number] for name, values in names.items() if values[number] is not None}
        made.append(pb.Book(id=f"b{number:02}", shelf_id="s", **given))
    return made


STORED = books()
Predicate = Callable[[Any], bool]
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def compared(left: Any, sign: str, right: Any) -> bool:
    return sign == "!=" if left is None else SIGNS[sign](left, right)


def quoted(text: str, quote: str = '"') -> str:
    return quote + "".join(f"\\{one}" if one in "\\*" + quote else one for one in text) + quote


def value_of(book: Any, name: str) -> Any:
    """Return what a column of a book holds, None for NULL."""
    field = book.DESCRIPTOR.fields_by_name[name]
    if (field.has_presence and not book.HasField(name)) or (field.enum_type is not None and not getattr(book, name)):
        return None
    return getattr(book, name)


def scalar(names: list[str], pool: list[Any], write: Callable[[Any], str], signs: list[str]) -> st.SearchStrategy[Any]:
    def made(name: str, sign: str, value: Any) -> tuple[str, Predicate]:
        return f"{name} {sign} {write(value)}", lambda book: compared(value_of(book, name), sign, value)

    return st.builds(made, st.sampled_from(names), st.sampled_from(signs), st.sampled_from(pool))


def beginning(name: str, sign: str, text: str) -> tuple[str, Predicate]:
    def holds(book: Any) -> bool:
        found = value_of(book, name)
        return (found is not None and found.startswith(text)) is (sign == "=")

    return f'{name}{sign}{quoted(text)[:-1]}*"', holds


def absent(name: str, sign: str) -> tuple[str, Predicate]:
    def holds(book: Any) -> bool:
        empty = not len(getattr(book, name)) if name in ("tags", "labels") else not book.HasField(name)
        return empty is (sign == "= null")

    return f"{name} {sign}" if sign != ":*" else f"{name}:*", holds


def dated(name: str, sign: str, text: str) -> tuple[str, Predicate]:
    def holds(book: Any) -> bool:
        found = book.printed_at.ToDatetime(UTC) if book.HasField("printed_at") else None
        return compared(found, sign, moment(text))

    return f"{name} {sign} {text}", holds


def in_list(name: str, value: Any, write: Callable[[Any], str], found: Any = None) -> tuple[str, Predicate]:
    return f"{name}:{write(value)}", lambda book: (value if found is None else found) in getattr(book, name)


def in_map(name: str, key: str, sign: str, value: Any) -> tuple[str, Predicate]:
    text = f"{name}.{quoted(key)}"
    if sign in (":*", "= null", "!= null"):
        return (
            f"{text}{'' if sign == ':*' else ' '}{sign}",
            lambda book: (key in getattr(book, name)) is (sign != "= null"),
        )
    written = quoted(value) if isinstance(value, str) else str(value)
    return f"{text} {sign} {written}", lambda book: compared(dict(getattr(book, name)).get(key), sign, value)


def of_pages(key: str, sign: str, text: str) -> tuple[str, Predicate]:
    field = f"conditions.{key} {sign} {text}"
    return field, lambda book: compared(dict(book.conditions).get(key), sign, CONDITIONS[text])


def document(book: Any) -> Any:
    return MessageToDict(book.metadata) if book.HasField("metadata") else None


def reached(book: Any, keys: tuple[str, ...]) -> tuple[bool, Any]:
    """Return whether the path is in the document of a book, and what is there."""
    at = document(book)
    for key in keys:
        if not isinstance(at, dict) or key not in at:
            return False, None
        at = at[key]
    return at is not None or bool(keys), at


def kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def in_document(keys: tuple[str, ...], sign: str, value: Any) -> tuple[str, Predicate]:
    path = ".".join(("metadata", *map(quoted, keys)))
    if sign == ":*":
        return f"{path}:*", lambda book: reached(book, keys)[0]
    if value is None:
        return f"{path} {sign} null", lambda book: (reached(book, keys)[1] is None) is (sign == "=")
    if sign == ":":

        def has(book: Any) -> bool:
            at = reached(book, keys)[1]
            if isinstance(at, list):
                return any(kind(one) == kind(value) and one == value for one in at)
            return isinstance(at, dict) and isinstance(value, str) and value in at

        return f"{path}:{literal(value)}", has

    def holds(book: Any) -> bool:
        at = reached(book, keys)[1]
        return compared(at if kind(at) == kind(value) else None, sign, value)

    return f"{path} {sign} {literal(value)}", holds


def literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else repr(value)


ORDERED, EQUAL = list(SIGNS), ["=", "!="]
COMPARISONS = st.one_of(
    scalar(["title", "subtitle"], TEXTS, quoted, ORDERED),
    st.builds(beginning, st.sampled_from(["title", "subtitle"]), st.sampled_from(EQUAL), st.sampled_from(TEXTS)),
    scalar(["pages", "edition"], WHOLES, str, ORDERED),
    scalar(["weight", "rating"], REALS, repr, ORDERED),
    scalar(["lent", "signed"], [True, False], literal, EQUAL),
    scalar(["condition", "insured"], list(CONDITIONS.values()), pb.Condition.Name, EQUAL),
    scalar(["condition", "insured"], list(CONDITIONS.values()), {n: t for t, n in CONDITIONS.items()}.__getitem__, EQUAL),
    st.builds(dated, st.just("printed_at"), st.sampled_from(ORDERED), st.sampled_from(STAMPS)),
    st.builds(absent, st.sampled_from(["subtitle", "place", "printed_at", "tags", "labels", "metadata"]), st.sampled_from(["= null", "!= null", ":*"])),
    st.builds(in_list, st.just("tags"), st.sampled_from(TEXTS), st.just(quoted)),
    st.builds(in_list, st.just("years"), st.sampled_from(WHOLES), st.just(str)),
    st.builds(lambda text: in_list("history", text, str, CONDITIONS[text]), st.sampled_from(list(CONDITIONS))),
    st.builds(lambda key: (f"labels:{quoted(key)}", lambda book: key in book.labels), st.sampled_from(["a", "b", "ü k", "5", "x"])),
    st.builds(in_map, st.just("labels"), st.sampled_from(["a", "b", "ü k"]), st.sampled_from([*ORDERED, ":*", "= null", "!= null"]), st.sampled_from(TEXTS)),
    st.builds(in_map, st.just("counts"), st.sampled_from(["a", "b"]), st.sampled_from(ORDERED), st.sampled_from(WHOLES)),
    st.builds(of_pages, st.sampled_from(["a", "b"]), st.sampled_from(EQUAL), st.sampled_from(list(CONDITIONS))),
    st.builds(in_document, st.sampled_from([("a",), ("a", "b"), ("a", "5"), ("ü k",), ("0",), ("b.c",), ("x", "y")]), st.sampled_from(ORDERED), st.sampled_from(["abc", "1", "", 1, 2.5, -1, 1e300])),
    st.builds(in_document, st.sampled_from([("a",), ("a", "b"), ("x",)]), st.sampled_from(EQUAL), st.sampled_from([True, False, None])),
    st.builds(in_document, st.sampled_from([("a",), ("a", "b"), ("x",)]), st.just(":*"), st.just("")),
    st.builds(in_document, st.sampled_from([("a",), ("a", "b")]), st.just(":"), st.sampled_from(["a", "b", "ab", 5, 5.0, False, "c"])),
    st.builds(in_document, st.just(()), st.just(":"), st.sampled_from(["a", "b", "ü k", "0"])),
)  # fmt: skip


def joined(parts: list[tuple[str, Predicate]], sign: str) -> tuple[str, Predicate]:
    holds = any if sign == " OR " else all
    return f"({sign.join(text for text, _ in parts)})", lambda book: holds(one(book) for _, one in parts)


def negated(part: tuple[str, Predicate], sign: str) -> tuple[str, Predicate]:
    return f"{sign}{part[0]}", lambda book: not part[1](book)


FILTERS = st.recursive(
    COMPARISONS,
    lambda parts: st.one_of(
        st.builds(joined, st.lists(parts, min_size=2, max_size=4), st.sampled_from([" OR ", " AND ", " "])),
        st.builds(negated, st.builds(joined, st.lists(parts, min_size=1, max_size=2), st.just(" ")), st.sampled_from(["NOT ", "-", "NOT"])),
        st.builds(negated, COMPARISONS, st.sampled_from(["NOT ", "-"])),
    ),
    max_leaves=12,
)  # fmt: skip


@pytest_asyncio.fixture
async def shelf(opening: Opening) -> AsyncIterator[Database]:
    """A database with all books of `STORED` in zone a."""
    database = await opening.database(SCHEMA)

    def fill(session: Session) -> None:
        rows.insert(session, SHELVES, pb.Shelf(id="s", name="s"))
        rows.insert_all(session, BOOKS, STORED)

    await database.write("a", fill)
    yield database


async def chosen(database: Database, text: str) -> list[str]:
    def work(session: Session) -> list[str]:
        return [book.id for book in rows.select(session, BOOKS, where(BOOKS, text), order=[BOOKS.table.c.id])]

    return await database.read("a", work)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(made=FILTERS)
async def test_a_filter_finds_the_rows_that_it_finds_in_plain_python(
    shelf: Database, made: tuple[str, Predicate]
) -> None:
    text, holds = made
    assert await chosen(shelf, text) == [book.id for book in STORED if holds(book)], text


async def test_an_empty_filter_finds_everything_and_never_another_zone(shelf: Database) -> None:
    assert len(await chosen(shelf, " ")) == len(STORED)
    assert (
        await shelf.read("b", lambda session: rows.select(session, BOOKS, where(BOOKS, "pages = 1 OR pages != 1")))
        == []
    )


@pytest.mark.parametrize(
    ("text", "error", "column", "position"),
    [
        ("titel = x", ColumnUnknown, "titel", 1),
        ("title = x AND zone = a", ColumnUnknown, "zone", 15),
        ("revision = 1", ColumnUnknown, "revision", 1),
        ("etag = 1", ColumnUnknown, "etag", 1),
        ("title = 5", FilterTypeMismatch, "title", 9),
        ("title = true", FilterTypeMismatch, "title", 9),
        ("title < a*", FilterTypeMismatch, "title", 9),
        ('pages = "5"', FilterTypeMismatch, "pages", 9),
        ("pages = 1.5", FilterTypeMismatch, "pages", 9),
        ("pages = 9223372036854775808", FilterTypeMismatch, "pages", 9),
        ("pages = 5*", FilterTypeMismatch, "pages", 9),
        ("weight = x", FilterTypeMismatch, "weight", 10),
        ("lent = 1", FilterTypeMismatch, "lent", 8),
        ("lent < true", FilterTypeMismatch, "lent", 8),
        ("condition = fine", FilterTypeMismatch, "condition", 13),
        ("condition = CONDITION_UNSPECIFIED", FilterTypeMismatch, "condition", 13),
        ("condition = good*", FilterTypeMismatch, "condition", 13),
        ("condition > good", FilterTypeMismatch, "condition", 13),
        ("printed_at > yesterday", FilterTypeMismatch, "printed_at", 14),
        ("printed_at > 2026-02-30T00:00:00Z", FilterTypeMismatch, "printed_at", 14),
        ("printed_at > 0001-01-01T00:00:00+23:59", None, "", 0),
        ("printed_at > 5", FilterTypeMismatch, "printed_at", 14),
        ("subtitle < null", FilterTypeMismatch, "subtitle", 12),
        ("history:fine", FilterTypeMismatch, "history", 9),
        ("years:x", FilterTypeMismatch, "years", 7),
        ("tags:a*", FilterTypeMismatch, "tags", 6),
        ("tags:null", FilterTypeMismatch, "tags", 6),
        ("labels.a = 5", FilterTypeMismatch, "labels.a", 12),
        ("counts.a = x", FilterTypeMismatch, "counts.a", 12),
        ("metadata.a < true", FilterTypeMismatch, "metadata.a", 14),
        ("metadata.a < null", FilterTypeMismatch, "metadata.a", 14),
        ("metadata:null", FilterTypeMismatch, "metadata", 10),
        ("title = null", ColumnUnusable, "title", 1),
        ("pages:*", ColumnUnusable, "pages", 1),
        ("title:a", ColumnUnusable, "title", 1),
        ("title.a = x", ColumnUnusable, "title.a", 1),
        ("tags = a", ColumnUnusable, "tags", 1),
        ("tags.a:b", ColumnUnusable, "tags.a", 1),
        ("places:x", ColumnUnusable, "places", 1),
        ("place.room = x", ColumnUnusable, "place.room", 1),
        ("place:room", ColumnUnusable, "place", 1),
        ("labels = x", ColumnUnusable, "labels", 1),
        ("labels.a.b = x", ColumnUnusable, "labels.a.b", 1),
        ("labels.a:b", ColumnUnusable, "labels.a", 1),
        (r'labels."a\"b" = x', ColumnUnusable, 'labels.a"b', 1),
        (r'metadata."a\\" = x', ColumnUnusable, "metadata.a\\", 1),
        (r'metadata:"a\n"', ColumnUnusable, "metadata", 1),
        ("cover = x", ColumnUnusable, "cover", 1),
        ("prints:x", ColumnUnusable, "prints", 1),
        ("conditions.a = fine", FilterTypeMismatch, "conditions.a", 16),
        ("conditions.a < lost", FilterTypeMismatch, "conditions.a", 16),
        ("cover:*", ColumnUnusable, "cover", 1),
        ("embedding = 1", ColumnUnusable, "embedding", 1),
    ],
)
def test_what_a_column_cannot_be_asked_is_refused_with_its_place(
    text: str, error: type[QuartetError] | None, column: str, position: int
) -> None:
    if error is None:
        where(BOOKS, text)
        return
    with pytest.raises(error) as caught:
        where(BOOKS, text)
    assert (caught.value.metadata["column"], caught.value.metadata["position"]) == (column, str(position))
    assert list(caught.value.violations) == ["filter"]


def test_an_unknown_column_tells_which_there_are() -> None:
    with pytest.raises(ColumnUnknown) as caught:
        where(SHELVES, "title = x")
    assert caught.value.hint == "it has: id, name"


NAMES = st.sampled_from([*BOOKS.fields, "zone", "x", "metadata.a", 'labels."é"', "place.room", "tags.a"])
VALUES = st.one_of(
    st.sampled_from(["1", "-1", "x", '"x"', "null", "true", "*", '"a*"', "1e400", "2026-01-31T08:00:00Z", "9" * 60]),
    st.text(max_size=8),
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(parts=st.lists(st.tuples(NAMES, st.sampled_from([*SIGNS, ":", "=="]), VALUES), min_size=1, max_size=3))
async def test_any_comparison_is_run_or_refused(shelf: Database, parts: list[tuple[str, str, str]]) -> None:
    text = " ".join(f"{name} {sign} {value}" for name, sign, value in parts)
    with suppress(FilterInvalid, ColumnUnknown, ColumnUnusable, FilterTypeMismatch):
        await chosen(shelf, text)
