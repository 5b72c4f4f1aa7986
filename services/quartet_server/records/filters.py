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

import math
import re
from dataclasses import dataclass
from typing import TypeAlias

from quartet_server.record_errors import FilterInvalid

MAX_BYTES = 8 * 1024
"""Longest filter, in bytes of UTF-8."""
MAX_DEPTH = 32
"""Most brackets inside of one another."""
MAX_TERMS = 100
"""Most comparisons."""

_SPACE = re.compile(r"\s*")
_KEYWORD = re.compile(r"(AND|OR|NOT)(?![^\s(])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PART = re.compile(r"[A-Za-z0-9_-]+")
_OPERATOR = re.compile(r"<=|>=|!=|=|<|>|:")
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)")
_WORD = re.compile(r"""[^\s()"'<>=!:,\\\x00-\x1f\x7f]+""")
_NUMBER = re.compile(r"-?\d{1,64}(?:\.\d{1,64})?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"-?\d+", re.ASCII)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\", "*": "*"}
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Value:
    """What something is compared with.

    Attributes:
        value: Text, a number, a truth value, None for null; without the star of a wildcard.
        raw: As it stands in the filter, without quotes and their escapes.
        quoted: Whether it is a string in quotes.
        star: Whether it ends in a wildcard.
        position: Where it begins, in characters from 1.
    """

    value: str | int | float | bool | None
    raw: str
    quoted: bool
    star: bool
    position: int

    @property
    def anything(self) -> bool:
        """Whether it is the star alone, which asks whether something is there."""
        return self.star and self.value == "" and not self.quoted


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
        raise _invalid(f"it has more than {MAX_BYTES} bytes", MAX_BYTES, "limit")
    parser = _Parser(text)
    parser.skip()
    return parser.filter() if parser.at < len(text) else None


def _invalid(what: str, at: int, kind: str = "syntax") -> FilterInvalid:
    position = at + 1
    message = f"filter, character {position}: {what}"
    return FilterInvalid(message, violations={"filter": what}, position=position, kind=kind)


class _Parser:
    """Reads a filter from left to right; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.terms = 0

    def skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found[0]

    def next_is(self, character: str) -> bool:
        return self.text.startswith(character, self.at)

    def keyword(self, word: str) -> bool:
        """Take a keyword if it is next."""
        found = _KEYWORD.match(self.text, self.at)
        if found is None or found[1] != word:
            return False
        self.at = found.end()
        self.skip()
        return True

    def filter(self) -> Tree:
        tree = self.expression(0)
        if self.at < len(self.text):
            raise _invalid("a bracket is closed that was not opened", self.at)
        return tree

    def expression(self, depth: int) -> Tree:
        terms = [self.factor(depth)]
        while self.at < len(self.text) and not self.next_is(")"):
            self.keyword("AND")
            terms.append(self.factor(depth))
        return terms[0] if len(terms) == 1 else Junction(True, tuple(terms))

    def factor(self, depth: int) -> Tree:
        terms = [self.term(depth)]
        while self.keyword("OR"):
            terms.append(self.term(depth))
        return terms[0] if len(terms) == 1 else Junction(False, tuple(terms))

    def term(self, depth: int) -> Tree:
        negated = self.keyword("NOT")
        if not negated and self.next_is("-"):
            self.at += 1
            negated = True
        if self.next_is("("):
            if depth >= MAX_DEPTH:
                raise _invalid(f"more than {MAX_DEPTH} brackets inside of one another", self.at, "limit")
            self.at += 1
            self.skip()
            found = self.expression(depth + 1)
            if not self.next_is(")"):
                raise _invalid("a bracket is not closed", self.at)
            self.at += 1
            self.skip()
        else:
            found = self.comparison()
        return Negation(found) if negated else found

    def comparison(self) -> Comparison:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise _invalid(f"more than {MAX_TERMS} comparisons", self.at, "limit")
        start = self.at
        path = self.path()
        self.skip()
        operator = self.take(_OPERATOR)
        if not operator:
            if self.next_is("("):
                raise _invalid("there are no functions", start, "unsupported")
            raise _invalid(f"after {'.'.join(path)} an operator is missing: = != < <= > >= or :", self.at)
        self.skip()
        value = self.value()
        self.skip()
        return Comparison(path, operator, value, start + 1)

    def path(self) -> tuple[str, ...]:
        first = self.take(_NAME)
        if not first:
            there = "the end" if self.at >= len(self.text) else repr(self.text[self.at])
            raise _invalid(f"the name of a field should stand here, not {there}", self.at)
        if _KEYWORD.fullmatch(first):
            raise _invalid(f"{first} has nothing to join", self.at - len(first))
        parts = [first]
        while self.next_is("."):
            self.at += 1
            quote = self.text[self.at : self.at + 1]
            part = self.string(quote)[0] if quote and quote in "\"'" else self.take(_PART)
            if not part:
                raise _invalid("after the dot a name is missing", self.at)
            parts.append(part)
        return tuple(parts)

    def value(self) -> Value:
        start = self.at
        quote = self.text[start : start + 1]
        if quote and quote in "\"'":
            text, star = self.string(quote)
            return Value(text, text, True, star, start + 1)
        if quote == "(":
            raise _invalid("a list of values is not taken: write a = 1 OR a = 2", start, "unsupported")
        word = self.take(_STAMP) or self.take(_WORD)
        if not word:
            there = "the end" if start >= len(self.text) else repr(quote)
            raise _invalid(f"a value should stand here, not {there}; put text in quotes", start)
        if word in _WORDS:
            return Value(_WORDS[word], word, False, False, start + 1)
        if word[0] in "-0123456789" and _NUMBER.fullmatch(word):
            number = int(word) if _WHOLE.fullmatch(word) else float(word)
            if isinstance(number, float) and math.isinf(number):
                raise _invalid("the number is too large", start)
            return Value(number, word, False, False, start + 1)
        star = word.endswith("*")
        text = word[:-1] if star else word
        if "*" in text:
            raise _star(start + text.index("*"))
        return Value(text, word, False, star, start + 1)

    def string(self, quote: str) -> tuple[str, bool]:
        """Return the text of a string in quotes, without a wildcard at its end, and whether it has one."""
        start, text = self.at, self.text
        parts: list[str] = []
        star = -1
        at = start + 1
        while at < len(text) and text[at] != quote:
            character = text[at]
            if star >= 0:
                raise _star(star)
            if character == "\\":
                at += 1
                escaped = _ESCAPES.get(text[at : at + 1])
                if escaped is None:
                    raise _invalid("a \\ stands before one of \" ' \\ * n r t", at - 1)
                parts.append(escaped)
            elif character == "\0":
                raise _invalid("a NUL is in no text", at)
            elif character == "*":
                star = at
            else:
                parts.append(character)
            at += 1
        if at >= len(text):
            raise _invalid("the quote that opens here is not closed", start)
        self.at = at + 1
        return "".join(parts), star >= 0


def _star(at: int) -> FilterInvalid:
    return _invalid("a * stands at the end, for any text; as a character in quotes it is \\*", at, "unsupported")
