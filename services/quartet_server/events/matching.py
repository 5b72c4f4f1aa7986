"""A query for words in the words of each database: an expression of FTS5, a tsquery of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from quartet_server.events.query import Every, Some, Tree, Without, Words

_ENGLISH: sa.ColumnElement[Any] = sa.literal_column("'english'::regconfig")


def fts5(tree: Tree) -> str:
    """Return an expression of SQLite's FTS5. Every word is a quoted string in it, which FTS5 reads as nothing but words."""
    match tree:
        case Words(text, prefix):
            quoted = text.replace('"', '""').replace("\0", " ")
            return f'"{quoted}"{" *" if prefix else ""}'
        case Every(parts):
            return f"({' AND '.join(map(fts5, parts))})"
        case Some(parts):
            return f"({' OR '.join(map(fts5, parts))})"
        case Without(wanted, unwanted):
            return f"({fts5(wanted)} NOT {fts5(unwanted)})"


def tsquery(tree: Tree) -> sa.ColumnElement[Any]:
    """Return an expression that is a tsquery. Every word is a parameter of a function that reads nothing but words in it."""
    match tree:
        case Words(text, prefix):
            if not prefix:
                return sa.func.phraseto_tsquery(_ENGLISH, text.replace("\0", " "))
            plain = "".join(one if one.isalnum() else " " for one in text)  # what is left has no meaning to a tsquery
            return sa.func.to_tsquery(_ENGLISH, " <-> ".join(f"'{word}'" for word in plain.split()) + ":*")
        case Every(parts):
            return _folded(sa.func.tsquery_and, parts)
        case Some(parts):
            return _folded(sa.func.tsquery_or, parts)
        case Without(wanted, unwanted):
            return sa.func.tsquery_and(tsquery(wanted), sa.func.tsquery_not(tsquery(unwanted)))


def _folded(join: Callable[..., Any], parts: tuple[Tree, ...]) -> sa.ColumnElement[Any]:
    joined = tsquery(parts[0])
    for part in parts[1:]:
        joined = join(joined, tsquery(part))
    return joined
