"""The words of a filter: names, operators, values, each with its position."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from quartet_server.record_errors import FilterInvalid

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


def invalid(what: str, at: int, kind: str = "syntax") -> FilterInvalid:
    """Return the error for a mistake before the character `at`, counted from 0; of the kind `syntax`, `unsupported` or `limit`."""
    position = at + 1
    message = f"filter, character {position}: {what}"
    return FilterInvalid(message, violations={"filter": what}, position=position, kind=kind)


class Scanner:
    """Takes words from a filter, from left to right.

    Attributes:
        text: The filter.
        at: How many characters were taken.
    """

    def __init__(self, text: str) -> None:
        """Begin at the first word of `text`."""
        self.text = text
        self.at = 0
        self.skip()

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.text)

    def skip(self) -> None:
        """Pass over spaces."""
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def next_is(self, character: str) -> bool:
        """Tell whether `character` is next."""
        return self.text.startswith(character, self.at)

    def character(self, character: str) -> bool:
        """Take `character` if it is next."""
        found = self.next_is(character)
        self.at += found
        return found

    def keyword(self, word: str) -> bool:
        """Take `AND`, `OR` or `NOT`, with the spaces behind it, if it is next."""
        found = _KEYWORD.match(self.text, self.at)
        if found is None or found[1] != word:
            return False
        self.at = found.end()
        self.skip()
        return True

    def operator(self) -> str:
        """Take an operator, and the spaces around it; empty if none is next."""
        self.skip()
        found = self._take(_OPERATOR)
        self.skip()
        return found

    def path(self) -> tuple[str, ...]:
        """Take the path of a field. Raises FilterInvalid."""
        first = self._take(_NAME)
        if not first:
            there = "the end" if self.at >= len(self.text) else repr(self.text[self.at])
            raise invalid(f"the name of a field should stand here, not {there}", self.at)
        if _KEYWORD.fullmatch(first):
            raise invalid(f"{first} has nothing to join", self.at - len(first))
        parts = [first]
        while self.next_is("."):
            self.at += 1
            quote = self.text[self.at : self.at + 1]
            part = self._string(quote)[0] if quote and quote in "\"'" else self._take(_PART)
            if not part:
                raise invalid("after the dot a name is missing", self.at)
            parts.append(part)
        return tuple(parts)

    def value(self) -> Value:
        """Take a value. Raises FilterInvalid."""
        start = self.at
        quote = self.text[start : start + 1]
        if quote and quote in "\"'":
            text, star = self._string(quote)
            return Value(text, text, True, star, start + 1)
        if quote == "(":
            raise invalid("a list of values is not taken: write a = 1 OR a = 2", start, "unsupported")
        word = self._take(_STAMP) or self._take(_WORD)
        if not word:
            there = "the end" if start >= len(self.text) else repr(quote)
            raise invalid(f"a value should stand here, not {there}; put text in quotes", start)
        if word in _WORDS:
            return Value(_WORDS[word], word, False, False, start + 1)
        if word[0] in "-0123456789" and _NUMBER.fullmatch(word):
            number = int(word) if _WHOLE.fullmatch(word) else float(word)
            if isinstance(number, float) and math.isinf(number):
                raise invalid("the number is too large", start)
            return Value(number, word, False, False, start + 1)
        star = word.endswith("*")
        text = word[:-1] if star else word
        if "*" in text:
            raise _star(start + text.index("*"))
        return Value(text, word, False, star, start + 1)

    def _string(self, quote: str) -> tuple[str, bool]:
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
                    raise invalid("a \\ stands before one of \" ' \\ * n r t", at - 1)
                parts.append(escaped)
            elif character == "\0":
                raise invalid("a NUL is in no text", at)
            elif character == "*":
                star = at
            else:
                parts.append(character)
            at += 1
        if at >= len(text):
            raise invalid("the quote that opens here is not closed", start)
        self.at = at + 1
        return "".join(parts), star >= 0

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found[0]


def _star(at: int) -> FilterInvalid:
    return invalid("a * stands at the end, for any text; as a character in quotes it is \\*", at, "unsupported")
