"""ReadStream and BatchRead: contents as one revision shows them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import ContentLost, FieldInvalid, LimitReached, QuartetError, RangeInvalid
from quartet_server.files import paths, records
from quartet_server.files.contents.body import Body
from quartet_server.files.contents.contents import Contents
from quartet_server.files.contents.target import demand_file
from quartet_server.files.paths import Path
from quartet_server.files.reading import count
from quartet_server.files.tokens import MESSAGE
from quartet_server.files.tree import Tree
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address


async def read_stream(
    tree: Tree, contents: Contents, zone: str, request: pb.ReadStreamRequest
) -> AsyncGenerator[pb.ReadStreamResponse, None]:
    """Yield a stretch of a file, the entry with the first piece."""
    path = paths.parse(request.path)
    for field in ("offset", "length", "revision"):
        if getattr(request, field) < 0:
            raise FieldInvalid.of(field, "must not be negative")
    snapshot = tree.snapshot(serializable=request.serializable, revision=request.revision)
    resolver = await tree.resolver(zone, snapshot)
    walk = await resolver.walk(path)
    if request.follow:
        walk = (await resolver.past_links([walk]))[0]
    path = walk.demand().path
    demand_file(walk)
    inode = (await tree.inodes(resolver, zone, [walk.ino]))[walk.ino]
    records.require(path, records.etag(walk.ino, inode.gen), request.if_match, "")
    body = await contents.load(zone, path, inode)
    if request.offset > body.size:
        raise RangeInvalid(f"{path} has {body.size} bytes", path=str(path), offset=request.offset, size=body.size)
    entry = records.entry(str(path), walk.steps[-1].name, walk.ino, inode, snapshot.revision)
    first: pb.ReadStreamResponse | None = pb.ReadStreamResponse(entry=entry)
    async with aclosing(contents.read(zone, path, body, request.offset, request.length or None)) as pieces:
        async for piece in pieces:
            if first is not None:
                first.data = piece
                yield first
                first = None
            else:
                yield pb.ReadStreamResponse(data=piece)
    if first is not None:
        yield first


async def batch_read(tree: Tree, contents: Contents, zone: str, request: pb.BatchReadRequest) -> pb.BatchReadResponse:
    """Read many small files at one revision, as many as fit into the answer."""
    count("paths", len(request.paths))
    if request.revision < 0:
        raise FieldInvalid.of("revision", "must not be negative")
    answer = pb.BatchReadResponse(results=[pb.ReadResult() for _ in request.paths])
    snapshot = tree.snapshot(serializable=request.serializable, revision=request.revision)
    resolver = await tree.resolver(zone, snapshot)
    parsed: dict[int, Path] = {}
    for position, text in enumerate(request.paths):
        try:
            parsed[position] = paths.parse(text)
        except QuartetError as error:
            answer.results[position].failure.CopyFrom(records.failure(error))
    found = await resolver.walks(list(parsed.values()))
    walks = dict(zip(parsed, await resolver.past_links(found) if request.follow else found, strict=True))
    inodes = await tree.inodes(resolver, zone, list({walk.ino for walk in walks.values() if walk.complete}))
    bodies: dict[int, Body] = {}
    used = answer.ByteSize()
    for position, walk in walks.items():
        result = answer.results[position]
        try:
            demand_file(walk.demand())
            inode = inodes[walk.ino]
            entry = records.entry(str(walk.path), walk.steps[-1].name, walk.ino, inode, snapshot.revision)
            if used + entry.ByteSize() + inode.attributes.size + 64 > MESSAGE:
                raise LimitReached(f"{walk.path} does not fit into the answer any more", path=str(walk.path))
            bodies[position] = await contents.load(zone, walk.path, inode)
            result.entry.CopyFrom(entry)
            used += entry.ByteSize() + inode.attributes.size + 64
        except QuartetError as error:
            result.failure.CopyFrom(records.failure(error))
            used += result.ByteSize()
    stores: dict[int, list[Digest]] = {}
    for body in bodies.values():
        stores.setdefault(body.store, []).extend(body.chunks)
    chunks: dict[int, Mapping[Digest, bytes | QuartetError]] = {}
    for store, wanted in stores.items():
        try:
            chunks[store] = await contents.blobs.get_many(address(zone, store), wanted, MESSAGE)
        except QuartetError as error:
            if not store:
                raise
            chunks[store] = dict.fromkeys(wanted, error)  # a mounted store that does not answer fails its own files
    for position, body in bodies.items():
        pieces = [chunks[body.store][chunk] for chunk in body.chunks]
        if lost := [piece for piece in pieces if isinstance(piece, QuartetError)]:
            gone = ContentLost(f"bytes of {walks[position].path} are gone: {lost[0].message}")
            answer.results[position].CopyFrom(pb.ReadResult(failure=records.failure(gone)))
        else:
            answer.results[position].data = body.inline or b"".join(
                piece for piece in pieces if isinstance(piece, bytes)
            )
    answer.revision = snapshot.revision
    return answer
