"""CREATE TABLE statements of SQLite, changed as text: other tables are no longer referred to, or the table gets another name."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))|(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[^\W\d][\w$]*)|(?P<text>'(?:[^']|'')*')|(?P<other>.)""",
    re.DOTALL,
)
_ACTIONS = {"CASCADE": 1, "RESTRICT": 1, "NO": 2, "SET": 2}


class _Token(NamedTuple):
    kind: str
    text: str

    @property
    def word(self) -> str:
        """The bare word in capitals; empty for what is quoted or none."""
        return self.text.upper() if self.kind == "name" and self.text[0] not in '"`[' else ""

    @property
    def name(self) -> str:
        """What it names, in small letters; empty when it is no name."""
        if self.kind != "name":
            return ""
        bare = self.text[1:-1].replace(self.text[0] * 2, self.text[0]) if self.text[0] in '"`[' else self.text
        return bare.lower()


def _tokens(sql: str) -> list[_Token]:
    return [_Token(match.lastgroup or "other", match[0]) for match in _TOKEN.finditer(sql)]


def renamed(sql: str, name: str) -> str:
    """Return a CREATE TABLE statement for a table of another name."""
    tokens = _tokens(sql)
    place = next(i for i, token in enumerate(tokens) if token.word == "TABLE")
    meant = [
        i
        for i in range(place + 1, len(tokens))
        if tokens[i].kind == "name" and tokens[i].word not in ("IF", "NOT", "EXISTS")
    ]
    tokens[meant[0]] = _Token("name", name)
    return _text(tokens)


def without_references(sql: str, tables: Collection[str]) -> str:
    """Return a CREATE TABLE statement without foreign keys to `tables`, of columns and of the table."""
    tokens = _tokens(sql)
    begin = next(i for i, token in enumerate(tokens) if token.text == "(")
    end = _closing(tokens, begin)
    kept = []
    for definition in _definitions(tokens[begin + 1 : end]):
        left = _without(definition, {table.lower() for table in tables})
        if left is not None:
            kept.append(_text(left))
    return _text(tokens[: begin + 1]) + ",".join(kept) + "\n" + _text(tokens[end:])


def _text(tokens: Sequence[_Token]) -> str:
    return "".join(token.text for token in tokens)


def _closing(tokens: Sequence[_Token], at: int) -> int:
    """Return where the parenthesis at `at` closes."""
    deep = 0
    for place in range(at, len(tokens)):
        deep += (tokens[place].text == "(") - (tokens[place].text == ")")
        if not deep:
            return place
    raise ValueError("a parenthesis does not close")


def _definitions(tokens: Sequence[_Token]) -> list[list[_Token]]:
    """Return the columns and constraints of a table, without the commas between them."""
    found: list[list[_Token]] = [[]]
    deep = 0
    for token in tokens:
        deep += (token.text == "(") - (token.text == ")")
        if token.text == "," and not deep:
            found.append([])
        else:
            found[-1].append(token)
    return found


def _without(definition: list[_Token], tables: set[str]) -> list[_Token] | None:
    """Return a definition without references to tables; None when nothing is left of it."""
    place = next((i for i, token in enumerate(definition) if token.word == "REFERENCES"), None)
    if place is None:
        return definition
    after = [i for i in range(place + 1, len(definition)) if definition[i].kind != "space"]
    if definition[after[0]].name not in tables:
        return definition[: place + 1] + (_without(definition[place + 1 :], tables) or [])
    words = [token.word for token in definition if token.kind != "space"]
    if words[0] == "FOREIGN" or (words[0] == "CONSTRAINT" and "FOREIGN" in words[:3]):
        return None
    end = _clause_end(definition, after)
    before = definition[:place]
    named = [i for i, token in enumerate(before) if token.kind != "space"]
    if len(named) > 2 and before[named[-2]].word == "CONSTRAINT":
        before = before[: named[-2]]
    return before + (_without(definition[end:], tables) or [])


def _clause_end(definition: Sequence[_Token], after: Sequence[int]) -> int:
    """Return where what belongs to a REFERENCES clause ends; `after` are the places behind the word."""
    at = 1  # behind the table's name
    if at < len(after) and definition[after[at]].text == "(":
        closing = _closing(definition, after[at])
        at = after.index(closing) + 1
    while at < len(after):
        word = definition[after[at]].word
        following = definition[after[at + 1]].word if at + 1 < len(after) else ""
        if word == "ON":
            at += 2 + _ACTIONS.get(definition[after[at + 2]].word if at + 2 < len(after) else "", 1)
        elif word == "MATCH" or (word == "NOT" and following == "DEFERRABLE"):
            at += 2
        elif word == "DEFERRABLE":
            at += 1
        elif word == "INITIALLY":
            at += 2
        else:
            break
    return after[at] if at < len(after) else len(definition)
