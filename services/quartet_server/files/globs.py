"""Patterns over paths: which entries match, and which directories need not be looked into."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from dataclasses import dataclass

from quartet_server.errors import FieldInvalid
from quartet_server.files.paths import DEEPEST

LONGEST = 1024
_MAGIC = re.compile(r"[*?\[]")
States = frozenset[int]


@dataclass(frozen=True, slots=True)
class _Part:
    """One component of a pattern: `**`, a literal name, or an expression that a name is held against."""

    any_depth: bool = False
    literal: str = ""
    expression: re.Pattern[str] | None = None

    def fits(self, name: str) -> bool:
        """Tell whether a name matches; `**` is not asked."""
        return self.expression.match(name) is not None if self.expression is not None else name == self.literal


class Glob:
    """A pattern such as `src/**/*.py`, followed down the tree name by name.

    `*`, `?` and `[...]` stand for characters of one name, `**` for any number of directories, at the end for everything
    below. A state is a set of positions in the pattern: that many alternatives, however deep the tree is.

    Attributes:
        start: The states at the directory that the pattern is relative to.
    """

    def __init__(self, pattern: str) -> None:
        """Take a pattern apart. Raises FieldInvalid."""
        if (size := len(pattern.encode())) > LONGEST:
            raise FieldInvalid.of("glob", f"{size} bytes, at most {LONGEST} are taken")
        names = unicodedata.normalize("NFC", pattern).split("/")
        if "" in names or "." in names or ".." in names:
            raise FieldInvalid.of("glob", "is relative to the path, like src/**/*.py, with no empty, . or .. component")
        if len(names) > DEEPEST:
            raise FieldInvalid.of("glob", f"{len(names)} components, at most {DEEPEST} are taken")
        if names[-1] == "**":
            names.append("*")
        self._parts = [_part(name) for name in names]
        self.start = self._closed({0})

    def advance(self, states: States, name: str) -> States:
        """Return the states below a directory, at its entry `name` (in NFC)."""
        after = set()
        for at in states:
            if at < len(self._parts):
                part = self._parts[at]
                if part.any_depth:
                    after.add(at)
                elif part.fits(name):
                    after.add(at + 1)
        return self._closed(after)

    def matched(self, states: States) -> bool:
        """Tell whether the entry with these states matches the whole pattern."""
        return len(self._parts) in states

    def goes_on(self, states: States) -> bool:
        """Tell whether something below the entry with these states could match."""
        return any(at < len(self._parts) for at in states)

    def names(self, states: States) -> list[str] | None:
        """Return the only names that could go on from these states, in NFC; None when they cannot be told."""
        parts = [self._parts[at] for at in states if at < len(self._parts)]
        return [part.literal for part in parts] if all(part.literal for part in parts) else None

    def _closed(self, states: set[int]) -> States:
        """Add what `**` reaches by standing for no directory at all."""
        for at in sorted(states):
            while at < len(self._parts) and self._parts[at].any_depth:
                at += 1
                states.add(at)
        return frozenset(states)


def _part(name: str) -> _Part:
    if name == "**":
        return _Part(any_depth=True)
    if _MAGIC.search(name) is None:
        return _Part(literal=name)
    return _Part(expression=re.compile(fnmatch.translate(name)))
