"""All rows of a zone in a database, raw: read in order of their keys, stored as they are, summed up, deleted, in bounded steps.

Each function is a Work's: it runs in a transaction of the zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from quartet.cluster.peers.v1 import peers_pb2 as pb
from sqlalchemy.dialects import postgresql, sqlite

from quartet_server.errors import FieldInvalid
from quartet_server.placement import wire
from quartet_server.placement.wire import Sum
from quartet_server.placement_errors import RowsDamaged
from quartet_server.records.contract import Database, Dialect, Session
from quartet_server.records.schema import ZONE, Schema

PAGE = 500
"""Most rows of a step."""
PAGE_BYTES = 1 << 20
"""Bytes of rows after which a step takes no more."""
STRETCH = 20_000
"""Most rows that are summed up in one transaction."""


@dataclass(frozen=True, eq=False)
class Pass:
    """One going through a table: each table is gone through once, and once more for what refers to later rows.

    Attributes:
        database: Name of the database.
        table: The table.
        late: Columns that refer to rows that may come later: not sent at first, and alone in the second going through.
        second: This is the second.
    """

    database: str
    table: sa.Table
    late: tuple[str, ...] = ()
    second: bool = False


def passes(schemas: Sequence[Schema]) -> list[Pass]:
    """Return every going through in the order in which rows can be stored: the same on all nodes of one version."""
    found: list[Pass] = []
    for schema in schemas:
        tables = schema.metadata.sorted_tables
        late = wire.late(tables)
        found += [Pass(schema.database, table, late.get(table.name, ())) for table in tables]
        found += [Pass(schema.database, table, late[table.name], second=True) for table in tables if table.name in late]
    return found


def count(session: Session, table: sa.Table) -> int:
    """Return how many rows of the zone a table has."""
    return session.connection.execute(
        sa.select(sa.func.count()).select_from(table).where(table.c[ZONE] == session.zone)
    ).scalar_one()


def page(session: Session, one: Pass, after: pb.Row | None) -> tuple[pb.Rows, pb.Row | None]:
    """Return the rows behind the key `after`, and the key of the last; None when there are no more.

    In the second going through only rows with something in a late column are among them, and of them only the key and those
    columns.
    """
    table, kinds = one.table, wire.columns(one.table)
    key = wire.key(table)
    condition: sa.ColumnElement[bool] | None = None
    if one.second:
        kinds = (*key, *(column for column in kinds if column.name in one.late))
        condition = sa.or_(*(table.c[name].is_not(None) for name in one.late))
    found = pb.Rows(database=one.database, table=table.name, columns=[column.name for column in kinds])
    at = _positions(kinds, key)
    missing = {i for i, column in enumerate(kinds) if not one.second and column.name in one.late}
    last, size = None, 0
    for row in _scan(session, table, kinds, after, PAGE, condition):
        sent = wire.encode(kinds, (None if i in missing else value for i, value in enumerate(row)))
        found.rows.append(sent)
        last = pb.Row(values=[sent.values[i] for i in at])
        size += sent.ByteSize()
        if size >= PAGE_BYTES:
            break
    return found, last


def total(session: Session, table: sa.Table, after: pb.Row | None, so_far: Sum) -> tuple[Sum, pb.Row | None]:
    """Sum up a stretch of rows behind the key `after`; returns the sum so far and the last key, None at the end."""
    kinds, key = wire.columns(table), wire.key(table)
    at, last = _positions(kinds, key), None
    now = Sum(so_far.rows, so_far.total)
    for row in _scan(session, table, kinds, after, STRETCH):
        last = wire.encode(kinds, row)
        now.add(last)
    if last is None or now.rows - so_far.rows < STRETCH:
        return now, None
    return now, pb.Row(values=[last.values[i] for i in at])


async def whole(database: Database, zone: str, table: sa.Table) -> Sum:
    """Return the sum of a table's rows of a zone, read a stretch at a time. Raises what reading raises."""
    found, after = await database.read(zone, lambda session: total(session, table, None, Sum()))
    while after is not None:
        found, after = await database.read(
            zone,
            lambda session, after=after, found=found: total(session, table, after, found),  # type: ignore[misc]
        )
    return found


def damaged(one: Pass, mine: Sum, theirs: Sum) -> RowsDamaged:
    """Return the error for a table of which the nodes do not have the same."""
    return RowsDamaged(f"{one.database}.{one.table.name}: {mine} here, {theirs} there")


def store(session: Session, table: sa.Table, rows: pb.Rows, late: Sequence[str]) -> None:
    """Store rows that are not there by their keys; of rows that came before, set the `late` columns. Raises FieldInvalid."""
    known = {column.name: column for column in wire.columns(table)}
    unknown = [name for name in (*rows.columns, *late) if name not in known]
    if unknown:
        raise FieldInvalid.of("rows", f"{table.name} has no column {unknown[0][:100]!r}")
    kinds = [known[name] for name in rows.columns]
    values = [wire.decode(kinds, row, session.dialect) | {ZONE: session.zone} for row in rows.rows]
    if not values:
        return
    if not late:
        session.connection.execute(_insert(session.dialect, table), values)
        return
    key = wire.key(table)
    if not {*late, *(column.name for column in key)} <= set(rows.columns):
        raise FieldInvalid.of("rows", "a late column, or the key, is not among the columns")
    statement = (
        sa.update(table)
        .where(table.c[ZONE] == session.zone, *(column == sa.bindparam(f"key_{column.name}") for column in key))
        .values({name: sa.bindparam(f"late_{name}") for name in late})
    )
    session.connection.execute(
        statement,
        [
            {f"key_{column.name}": row[column.name] for column in key} | {f"late_{name}": row[name] for name in late}
            for row in values
        ],
    )


def delete(session: Session, tables: Sequence[sa.Table]) -> bool:
    """Delete some rows of the zone from tables that are in the order of `passes`; False when there are none any more."""
    late = wire.late(tables)
    for table in tables:
        names = late.get(table.name, ())
        if names and _step(session, table, sa.or_(*(table.c[name].is_not(None) for name in names)), names):
            return True
    return any(_step(session, table, sa.true(), ()) for table in reversed(tables))


def _step(session: Session, table: sa.Table, condition: sa.ColumnElement[bool], clear: Sequence[str]) -> bool:
    """Delete a page of the rows that fulfil a condition, or set columns of them to NULL; tell whether there were any."""
    key = wire.key(table)
    if not key:  # a zone has one row
        return not clear and bool(
            session.connection.execute(sa.delete(table).where(table.c[ZONE] == session.zone)).rowcount
        )
    some = sa.select(*key).where(table.c[ZONE] == session.zone, condition).limit(PAGE)
    found = [tuple(row) for row in session.connection.execute(some)]
    if not found:
        return False
    among = sa.tuple_(*key).in_(found)
    statement: sa.Update | sa.Delete = sa.delete(table)
    if clear:
        statement = sa.update(table).values(dict.fromkeys(clear))
    session.connection.execute(statement.where(table.c[ZONE] == session.zone, among))
    return True


def _positions(kinds: Sequence[sa.Column[Any]], key: Sequence[sa.Column[Any]]) -> list[int]:
    names = [column.name for column in kinds]
    return [names.index(column.name) for column in key]


def _insert(dialect: Dialect, table: sa.Table) -> Any:
    insert = sqlite.insert if dialect is Dialect.SQLITE else postgresql.insert
    return insert(table).on_conflict_do_nothing()


def _scan(
    session: Session,
    table: sa.Table,
    kinds: Sequence[sa.Column[Any]],
    after: pb.Row | None,
    limit: int,
    condition: sa.ColumnElement[bool] | None = None,
) -> Iterator[sa.Row[Any]]:
    """Yield rows of the zone in the order of their keys, from the one behind `after` on, `limit` of them at most."""
    key = wire.key(table)
    query = sa.select(*kinds).where(table.c[ZONE] == session.zone).order_by(*key).limit(limit)
    if condition is not None:
        query = query.where(condition)
    if after is not None:
        if not key:
            return
        values = wire.decode(key, after, session.dialect)
        query = query.where(sa.tuple_(*key) > sa.tuple_(*(sa.literal(values[one.name], one.type) for one in key)))
    yield from session.connection.execute(query)
