"""The SELECT of a list with a filter, compiled once for all requests that differ in values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from quartet_server.records import filtering, statements
from quartet_server.records.contract import Dialect
from quartet_server.records.ordering import Order
from quartet_server.records.schema import ZONE, Record

REMEMBERED = 512
"""Longest filter whose SELECT is to be kept, in characters: few are longer, and nobody should fill the memory with them."""

_DIALECTS = {Dialect.SQLITE: SQLiteDialect_pysqlite(), Dialect.POSTGRESQL: PGDialect_psycopg()}  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Select:
    """A SELECT as the driver takes it.

    Attributes:
        sql: Its text.
        fixed: Parameters that are the same each time.
        places: Names of the parameters in their order, where they have no names in the text.
    """

    sql: str
    fixed: Mapping[str, Any]
    places: tuple[str, ...] | None

    def parameters(self, values: Mapping[str, object]) -> Any:
        """Return the parameters that go with `values`."""
        all_of_them = {**self.fixed, **values}
        return all_of_them if self.places is None else [all_of_them[name] for name in self.places]


@lru_cache(maxsize=512)
def select(
    record: Record[Any], dialect: Dialect, said: str, order: Order, equal: tuple[str, ...], follows: bool
) -> Select:
    """Return the SELECT of the records that fulfil the filter `said`, in `order`, and whose columns `equal` have values.

    Its parameters are `zone`, `limit`, `equal_<column>`, and `after_<place>` in the order where it `follows` a row. Raises what
    `filtering.where` raises.
    """
    columns = record.table.c
    chosen = statements.columns(record).where(columns[ZONE] == sa.bindparam(ZONE, type_=sa.Text()))
    chosen = chosen.where(*(columns[name] == sa.bindparam(f"equal_{name}", type_=columns[name].type) for name in equal))
    chosen = chosen.where(filtering.where(record, said))
    if follows:
        binds = [sa.bindparam(f"after_{n}", type_=columns[name].type) for n, name in enumerate(order.columns)]
        chosen = chosen.where(order.after(record, binds))
    chosen = chosen.order_by(*order.clauses(record)).limit(sa.bindparam("limit", type_=sa.Integer()))
    compiled = chosen.compile(dialect=_DIALECTS[dialect], compile_kwargs={"render_postcompile": True})
    given = {ZONE, "limit", *(f"equal_{name}" for name in equal), *(f"after_{n}" for n in range(len(order.columns)))}
    fixed = {name: value for name, value in (compiled.params or {}).items() if name not in given}
    places = tuple(compiled.positiontup) if compiled.positiontup is not None else None
    return Select(str(compiled), fixed, places)
