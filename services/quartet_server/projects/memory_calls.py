"""Calls about episodes: reading one counts, searching finds by meaning, pruning forgets the least important."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.projects.v1 import episode_calls_pb2 as pb
from quartet.projects.v1 import memory_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.projects import fields, schema
from quartet_server.projects.calls import SERVICE, Calls, Context
from quartet_server.projects.unit import Unit
from quartet_server.projects.writers import EPISODES
from quartet_server.records import rows, vectors
from quartet_server.records.contract import Session
from quartet_server.records.floats import finite

LISTED = fields.without(schema.EPISODES, "embedding")
"""Episodes as lists and searches have them."""
_TABLE = schema.EPISODES.table
_BEST = (_TABLE.c.importance.desc(), _TABLE.c.access_count.desc(), _TABLE.c.created_at.desc(), _TABLE.c.id.desc())
_AT_ONCE = 500  # rows deleted with one statement


class MemoryCalls(Calls):
    """Calls about episodes."""

    async def GetEpisode(self, request: pb.GetEpisodeRequest, context: Context) -> memory_pb2.Episode:
        """Read an episode, and count it. The count is no change of the record: its etag stays."""

        def work(unit: Unit) -> memory_pb2.Episode:
            found = rows.fetch(unit.session, schema.EPISODES, request.id)
            mine = sa.and_(_TABLE.c.zone == unit.session.zone, _TABLE.c.id == found.id)
            counted = {"access_count": _TABLE.c.access_count + 1, "last_accessed_at": unit.session.now}
            unit.session.connection.execute(_TABLE.update().where(mine).values(counted))
            return rows.fetch(unit.session, schema.EPISODES, request.id)

        return await self.write("GetEpisode", request, memory_pb2.Episode, work)

    async def ListEpisodes(self, request: pb.ListEpisodesRequest, context: Context) -> pb.ListEpisodesResponse:
        """Read a page of episodes, without their embeddings."""
        equal = fields.equal(schema.EPISODES, request, ("project_id", "type", "task_id", "agent_id"))

        def work(session: Session) -> pb.ListEpisodesResponse:
            found, token = fields.page(session, LISTED, request, equal, SERVICE + "ListEpisodes")
            return pb.ListEpisodesResponse(episodes=found, next_page_token=token)

        return await self.read(work)

    async def StoreEpisode(self, request: pb.StoreEpisodeRequest, context: Context) -> memory_pb2.Episode:
        """Store something that happened."""
        return await self.write(
            "StoreEpisode",
            request,
            memory_pb2.Episode,
            lambda unit: EPISODES.create(unit, request.episode, "episode"),
        )

    async def SearchEpisodes(self, request: pb.SearchEpisodesRequest, context: Context) -> pb.SearchEpisodesResponse:
        """Find episodes by what they mean, or by their importance."""
        fields.needed(request, "project_id")
        limit = fields.limited(request.limit, 10)
        equal = fields.equal(schema.EPISODES, request, ("project_id", "type", "task_id", "agent_id"))
        where = [_TABLE.c[name] == value for name, value in equal.items()]

        def work(session: Session) -> pb.SearchEpisodesResponse:
            if not request.vector:
                most = rows.select(session, LISTED, *where, order=_BEST, limit=limit)
                matches = [pb.EpisodeMatch(episode=one) for one in most]
            else:
                near = vectors.nearest(session, LISTED, "embedding", request.vector, k=limit, conditions=where)
                least = request.min_score if request.HasField("min_score") else -2.0
                matches = [
                    pb.EpisodeMatch(episode=one, score=1 - distance) for one, distance in near if 1 - distance >= least
                ]
            return pb.SearchEpisodesResponse(matches=fields.fitting(matches, pb.EpisodeMatch.ByteSize))

        return await self.read(work)

    async def PruneEpisodes(self, request: pb.PruneEpisodesRequest, context: Context) -> pb.PruneEpisodesResponse:
        """Forget the least important episodes."""
        return await self.write("PruneEpisodes", request, pb.PruneEpisodesResponse, lambda unit: prune(unit, request))


def prune(unit: Unit, request: pb.PruneEpisodesRequest) -> pb.PruneEpisodesResponse:
    """Delete what is beyond the most important, or below an importance. Raises FieldInvalid."""
    fields.needed(request, "project_id")
    if request.keep < 0:
        raise FieldInvalid.of("keep", "must not be negative")
    if not request.keep and not request.HasField("below_importance"):
        raise FieldInvalid.of("keep", "either this or below_importance says what is to be forgotten")
    table, connection = _TABLE, unit.session.connection
    mine = sa.and_(table.c.zone == unit.session.zone, table.c.project_id == request.project_id)
    total = connection.scalar(sa.select(sa.func.count()).where(mine)) or 0
    gone: dict[str, None] = {}
    if request.keep:
        beyond = sa.select(table.c.id).where(mine).order_by(*_BEST).offset(request.keep)
        gone.update(dict.fromkeys(connection.scalars(beyond)))
    if request.HasField("below_importance"):
        least = finite(request.below_importance, "below_importance")
        gone.update(dict.fromkeys(connection.scalars(sa.select(table.c.id).where(mine, table.c.importance < least))))
    ids = [] if request.dry_run else list(gone)
    for start in range(0, len(ids), _AT_ONCE):
        some = table.c.id.in_(ids[start : start + _AT_ONCE])
        connection.execute(table.delete().where(table.c.zone == unit.session.zone, some))
    return pb.PruneEpisodesResponse(pruned=len(gone), kept=total - len(gone))
