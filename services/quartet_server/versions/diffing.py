"""DiffVersions: attributes by name, text by line."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.v1 import entries_pb2
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.errors import ContentAbsent, ContentLost, FieldInvalid, VersionNotFound
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions.archive import Archive, Generation
from quartet_server.versions.library import Library
from quartet_server.versions.reading import label, load
from quartet_server.versions.textdiff import unified

LARGEST = 1 << 20
"""Bytes of a text that is compared."""
LINES = 50_000
TOLD = 1 << 20
"""Bytes of a diff."""
CONTEXT = 100
_FEW = 3


async def diff_versions(library: Library, zone: str, request: pb.DiffVersionsRequest) -> pb.DiffVersionsResponse:
    """Tell what is not the same in two versions of a file."""
    context = request.context if request.HasField("context") else _FEW
    if not 0 <= context <= CONTEXT:
        raise FieldInvalid.of("context", f"0 to {CONTEXT} lines are taken")
    snapshot = Snapshot(library.tree.store)
    found = await library.subjects(zone, snapshot).find(request.file)
    archive = library.archive(zone, snapshot)
    new = await _one(archive, found.ino, request.to_generation, None, found.label)
    old = await _one(archive, found.ino, request.from_generation, new.number, found.label)
    answer = pb.DiffVersionsResponse(to=new.message(), attributes=_changes(old, new))
    getattr(answer, "from").CopyFrom(old.message())
    await _compare(library, zone, found.label, old, new, context, answer)
    return answer


async def _one(archive: Archive, ino: int, number: int, below: int | None, name: str) -> Generation:
    """Return a generation; of 0, the newest one below another."""
    if number:
        return await archive.get(ino, number, name)
    page, _ = await archive.page(ino, below, 1)
    if not page:
        raise VersionNotFound(f"{name} has no version before that", ino=ino, generation=max((below or 1) - 1, 0))
    return page[0]


def _changes(old: Generation, new: Generation) -> list[pb.AttributeChange]:
    """Return the attributes that are not the same, in the order of their fields."""
    found = []
    before, after = old.inode.attributes, new.inode.attributes
    for field in entries_pb2.Attributes.DESCRIPTOR.fields:
        pair = [_text(one, field.name) for one in (before, after)]
        if pair[0] != pair[1]:
            found.append(pb.AttributeChange(name=field.name, before=pair[0], after=pair[1]))
    if old.inode.writer != new.inode.writer:
        found.append(pb.AttributeChange(name="writer", before=old.inode.writer, after=new.inode.writer))
    return found


def _text(attributes: entries_pb2.Attributes, name: str) -> str:
    value = getattr(attributes, name)
    if isinstance(value, Timestamp):
        return value.ToJsonString() if attributes.HasField(name) else ""  # type: ignore[arg-type]
    if isinstance(value, bytes):
        return value.hex()
    if name == "mode":
        return f"{value:o}"
    return str(value)


async def _compare(
    library: Library,
    zone: str,
    name: str,
    old: Generation,
    new: Generation,
    context: int,
    answer: pb.DiffVersionsResponse,
) -> None:
    """Compare the bytes."""
    before, after = old.inode.attributes, new.inode.attributes
    try:
        bodies = [await load(library, zone, label(name, one), one) for one in (old, new)]
        if bodies[0].digest == bodies[1].digest:
            answer.content = pb.CONTENT_CHANGE_NONE
            return
        if max(before.size, after.size) > LARGEST:
            answer.content = pb.CONTENT_CHANGE_TOO_LARGE
            return
        texts = []
        for one, body in zip((old, new), bodies, strict=True):
            async with aclosing(library.contents.read(zone, label(name, one), body)) as pieces:
                texts.append(b"".join([piece async for piece in pieces]))
    except (ContentAbsent, ContentLost):
        answer.content = pb.CONTENT_CHANGE_UNKNOWN
        return
    if not all(map(_is_text, texts)):
        answer.content = pb.CONTENT_CHANGE_BINARY
        return
    if max(text.count(b"\n") for text in texts) > LINES:
        answer.content = pb.CONTENT_CHANGE_TOO_LARGE
        return
    names = [f"{name}\t{one.number}" for one in (old, new)]
    loop = asyncio.get_running_loop()
    told = await loop.run_in_executor(None, unified, texts[0], texts[1], names[0], names[1], context, TOLD)
    answer.content = pb.CONTENT_CHANGE_TEXT
    answer.unified, answer.truncated, answer.coarse = told.text, told.truncated, told.coarse
    answer.added, answer.removed = told.added, told.removed


def _is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
