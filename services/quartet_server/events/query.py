"""What people type into a search, read into a tree; nothing they type reaches a database in any other form.

    query    = any
    any      = all { "OR" all }
    all      = one { ["AND"] one | ["AND"] "NOT" one }      NOT takes away from all that stands before it
    one      = word | word "*" | '"' words '"' | "(" any ")"

A query of nothing but words is a question: words that every text has are dropped, and events that have some of the rest are
found, those with more of them first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from quartet_server.event_errors import FtsQueryInvalid
from quartet_server.events.stopwords import STOP_WORDS

MAX_CHARACTERS = 1_024
MAX_WORDS = 64
MAX_DEPTH = 16

_TOKEN = re.compile(r'"([^"]*)"|([()"])|([^\s()"]+)')


@dataclass(frozen=True, slots=True)
class Words:
    """Words in this order; one alone, mostly.

    Attributes:
        text: As it was written, without quotes; has at least one letter or digit, and no quote.
        prefix: The last word may go on.
    """

    text: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Every:
    """What must all be there."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Of which something must be there."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """What must be there, and what must not."""

    wanted: Tree
    unwanted: Tree


Tree: TypeAlias = Words | Every | Some | Without


def parse(text: str) -> Tree:
    """Return the tree of a query. Raises FtsQueryInvalid with the position of the mistake, in characters from 1."""
    if len(text) > MAX_CHARACTERS:
        raise _invalid(f"it has {len(text)} characters, more than {MAX_CHARACTERS}", MAX_CHARACTERS)
    tokens = _tokens(text)
    if all(isinstance(token.value, Words) and not token.exact for token in tokens):
        return _question([token.value for token in tokens if isinstance(token.value, Words)])
    return _Parser(tokens, len(text)).query()


@dataclass(frozen=True, slots=True)
class _Token:
    value: Words | str
    """Words, or one of ( ) AND OR NOT."""
    at: int
    exact: bool = False
    """Only who says exactly what must hold writes this."""


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    words = 0
    for found in _TOKEN.finditer(text):
        quoted, sign, word = found.groups()
        at = found.start()
        if sign == '"':
            raise _invalid("a quote is left open", at)
        if sign is not None or word in ("AND", "OR", "NOT"):
            tokens.append(_Token(sign or word, at, exact=True))
            continue
        prefix = word is not None and word.endswith("*")
        said = quoted if quoted is not None else word.rstrip("*")
        if any(map(str.isalnum, said)):
            words += len(said.split())
            tokens.append(_Token(Words(said, prefix), at, exact=quoted is not None or prefix))
    if not words:
        raise _invalid("there is no word in it", 0)
    if words > MAX_WORDS:
        raise _invalid(f"it has {words} words, more than {MAX_WORDS}", 0)
    return tokens


def _question(words: list[Words]) -> Tree:
    told = {one.text.lower(): one for one in words}
    kept = [one for low, one in told.items() if low.strip(".,;:!?'’()[]-") not in STOP_WORDS]
    chosen = tuple(kept or told.values())
    return chosen[0] if len(chosen) == 1 else Some(chosen)


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[_Token], end: int) -> None:
        self._tokens = tokens
        self._next = 0
        self._end = end

    def query(self) -> Tree:
        tree = self._any(0)
        if self._peek() is not None:
            raise _invalid("a bracket is closed that was not opened", self._at())
        return tree

    def _any(self, depth: int) -> Tree:
        parts = [self._all(depth)]
        while self._take("OR"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _all(self, depth: int) -> Tree:
        tree = self._one(depth)
        parts = [tree]
        while self._peek() not in (None, "OR", ")"):
            self._take("AND")
            if self._take("NOT"):
                tree = Without(_every(parts), self._one(depth))
                parts = [tree]
            else:
                parts.append(self._one(depth))
        return _every(parts)

    def _one(self, depth: int) -> Tree:
        at, value = self._at(), self._peek()
        if isinstance(value, Words):
            self._next += 1
            return value
        if value == "(":
            if depth == MAX_DEPTH:
                raise _invalid(f"more than {MAX_DEPTH} brackets are open", at)
            self._next += 1
            tree = self._any(depth + 1)
            if not self._take(")"):
                raise _invalid("a bracket is left open", at)
            return tree
        if value is None:
            raise _invalid("a word is missing at the end", self._end)
        if value == ")":
            raise _invalid("a bracket is closed where a word is missing", at)
        raise _invalid(f"{value} has nothing to work on before it", at)

    def _peek(self) -> Words | str | None:
        return self._tokens[self._next].value if self._next < len(self._tokens) else None

    def _at(self) -> int:
        return self._tokens[self._next].at if self._next < len(self._tokens) else self._end

    def _take(self, word: str) -> bool:
        if self._peek() != word:
            return False
        self._next += 1
        return True


def _every(parts: list[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


def _invalid(what: str, at: int) -> FtsQueryInvalid:
    return FtsQueryInvalid(f"query, character {at + 1}: {what}", violations={"query": what}, position=at + 1)
