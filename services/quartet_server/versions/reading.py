"""ReadVersion: the bytes of a version."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.errors import FieldInvalid, RangeInvalid
from quartet_server.files.contents.body import Body
from quartet_server.files.paths import Path
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions.archive import Generation
from quartet_server.versions.library import Library


async def read_version(
    library: Library, zone: str, request: pb.ReadVersionRequest
) -> AsyncGenerator[pb.ReadVersionResponse, None]:
    """Yield a stretch of a version, the version itself with the first piece."""
    for field in ("offset", "length"):
        if getattr(request, field) < 0:
            raise FieldInvalid.of(field, "must not be negative")
    snapshot = Snapshot(library.tree.store)
    found = await library.subjects(zone, snapshot).find(request.file)
    one = await library.archive(zone, snapshot).get(found.ino, request.generation, found.label)
    path = label(found.label, one)
    body = await load(library, zone, path, one)
    if request.offset > body.size:
        raise RangeInvalid(f"{path} has {body.size} bytes", path=str(path), offset=request.offset, size=body.size)
    first: pb.ReadVersionResponse | None = pb.ReadVersionResponse(version=one.message())
    pieces = library.contents.read(zone, path, body, request.offset, request.length or None)
    async with aclosing(pieces):
        async for piece in pieces:
            if first is not None:
                first.data = piece
                yield first
                first = None
            else:
                yield pb.ReadVersionResponse(data=piece)
    if first is not None:
        yield first


async def load(library: Library, zone: str, path: Path, one: Generation) -> Body:
    """Return what a version consists of. Raises ContentAbsent, ContentLost."""
    return await library.contents.load(zone, path, one.inode)


def label(name: str, one: Generation) -> Path:
    """Return what errors call a version of a file."""
    return Path((f"{name.lstrip('/')} (version {one.number})",), (b"",))
