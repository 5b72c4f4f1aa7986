"""Filters as text: what they mean, and where what is wrong with them stands."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quartet_server.record_errors import FilterInvalid
from quartet_server.records import filters
from quartet_server.records.filters import Comparison, Junction, Negation, Tree


def shown(tree: Tree | None) -> str:
    """Return a tree as text in which every bracket is written."""
    match tree:
        case None:
            return ""
        case Negation(term):
            return f"!{shown(term)}"
        case Junction(every, terms):
            return f"({(' & ' if every else ' | ').join(map(shown, terms))})"
        case Comparison(path, operator, value):
            return f"{'/'.join(path)}{operator}{value.value!r}{'*' if value.star else ''}"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", ""),
        (" \t\n ", ""),
        ("a = 1", "a=1"),
        ("a=1", "a=1"),
        ("a=-1", "a=-1"),
        ("a = 1.50", "a=1.5"),
        ("a = 1e3", "a=1000.0"),
        ("a >= 1 b <= 2", "(a>=1 & b<=2)"),
        ("a != b AND c < d", "(a!='b' & c<'d')"),
        ("a = 1 OR b = 2 c = 3", "((a=1 | b=2) & c=3)"),
        ("a = 1 AND b = 2 OR c = 3", "(a=1 & (b=2 | c=3))"),
        ("(a = 1 AND b = 2) OR c = 3", "((a=1 & b=2) | c=3)"),
        ("NOT a = 1", "!a=1"),
        ("-a = 1 -b = 2", "(!a=1 & !b=2)"),
        ("NOT(a=1)", "!a=1"),
        ("-(a=1 OR b=2)", "!(a=1 | b=2)"),
        ("(a=1)(b=2)", "(a=1 & b=2)"),
        ("a = true b = false c = null", "(a=True & b=False & c=None)"),
        ('a = "true" b = "null"', "(a='true' & b='null')"),
        ("a = abc*", "a='abc'*"),
        ('a = "abc*"', "a='abc'*"),
        (r'a = "abc\*"', "a='abc*'"),
        (r'a = "x\"y\\z\n"', "a='x\"y\\\\z\\n'"),
        ("a = 'it is \"so\"'", "a='it is \"so\"'"),
        ('a = ""', "a=''"),
        ("a = *", "a=''*"),
        ("a:*", "a:''*"),
        ("a.b.c:d", "a/b/c:'d'"),
        ('a."b c".d = 1', "a/b c/d=1"),
        ("a.5.x-y = 1", "a/5/x-y=1"),
        ("a > 2026-01-31T08:00:00Z", "a>'2026-01-31T08:00:00Z'"),
        ("a > 2026-01-31T08:00:00.25+02:00 b = 1", "(a>'2026-01-31T08:00:00.25+02:00' & b=1)"),
        ("a = 2026-01-31", "a='2026-01-31'"),
        ("a = ünï", "a='ünï'"),
        ("ANDa = 1 ORDER = 2 NOTE = 3", "(ANDa=1 & ORDER=2 & NOTE=3)"),
        ("a = AND", "a='AND'"),
        ("a = 00012", "a=12"),
        ("a = 1-2", "a='1-2'"),
    ],
)
def test_a_filter_means_what_aip_160_says(text: str, meaning: str) -> None:
    assert shown(filters.parse(text)) == meaning


@pytest.mark.parametrize(
    ("text", "position", "kind", "said"),
    [
        ("a", 2, "syntax", "operator is missing"),
        ("a b = 1", 3, "syntax", "operator is missing"),
        ("= 1", 1, "syntax", "name of a field"),
        ("a =", 4, "syntax", "the end"),
        ("a = )", 5, "syntax", "value"),
        ("a = = 1", 5, "syntax", "value"),
        ("a == 1", 4, "syntax", "value"),
        ("a = 1 AND", 10, "syntax", "the end"),
        ("a = 1 OR", 9, "syntax", "the end"),
        ("AND a = 1", 1, "syntax", "nothing to join"),
        ("a = 1 OR OR b = 2", 10, "syntax", "nothing to join"),
        ("NOT NOT a = 1", 5, "syntax", "nothing to join"),
        ("--a = 1", 2, "syntax", "name of a field"),
        ("(a = 1", 7, "syntax", "not closed"),
        ("a = 1)", 6, "syntax", "not opened"),
        ("()", 2, "syntax", "name of a field"),
        ('a = "x', 5, "syntax", "quote"),
        (r'a = "\x"', 6, "syntax", "stands before"),
        ('a = "x\\', 7, "syntax", "stands before"),
        ('a = "x\0"', 7, "syntax", "NUL"),
        ("a = x\0", 6, "syntax", "name of a field"),
        ("a. = 1", 3, "syntax", "after the dot"),
        ('a."" = 1', 5, "syntax", "after the dot"),
        (".a = 1", 1, "syntax", "name of a field"),
        ("f(x)", 1, "unsupported", "functions"),
        ("a = (1 OR 2)", 5, "unsupported", "list of values"),
        ("a = x*y", 6, "unsupported", "a * stands at the end"),
        ('a = "*y"', 6, "unsupported", "a * stands at the end"),
        ("a = x**", 6, "unsupported", "a * stands at the end"),
        ("a = 1e9999", 5, "syntax", "too large"),
        ("(" * 33 + "a = 1" + ")" * 33, 33, "limit", "32 brackets"),
        ("a=1 " * 101, 401, "limit", "100 comparisons"),
        ("a = " + "x" * 8189, 8193, "limit", "8192 bytes"),
        ("a = " + "ü" * 4095, 8193, "limit", "8192 bytes"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, position: int, kind: str, said: str) -> None:
    with pytest.raises(FilterInvalid, match=re.escape(said)) as caught:
        filters.parse(text)
    assert caught.value.metadata == {"position": str(position), "kind": kind}
    assert list(caught.value.violations) == ["filter"]


def test_what_is_just_within_the_limits_is_taken() -> None:
    assert filters.parse("(" * 32 + "a = 1" + ")" * 32) is not None
    assert filters.parse("a=1 " * 100) is not None
    assert filters.parse("a = " + "x" * 8188) is not None


PIECES = st.sampled_from(
    [
        "a",
        "=",
        "!=",
        "<",
        ":",
        "(",
        ")",
        " ",
        "-",
        "NOT ",
        "AND ",
        " OR ",
        '"',
        "'",
        "\\",
        "*",
        ".",
        "1",
        "-2.5",
        "null",
        "é",
        "\0",
        ",",
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join)))
def test_any_text_is_a_filter_or_an_error_with_a_position_in_it(text: str) -> None:
    position = 1
    try:
        filters.parse(text)
    except FilterInvalid as error:
        position = int(error.metadata["position"])
    assert 1 <= position <= len(text) + 1
