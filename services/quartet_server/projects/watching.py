"""Streams of agents as they change: what happened after a position, then what happens.

Each write that touches an agent gives it the zone's next position, in the same transaction; a row an agent, so that the table
stays as long as there are agents. A watch reads what lies behind its position, tells it, and waits for the next write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import sqlalchemy as sa
from quartet.projects.v1 import agent_calls_pb2 as pb

from quartet_server.errors import FieldInvalid, RevisionFuture
from quartet_server.projects import fields, schema
from quartet_server.projects.schema import AGENT_CHANGES
from quartet_server.records import rows
from quartet_server.records.contract import Database, Session

AT_ONCE = 500
"""Agents in one answer."""
_PATIENCE = 1.0  # seconds after which it looks anyhow: another node may have written


async def watch(database: Database, zone: str, request: pb.WatchAgentsRequest) -> AsyncIterator[pb.WatchAgentsResponse]:
    """Yield what happened to the agents of `zone` after `request.position`, without end.

    The first answer comes at once, though nothing may have happened: it tells that the watch has begun.

    Raises:
        FieldInvalid: The position is negative, or there is no such type.
        RevisionFuture: No change has reached the position.
    """
    if request.position < 0:
        raise FieldInvalid.of("position", "must not be negative")
    if request.type:
        fields.column(schema.AGENTS, "type", request.type)
    position, first = request.position, True
    while True:
        seen = database.version(zone)
        answer, more = await database.read(zone, partial(behind, position=position, kind=request.type))
        position = answer.position
        if first or answer.agents or answer.deleted_ids:
            yield answer
        first = False
        if not more:
            await database.changed(zone, seen, _PATIENCE)


def behind(session: Session, position: int, kind: int) -> tuple[pb.WatchAgentsResponse, bool]:
    """Return what happened after `position` to agents of a type (0: any), and whether there is more.

    Raises RevisionFuture.
    """
    table, agents = AGENT_CHANGES, schema.AGENTS.table
    chosen = (
        sa.select(table.c.agent_id, table.c.position, table.c.deleted)
        .where(table.c.zone == session.zone, table.c.position > position)
        .order_by(table.c.position)
        .limit(AT_ONCE)
    )
    changes = session.connection.execute(chosen).all()
    if not changes and position > last(session):
        raise RevisionFuture(f"no agent changed at position {position} yet", revision=position)
    made = pb.WatchAgentsResponse(position=changes[-1].position if changes else position)
    changed = [id_ for id_, _, deleted in changes if not deleted]
    found = {one.id: one for one in rows.select(session, schema.AGENTS, agents.c.id.in_(changed))} if changed else {}
    for id_, _, deleted in changes:
        if deleted:
            made.deleted_ids.append(id_)
        elif id_ in found and kind in (0, found[id_].type):
            made.agents.append(found[id_])
    return made, len(changes) == AT_ONCE


def last(session: Session) -> int:
    """Return the position of the zone's newest change; 0 before the first."""
    newest = sa.select(sa.func.max(AGENT_CHANGES.c.position)).where(AGENT_CHANGES.c.zone == session.zone)
    return session.connection.scalar(newest) or 0
