"""What crosses databases or runs over all rows: declared by the domains, done by operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quartet_server.records.contract import Session


@dataclass(frozen=True, slots=True)
class Reference:
    """A column whose values name rows of another database, in the same zone; no database keeps that true.

    Attributes:
        database: The database that refers.
        table: The table.
        column: The column: text; NULL and the empty text name nothing.
        to_database: Where the row should be.
        to_table: In which table.
        to_column: By which column; with the zone it is the primary key, or has an index.
    """

    database: str
    table: str
    column: str
    to_database: str
    to_table: str
    to_column: str = "id"


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch of a job did.

    Attributes:
        examined: Rows it looked at.
        changed: Of them, those it changed.
        after: Where to go on: a text that means something to the job; empty at the end.
    """

    examined: int
    changed: int
    after: str


@dataclass(frozen=True, slots=True)
class Backfill:
    """A job over all rows of a zone in a database, a batch a transaction, that can be done again without harm.

    Attributes:
        name: `DATABASE.WHAT`.
        database: Where it runs.
        description: What it does, a sentence.
        step: Takes the session, where to go on (empty at the beginning) and how many rows to take at most.
    """

    name: str
    database: str
    description: str
    step: Callable[[Session, str, int], Step]
