"""What commands print: data on stdout as a table or JSON, words on stderr, errors with the command that helps."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from cyclopts import Parameter

Format = Literal["table", "json"]
Output = Annotated[Format, Parameter(name=["--output", "-o"], help="How data is printed.")]


class CommandError(Exception):
    """A command cannot do what was asked.

    Attributes:
        hint: The command, or the words, that help; may be empty.
        exit_code: 1 for a failure, 2 for a mistake on the command line.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = 1) -> None:
        """Say what is wrong in one sentence, without a full stop."""
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code


def say(text: str) -> None:
    """Tell people something; never part of the data."""
    print(text, file=sys.stderr)


def print_json(data: object) -> None:
    """Print one JSON document on one line."""
    print(json.dumps(data, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print rows under a header, columns aligned, those of numbers to the right; booleans as yes and no."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    header = [column.upper().replace("_", " ") for column in columns]
    widths = [max(len(line[i]) for line in [header, *cells]) for i in range(len(columns))]
    numbers = [bool(rows) and all(type(row.get(column)) is int for row in rows) for column in columns]
    for line in [header, *cells]:
        placed = zip(line, widths, numbers, strict=True)
        print("  ".join(text.rjust(width) if number else text.ljust(width) for text, width, number in placed).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))


def printable(text: str) -> str:
    """Return `text` with what would act on a terminal, or break a line, escaped: names are chosen by anybody."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
