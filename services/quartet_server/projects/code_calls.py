"""Calls about chunks of code: indexing them, finding them by meaning or by name, a map of all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from quartet.projects.v1 import code_calls_pb2 as pb
from quartet.projects.v1 import memory_pb2

from quartet_server.projects import fields, schema
from quartet_server.projects.calls import SERVICE, Calls, Context
from quartet_server.projects.unit import Unit
from quartet_server.projects.writers import CODE_CHUNKS
from quartet_server.records import documents, rows, vectors
from quartet_server.records.contract import Session
from quartet_server.records.lookups import check_batch

LISTED = fields.without(schema.CODE_CHUNKS, "embedding")
"""Chunks as lists and searches have them."""
_TABLE = schema.CODE_CHUNKS.table
_BY_PLACE = (_TABLE.c.file, _TABLE.c.start_line, _TABLE.c.id)
_AT_ONCE = 500  # rows named in one statement


class CodeCalls(Calls):
    """Calls about chunks of code."""

    async def ListCodeChunks(self, request: pb.ListCodeChunksRequest, context: Context) -> pb.ListCodeChunksResponse:
        """Read a page of chunks, without their embeddings."""
        equal = fields.equal(schema.CODE_CHUNKS, request, ("project_id", "file", "language", "chunk_type", "hash"))

        def work(session: Session) -> pb.ListCodeChunksResponse:
            found, token = fields.page(session, LISTED, request, equal, SERVICE + "ListCodeChunks")
            return pb.ListCodeChunksResponse(code_chunks=found, next_page_token=token)

        return await self.read(work)

    async def IndexCodeChunks(self, request: pb.IndexCodeChunksRequest, context: Context) -> pb.IndexCodeChunksResponse:
        """Store what files were cut into, except what is there."""
        fields.needed(request, "project_id")
        check_batch("chunks", len(request.chunks))
        return await self.write(
            "IndexCodeChunks", request, pb.IndexCodeChunksResponse, lambda unit: index(unit, request)
        )

    async def SearchCode(self, request: pb.SearchCodeRequest, context: Context) -> pb.SearchCodeResponse:
        """Find code by what it means."""
        fields.needed(request, "project_id")
        limit = fields.limited(request.limit, 10)
        equal = fields.equal(schema.CODE_CHUNKS, request, ("project_id", "language", "chunk_type"))
        where = [_TABLE.c[name] == value for name, value in equal.items()]
        if request.file_prefix:
            where.append(beginning(request.file_prefix))

        def work(session: Session) -> pb.SearchCodeResponse:
            if not request.vector:
                found = rows.select(session, LISTED, *where, order=_BY_PLACE, limit=limit)
                matches = [pb.CodeMatch(chunk=one) for one in found]
            else:
                near = vectors.nearest(session, LISTED, "embedding", request.vector, k=limit, conditions=where)
                least = request.min_score if request.HasField("min_score") else -2.0
                matches = [
                    pb.CodeMatch(chunk=one, score=1 - distance) for one, distance in near if 1 - distance >= least
                ]
            return pb.SearchCodeResponse(matches=fields.fitting(matches, pb.CodeMatch.ByteSize))

        return await self.read(work)

    async def FindSymbol(self, request: pb.FindSymbolRequest, context: Context) -> pb.FindSymbolResponse:
        """Find where something is defined."""
        fields.needed(request, "project_id", "symbol")
        limit = fields.limited(request.limit, 100)
        return await self.read(lambda session: symbol(session, request, limit))

    async def DeleteFileChunks(
        self, request: pb.DeleteFileChunksRequest, context: Context
    ) -> pb.DeleteFileChunksResponse:
        """Delete what is known of a file."""
        fields.needed(request, "project_id", "file")

        def work(unit: Unit) -> pb.DeleteFileChunksResponse:
            mine = _of(unit.session, request.project_id, _TABLE.c.file == request.file)
            done = unit.session.connection.execute(_TABLE.delete().where(mine))
            return pb.DeleteFileChunksResponse(deleted=done.rowcount)

        return await self.write("DeleteFileChunks", request, pb.DeleteFileChunksResponse, work)

    async def RepoMap(self, request: pb.RepoMapRequest, context: Context) -> pb.RepoMapResponse:
        """Read files and what is defined in them."""
        fields.needed(request, "project_id")
        limit = fields.limited(request.limit, 100)
        return await self.read(lambda session: repo_map(session, request, limit))


def index(unit: Unit, request: pb.IndexCodeChunksRequest) -> pb.IndexCodeChunksResponse:
    """Store chunks that are not there, by file and hash. Raises FieldInvalid, RecordExists."""
    session, made, kept = unit.session, pb.IndexCodeChunksResponse(), set[str]()
    there = _there(session, request.project_id, sorted({one.file for one in request.chunks}))
    for place, given in enumerate(request.chunks):
        chunk = memory_pb2.CodeChunk()
        chunk.CopyFrom(given)
        chunk.project_id = request.project_id
        CODE_CHUNKS.fill(unit, chunk)
        known = there.get((chunk.file, chunk.hash))
        if known is None:
            stored = CODE_CHUNKS.create(unit, chunk, f"chunks[{place}]")
            there[chunk.file, chunk.hash] = (stored.id, stored.start_line, stored.end_line)
            made.results.add(id=stored.id)
            made.created += 1
            kept.add(stored.id)
            continue
        id_, *lines = known
        if lines != [chunk.start_line, chunk.end_line] and id_ not in kept:
            moved = memory_pb2.CodeChunk(id=id_, start_line=chunk.start_line, end_line=chunk.end_line)
            CODE_CHUNKS.check(unit, moved, None, ())
            rows.update(session, schema.CODE_CHUNKS, moved, ("start_line", "end_line"))
        made.results.add(id=id_, duplicate=True)
        made.duplicates += 1
        kept.add(id_)
    if request.replace_files:
        gone = [id_ for id_, _, _ in there.values() if id_ not in kept]
        for start in range(0, len(gone), _AT_ONCE):
            some = _TABLE.c.id.in_(gone[start : start + _AT_ONCE])
            session.connection.execute(_TABLE.delete().where(_of(session, request.project_id, some)))
        made.deleted = len(gone)
    return made


def symbol(session: Session, request: pb.FindSymbolRequest, limit: int) -> pb.FindSymbolResponse:
    """Return chunks that define a symbol. A text search narrows down what is read of the lists."""
    start = documents.dump(request.symbol)
    near = _TABLE.c.symbols.contains(start[:-1] if request.prefix else start, autoescape=True)
    chosen = sa.select(_TABLE.c.id, _TABLE.c.symbols).where(_of(session, request.project_id, near)).order_by(*_BY_PLACE)
    ids: list[str] = []
    for id_, listed in session.connection.execute(chosen):
        names = json.loads(listed)
        if request.symbol in names or (request.prefix and any(one.startswith(request.symbol) for one in names)):
            ids.append(id_)
            if len(ids) == limit:
                break
    found = rows.select(session, LISTED, _TABLE.c.id.in_(ids), order=_BY_PLACE) if ids else []
    return pb.FindSymbolResponse(chunks=fields.fitting(found, memory_pb2.CodeChunk.ByteSize))


def repo_map(session: Session, request: pb.RepoMapRequest, limit: int) -> pb.RepoMapResponse:
    """Return files with what is defined in them, by path."""
    where = [_of(session, request.project_id)]
    for name, condition in (("file_prefix", beginning), ("after_file", _TABLE.c.file.__gt__)):
        if value := getattr(request, name):
            where.append(condition(str(fields.column(schema.CODE_CHUNKS, "file", value))))
    files = sa.select(_TABLE.c.file).where(*where).distinct().order_by(_TABLE.c.file).limit(limit + 1)
    names = list(session.connection.scalars(files))
    made = pb.RepoMapResponse(more=len(names) > limit)
    columns = (_TABLE.c.file, _TABLE.c.language, _TABLE.c.end_line, _TABLE.c.start_line, _TABLE.c.chunk_type)
    chosen = sa.select(*columns, _TABLE.c.symbols).where(
        _of(session, request.project_id, _TABLE.c.file.in_(names[:limit]))
    )
    maps: list[pb.FileMap] = []
    for row in session.connection.execute(chosen.order_by(*_BY_PLACE)):
        if not maps or maps[-1].file != row.file:
            maps.append(pb.FileMap(file=row.file, language=row.language))
        maps[-1].chunks += 1
        maps[-1].lines = max(maps[-1].lines, row.end_line)
        for name in json.loads(row.symbols or "[]"):
            maps[-1].symbols.add(name=name, chunk_type=row.chunk_type, line=row.start_line)
    made.files.extend(fields.fitting(maps, pb.FileMap.ByteSize))
    made.more = made.more or len(made.files) < len(maps)
    return made


def beginning(prefix: str) -> sa.ColumnElement[bool]:
    """Return the condition that a chunk's file begins with `prefix`, exactly."""
    said = fields.column(schema.CODE_CHUNKS, "file", prefix)
    return sa.func.substr(_TABLE.c.file, 1, len(prefix)) == said


def _there(session: Session, project: str, files: Sequence[str]) -> dict[tuple[str, str], tuple[str, int, int]]:
    """Return id, first and last line of the chunks of files, by file and hash."""
    columns = (_TABLE.c.file, _TABLE.c.hash, _TABLE.c.id, _TABLE.c.start_line, _TABLE.c.end_line)
    found: dict[tuple[str, str], tuple[str, int, int]] = {}
    for start in range(0, len(files), _AT_ONCE):
        some = _TABLE.c.file.in_(files[start : start + _AT_ONCE])
        for file, hash_, *rest in session.connection.execute(sa.select(*columns).where(_of(session, project, some))):
            found[file, hash_] = (rest[0], rest[1], rest[2])
    return found


def _of(session: Session, project: str, *where: Any) -> sa.ColumnElement[bool]:
    return sa.and_(_TABLE.c.zone == session.zone, _TABLE.c.project_id == project, *where)
