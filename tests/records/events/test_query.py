"""What people type into a search: what it means, and that none of it is ever anything but words to a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet_server.event_errors import FtsQueryInvalid
from quartet_server.events.matching import fts5, tsquery
from quartet_server.events.query import MAX_CHARACTERS, parse
from quartet_server.events.schema import SCHEMA
from quartet_server.records.preparing import prepare_sqlite
from quartet_server.records.sqlite import engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("deploy", '"deploy"'),
        ("what was deployed to the staging server?", '("deployed" OR "staging" OR "server?")'),
        ("What is it", '("What" OR "is" OR "it")'),
        ("Error error ERROR", '"ERROR"'),
        ('"exact phrase"', '"exact phrase"'),
        ("the deploy*", '("the" AND "deploy" *)'),
        ("deploy OR release", '("deploy" OR "release")'),
        ("deploy or release", '("deploy" OR "release")'),
        ("deploy NOT staging", '("deploy" NOT "staging")'),
        ("deploy AND NOT staging", '("deploy" NOT "staging")'),
        ("a b NOT c d", '((("a" AND "b") NOT "c") AND "d")'),
        ("a b OR c NOT d", '(("a" AND "b") OR ("c" NOT "d"))'),
        ("deploy AND (release OR rollout)", '("deploy" AND ("release" OR "rollout"))'),
        ("((deploy))", '"deploy"'),
        ("don't AND stop", '("don\'t" AND "stop")'),
        ("content : secret", '("content" OR "secret")'),
        ("NEAR(a b)", '("NEAR" AND ("a" AND "b"))'),
        ("^first {x} -y +z", '("^first" OR "{x}" OR "-y" OR "+z")'),
        ('"" deploy ** ?', '("deploy")'.strip("()")),
    ],
)
def test_a_query_means(text: str, expression: str) -> None:
    assert fts5(parse(text)) == expression


@pytest.mark.parametrize(
    ("text", "position", "told"),
    [
        ("", 1, "no word"),
        ("  ?! ", 1, "no word"),
        ("OR", 1, "no word"),
        ('say "open', 5, "a quote is left open"),
        ("deploy (release", 8, "a bracket is left open"),
        ("deploy) release", 7, "not opened"),
        ("deploy AND () x", 13, "a word is missing"),
        ("NOT deploy", 1, "NOT has nothing to work on"),
        ("OR deploy", 1, "OR has nothing to work on"),
        ("deploy AND", 11, "missing at the end"),
        ("deploy NOT NOT staging", 12, "NOT has nothing to work on"),
        ("(" * 17 + "a" + ")" * 17, 17, "more than 16 brackets"),
        ("word " * 65, 1, "65 words"),
        ("x" * (MAX_CHARACTERS + 1), MAX_CHARACTERS + 1, "1025 characters"),
    ],
)
def test_a_query_that_cannot_be_read_says_where_and_why(text: str, position: int, told: str) -> None:
    with pytest.raises(FtsQueryInvalid, match=told) as raised:
        parse(text)
    assert raised.value.metadata["position"] == str(position)
    assert list(raised.value.violations) == ["query"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Connection]:
    """A ledger with one event in it."""
    path: Path = tmp_path_factory.mktemp("words") / "events.db"
    prepare_sqlite(path, SCHEMA)
    made = engine(path)
    with made.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO events (zone, id, source, source_id, type, content, from_channel, timestamp, received_at)"
            " VALUES ('default', 'a:1', 'a', '1', 'message', 'the secret was deployed', 'c', 0, 0)"
        )
        yield connection
    made.dispose()


_POSTGRESQL: Any = PGDialect_psycopg()  # type: ignore[no-untyped-call]
SYNTAX = st.sampled_from(
    [
        '"',
        "(",
        ")",
        "*",
        "OR",
        "AND",
        "NOT",
        "NEAR",
        ":",
        "^",
        "-",
        "+",
        "{",
        "}",
        "'",
        "\\",
        ";--",
        "content:",
        "\0",
        "a",
        "é",
    ]
)
TYPED = st.lists(SYNTAX | st.text(max_size=6), max_size=20).map(" ".join) | st.text(max_size=80)


@settings(max_examples=200, deadline=None)
@given(text=TYPED)
def test_any_text_is_a_query_or_refused_as_one(words: sa.Connection, text: str) -> None:
    try:
        tree = parse(text)
    except FtsQueryInvalid:
        return
    words.exec_driver_sql("SELECT rowid FROM events_fts WHERE events_fts MATCH ?", (fts5(tree),)).all()
    compiled: Any = sa.select(tsquery(tree)).compile(dialect=_POSTGRESQL)
    sql = str(compiled)
    assert "'" not in sql.replace("'english'::regconfig", ""), "what was typed is in parameters only"


@settings(max_examples=80, deadline=None)
@given(text=st.text(min_size=1, max_size=20).filter(lambda one: '"' not in one and any(map(str.isalnum, one))))
def test_what_is_quoted_is_words_and_nothing_else(words: sa.Connection, text: str) -> None:
    tree = parse(f'"{text}" OR secret')
    found = words.exec_driver_sql("SELECT rowid FROM events_fts WHERE events_fts MATCH ?", (fts5(tree),)).all()
    assert len(found) == 1
