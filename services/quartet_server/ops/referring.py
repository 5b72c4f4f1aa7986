"""Looks for rows that name rows of other databases which are not there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

import sqlalchemy as sa
from quartet.ops.v1 import ops_pb2 as pb

from quartet_server.records.contract import Databases, Session
from quartet_server.records.crossing import Reference
from quartet_server.records.schema import ZONE, Schema

PAGE = 500
"""Rows that are looked at in one transaction."""


async def dangling(
    databases: Databases, schemas: dict[str, Schema], references: Sequence[Reference], zone: str
) -> AsyncIterator[pb.CheckReferencesResponse]:
    """Yield every row of the zone that names what is not there, and a summary. Raises what reading does.

    The databases change meanwhile. What a row names is looked up after the row was read, so that what was there when the row was
    written is found, unless it was deleted in between.
    """
    known = [one for one in references if one.database in schemas and one.to_database in schemas]
    summary = pb.ReferenceSummary(references=len(known))
    for one in known:
        table = schemas[one.database].metadata.tables[one.table]
        target = schemas[one.to_database].metadata.tables[one.to_table]
        after: tuple[object, ...] | None = None
        while True:
            page = await databases.database(one.database).read(zone, partial(_page, table=table, one=one, after=after))
            if not page:
                break
            after = page[-1][0]
            summary.checked += len(page)
            there = await databases.database(one.to_database).read(
                zone, partial(_there, table=target, one=one, wanted=sorted({value for _, value in page}))
            )
            for key, value in page:
                if value not in there:
                    summary.dangling += 1
                    yield pb.CheckReferencesResponse(
                        dangling=pb.DanglingReference(
                            column=f"{one.database}.{one.table}.{one.column}",
                            key="/".join(map(str, key)),
                            value=value,
                            target=f"{one.to_database}.{one.to_table}.{one.to_column}",
                        )
                    )
    yield pb.CheckReferencesResponse(summary=summary)


def _page(
    session: Session, table: sa.Table, one: Reference, after: tuple[object, ...] | None
) -> list[tuple[tuple[object, ...], str]]:
    """Return keys and values of the next rows that name something."""
    key = [column for column in table.primary_key.columns if column.name != ZONE]
    named = table.c[one.column]
    query = sa.select(*key, named).where(table.c[ZONE] == session.zone, named.is_not(None), named != "")
    if after is not None:
        literals = (sa.literal(value, column.type) for value, column in zip(after, key, strict=True))
        query = query.where(sa.tuple_(*key) > sa.tuple_(*literals))
    rows = session.connection.execute(query.order_by(*key).limit(PAGE))
    return [(tuple(row[:-1]), str(row[-1])) for row in rows]


def _there(session: Session, table: sa.Table, one: Reference, wanted: Sequence[str]) -> set[str]:
    column = table.c[one.to_column]
    found = session.connection.execute(sa.select(column).where(table.c[ZONE] == session.zone, column.in_(wanted)))
    return set(found.scalars())
