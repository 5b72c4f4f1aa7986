"""Rows to bytes: what they mean is what the codec says of the same rows."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.shelf import BOOKS, COPIES, SHELVES, pb
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet_server.records.contract import Dialect
from quartet_server.records.wire import varint, wire

WHOLE = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-2, 130))
REAL = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), st.just("é" * 90)
)
CONDITION = st.integers(0, 3)
LEAF = st.one_of(st.none(), st.booleans(), TEXT, REAL, st.integers(-(2**53), 2**53))
DOCUMENT = st.dictionaries(
    TEXT,
    st.recursive(LEAF, lambda one: st.lists(one, max_size=3) | st.dictionaries(TEXT, one, max_size=3), max_leaves=8),
    max_size=3,
)
MOMENT = st.builds(
    Timestamp,
    seconds=st.integers(-62_135_596_800, 253_402_300_799),
    nanos=st.integers(0, 999_999).map(lambda one: one * 1000),
)
BOOK = st.fixed_dictionaries(
    {"id": TEXT},
    optional={
        "title": TEXT, "subtitle": TEXT, "pages": WHOLE, "edition": WHOLE, "weight": REAL, "rating": REAL, "lent": st.booleans(),
        "signed": st.booleans(), "condition": CONDITION, "insured": CONDITION, "tags": st.lists(TEXT, max_size=3),
        "years": st.lists(WHOLE, max_size=3), "history": st.lists(st.integers(1, 3), max_size=3),
        "labels": st.dictionaries(TEXT, TEXT, max_size=2), "counts": st.dictionaries(TEXT, WHOLE, max_size=2), "metadata": DOCUMENT,
        "place": st.builds(pb.Place, room=TEXT), "places": st.lists(st.builds(pb.Place, room=TEXT), max_size=2),
        "cover": st.binary(max_size=5), "embedding": st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3),
        "printed_at": MOMENT,
    },
)  # fmt: skip


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=50, deadline=None)
@given(made=st.lists(BOOK, max_size=5))
def test_a_row_is_the_message_that_the_codec_makes_of_it(dialect: Dialect, made: list[dict[str, Any]]) -> None:
    codec = BOOKS.codec
    rows: list[tuple[Any, ...]] = [
        (*codec.encode(pb.Book(**one), dialect), place * 99) for place, one in enumerate(made)
    ]
    expected = [codec.decode(row, row[-1]) for row in rows]
    assert wire(BOOKS).messages(rows) == expected


def test_records_without_an_etag_and_no_rows_at_all_are_no_exception() -> None:
    assert wire(COPIES).messages([("b", -1, "", 4)]) == [pb.Copy(book_id="b", number=-1)]
    assert wire(SHELVES).encode([]) == []


def test_a_value_that_the_enum_does_not_have_is_the_unspecified_one() -> None:
    row = [None] * len(BOOKS.fields)
    row[BOOKS.codec.names.index("condition")] = "mended"  # type: ignore[call-overload]
    assert wire(BOOKS).messages([(*row, 1)]) == [BOOKS.codec.decode(row, 1)]


@pytest.mark.parametrize(
    ("number", "bytes_"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**64 - 1, "ffffffffffffffffff01")]
)
def test_numbers_are_written_in_sevens_of_bits(number: int, bytes_: str) -> None:
    assert varint(number).hex() == bytes_
