"""Members of columns that hold JSON, as SQL expressions that each database spells its own way.

A member is named by its column and the keys that lead to it, which are parameters and never SQL. As a value of a type it is
NULL where it is absent or of another type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from quartet_server.records import documents

FORBIDDEN = frozenset('"\\')
"""Characters of no key that can be named: paths of SQLite cannot say them."""


class Member(FunctionElement[Any]):
    """A member; its clauses are the column, a value (NULL where there is none), the path as SQLite has it, and the keys.

    `sqlite` and `postgresql` are templates: {at} is the column and the path, as SQLite's functions take them, {json} the
    member as PostgreSQL's jsonb, {value} the value.
    """

    inherit_cache = True
    sqlite: ClassVar[str]
    postgresql: ClassVar[str]


class Text(Member):
    """The member that is a text."""

    inherit_cache = True
    type = sa.Text()
    sqlite = "(CASE json_type({at}) WHEN 'text' THEN json_extract({at}) END)"
    postgresql = "(CASE jsonb_typeof({json}) WHEN 'string' THEN {json} #>> '{{}}' END COLLATE \"C\")"


class Number(Member):
    """The member that is a number."""

    inherit_cache = True
    type = sa.Numeric(asdecimal=False)
    sqlite = "(CASE WHEN json_type({at}) IN ('integer', 'real') THEN json_extract({at}) END)"
    postgresql = "(CASE jsonb_typeof({json}) WHEN 'number' THEN ({json} #>> '{{}}')::numeric END)"


class Truth(Member):
    """The member that is true or false."""

    inherit_cache = True
    type = sa.Boolean()
    sqlite = "(CASE json_type({at}) WHEN 'true' THEN 1 WHEN 'false' THEN 0 END)"
    postgresql = "(CASE jsonb_typeof({json}) WHEN 'boolean' THEN ({json} #>> '{{}}')::boolean END)"


class Present(Member):
    """Whether the member is there; never NULL."""

    inherit_cache = True
    type = sa.Boolean()
    sqlite = "(json_type({at}) IS NOT NULL)"
    postgresql = "({json} IS NOT NULL)"


class Absent(Member):
    """Whether the member is not there, or null; never NULL."""

    inherit_cache = True
    type = sa.Boolean()
    sqlite = "(coalesce(json_type({at}), 'null') = 'null')"
    postgresql = "(coalesce(jsonb_typeof({json}), 'null') = 'null')"


class Has(Member):
    """Whether the member is a list that has the element of the value, a list in JSON; never NULL. Numbers are equal as numbers."""

    inherit_cache = True
    type = sa.Boolean()
    sqlite = (
        "(json_type({at}) IS 'array' AND EXISTS (SELECT 1 FROM json_each({at}) AS e, json_each({value}) AS v WHERE"
        " replace(e.type, 'real', 'integer') = replace(v.type, 'real', 'integer') AND e.value = v.value))"
    )
    postgresql = "coalesce({json} @> CAST({value} AS jsonb), false)"


def member(
    kind: type[Member],
    column: sa.ColumnElement[Any],
    keys: Sequence[str] = (),
    value: sa.ColumnElement[Any] | None = None,
) -> sa.ColumnElement[Any]:
    """Return what `kind` says of the member of `column` that `keys` lead to, without keys of the whole document.

    No key may have a character of `FORBIDDEN`.
    """
    path = "$" + "".join(f'."{key}"' for key in keys)
    texts = (sa.bindparam(None, one, sa.Text(), unique=True) for one in (path, *keys))
    return kind(column, sa.null() if value is None else value, *texts)


def has(column: sa.ColumnElement[Any], keys: Sequence[str], value: str | int | float | bool) -> sa.ColumnElement[bool]:
    """Return whether the list that `keys` lead to has `value`, of the same type."""
    return member(Has, column, keys, sa.literal(documents.dump([value]), sa.Text()))


@compiles(Member, "sqlite")
def _on_sqlite(element: Member, compiler: SQLCompiler, **kw: Any) -> str:
    column, value, path, *_ = (compiler.process(one, **kw) for one in element.clauses)
    return element.sqlite.format(at=f"{column}, {path}", value=value)


@compiles(Member, "postgresql")
def _on_postgresql(element: Member, compiler: SQLCompiler, **kw: Any) -> str:
    column, value, *keys = element.clauses
    json = f"CAST({compiler.process(column, **kw)} AS jsonb)"
    for key in keys[1:]:  # -> with a text finds nothing in a list, as SQLite's quoted keys do
        json += f" -> CAST({compiler.process(key, **kw)} AS text)"
    return element.postgresql.format(json=f"({json})", value=compiler.process(value, **kw))
