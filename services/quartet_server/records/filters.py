"""Filters as text (AIP-160), read into a tree: limits, and the position of every mistake.

filter      = [expression]
expression  = factor { ["AND"] factor }                 what stands side by side holds together
factor      = term { "OR" term }                        OR binds closer than AND
term        = ["NOT" | "-"] ( comparison | "(" expression ")" )
comparison  = path operator value
path        = name { "." ( name | string ) }
operator    = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
value       = string | word                             "text" 'text' text 42 -1.5 true null 2026-01-31T08:00:00Z *
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from quartet_server.records.scanning import Scanner, Value, invalid

MAX_BYTES = 8 * 1024
"""Longest filter, in bytes of UTF-8."""
MAX_DEPTH = 32
"""Most brackets inside of one another."""
MAX_TERMS = 100
"""Most comparisons."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path operator value`; the position is that of the path, in characters from 1."""

    path: tuple[str, ...]
    operator: str
    value: Value
    position: int


@dataclass(frozen=True, slots=True)
class Negation:
    """What must not hold."""

    term: Tree


@dataclass(frozen=True, slots=True)
class Junction:
    """What must hold together (`every`), or one of it."""

    every: bool
    terms: tuple[Tree, ...]


Tree: TypeAlias = Comparison | Negation | Junction


def parse(text: str) -> Tree | None:
    """Return the tree of a filter, None where it is empty. Raises FilterInvalid with the position of the mistake."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise invalid(f"it has more than {MAX_BYTES} bytes", MAX_BYTES, "limit")
    words = Scanner(text)
    return None if words.ended else _Parser(words).filter()


class _Parser:
    """Puts the words of a filter together; a method a rule of the grammar, each ends behind the spaces that follow."""

    def __init__(self, words: Scanner) -> None:
        self._words = words
        self._terms = 0

    def filter(self) -> Tree:
        tree = self.expression(0)
        if not self._words.ended:
            raise invalid("a bracket is closed that was not opened", self._words.at)
        return tree

    def expression(self, depth: int) -> Tree:
        terms = [self.factor(depth)]
        while not (self._words.ended or self._words.next_is(")")):
            self._words.keyword("AND")
            terms.append(self.factor(depth))
        return terms[0] if len(terms) == 1 else Junction(True, tuple(terms))

    def factor(self, depth: int) -> Tree:
        terms = [self.term(depth)]
        while self._words.keyword("OR"):
            terms.append(self.term(depth))
        return terms[0] if len(terms) == 1 else Junction(False, tuple(terms))

    def term(self, depth: int) -> Tree:
        negated = self._words.keyword("NOT") or self._words.character("-")
        found = self.bracket(depth) if self._words.next_is("(") else self.comparison()
        return Negation(found) if negated else found

    def bracket(self, depth: int) -> Tree:
        if depth >= MAX_DEPTH:
            raise invalid(f"more than {MAX_DEPTH} brackets inside of one another", self._words.at, "limit")
        self._words.character("(")
        self._words.skip()
        found = self.expression(depth + 1)
        if not self._words.character(")"):
            raise invalid("a bracket is not closed", self._words.at)
        self._words.skip()
        return found

    def comparison(self) -> Comparison:
        words, start = self._words, self._words.at
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise invalid(f"more than {MAX_TERMS} comparisons", start, "limit")
        path = words.path()
        operator = words.operator()
        if not operator:
            if words.next_is("("):
                raise invalid("there are no functions", start, "unsupported")
            raise invalid(f"after {'.'.join(path)} an operator is missing: = != < <= > >= or :", words.at)
        value = words.value()
        words.skip()
        return Comparison(path, operator, value, start + 1)
