"""StatEntry, ListEntries and ReadEntry: any path of a snapshot, as it was."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing

from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb

from quartet_server.errors import (
    BlobNotFound,
    ContentAbsent,
    FieldInvalid,
    IsADirectory,
    LimitReached,
    NotADirectory,
    NotAFile,
    RangeInvalid,
)
from quartet_server.files import paths, records, tokens
from quartet_server.files.contents.body import Body, chunks_of
from quartet_server.files.contents.contents import Contents
from quartet_server.files.paths import Path
from quartet_server.objects.contract import BlobStore
from quartet_server.snapshots import log, nodes, paging
from quartet_server.snapshots.diff import entry
from quartet_server.snapshots.directories import Directories, entries
from quartet_server.snapshots.nodes import Node
from quartet_server.snapshots.workshop import Workshop


async def stat_entry(shop: Workshop, zone: str, request: pb.StatEntryRequest) -> pb.StatEntryResponse:
    """Read one entry with its extended attributes."""
    path = below(request.path)
    _, known = await log.found(shop.tree, zone, request.snapshot)
    node = await shop.directories.node(zone, known.root, path)
    answer = pb.StatEntryResponse(entry=entry(str(path), node), totals=node.totals.message if node.totals else None)
    size = 0
    for name in sorted(node.xattrs):
        value = await value_of(shop.directories.blobs, zone, node.xattrs[name])
        size += len(name) + len(value) + 16
        if size > tokens.MESSAGE - 16_384:
            raise LimitReached("the attributes do not fit into one answer of 4 MiB", limit=4 << 20)
        answer.xattrs.append(files_pb2.Xattr(name=name, value=value))
    return answer


async def list_entries(shop: Workshop, zone: str, request: pb.ListEntriesRequest) -> pb.ListEntriesResponse:
    """Read a page of a directory."""
    size = tokens.page_size(request.page_size)
    path = below(request.path)
    token = paging.decode(zone, request)
    _, known = await log.found(shop.tree, zone, request.snapshot)
    node = await shop.directories.node(zone, known.root, path)
    if node.type != records.DIRECTORY:
        raise NotADirectory(f"{path} is not a directory", path=str(path))
    found = await shop.directories.get(zone, node.digest)
    by_name = sorted(((one.name.encode(), one) for one in entries(found)), key=lambda pair: pair[0])
    rest = itertools.dropwhile(lambda pair: pair[0] < token.next, by_name)
    page = list(itertools.islice(rest, size + 1))
    within = [one.digest for _, one in page[:size] if one.type == records.DIRECTORY]
    described = {
        digest: nodes.read_directory("", digest, directory)
        async for digest, directory in shop.directories.many(zone, within)
    }
    answer = pb.ListEntriesResponse()
    base = "" if path.is_root else str(path)
    used = 0
    for name, one in page:
        if one.type == records.DIRECTORY and one.digest in described:
            one = Node(one.name, one.type, described[one.digest].attributes, one.digest)
        told = entry(f"{base}/{one.name}", one)
        used += told.ByteSize() + 8
        if len(answer.entries) == size or (used > tokens.MESSAGE and answer.entries):
            answer.next_page_token = paging.encode(token, name)
            break
        answer.entries.append(told)
    return answer


async def read_entry(
    shop: Workshop, contents: Contents, zone: str, request: pb.ReadEntryRequest
) -> AsyncIterator[pb.ReadEntryResponse]:
    """Yield a stretch of a file, the entry with the first piece."""
    path = below(request.path)
    for field in ("offset", "length"):
        if getattr(request, field) < 0:
            raise FieldInvalid.of(field, "must not be negative")
    _, known = await log.found(shop.tree, zone, request.snapshot)
    node = await shop.directories.node(zone, known.root, path)
    if node.type == records.DIRECTORY:
        raise IsADirectory(f"{path} is a directory", path=str(path))
    if node.type != records.FILE:
        raise NotAFile(f"{path} is a symbolic link", path=str(path))
    if not node.stored:
        raise ContentAbsent(f"the bytes of {path} were never written", path=str(path))
    if request.offset > node.digest.size:
        raise RangeInvalid(
            f"{path} has {node.digest.size} bytes", path=str(path), offset=request.offset, size=node.digest.size
        )
    body = await body_of(shop.directories, zone, node)
    first = pb.ReadEntryResponse(entry=entry(str(path), node))
    async with aclosing(contents.read(zone, path, body, request.offset, request.length or None)) as pieces:
        async for piece in pieces:
            first.data = piece
            yield first
            first = pb.ReadEntryResponse()
    if first.HasField("entry"):
        yield first


def below(text: str) -> Path:
    """Return a path below the top of a snapshot; empty means the top. Raises PathInvalid."""
    return paths.parse(text or "/")


async def body_of(read: Directories, zone: str, node: Node) -> Body:
    """Return what a file consists of: its one blob, or chunks. Raises SnapshotDamaged."""
    if node.digest.is_empty:
        return Body(node.digest)
    if node.chunks is None:
        return Body(node.digest, b"", (node.digest,))
    try:
        listed = await read.blobs.get(zone, node.chunks)
    except BlobNotFound as error:
        raise nodes.damaged(f"the list of a file's chunks is gone: {node.chunks}") from error
    return Body(node.digest, b"", chunks_of(files_storage.ChunkList.FromString(listed)))


async def value_of(blobs: BlobStore, zone: str, value: nodes.Value) -> bytes:
    """Return the value of an extended attribute. Raises SnapshotDamaged."""
    if isinstance(value, bytes):
        return value
    try:
        return await blobs.get(zone, value)
    except BlobNotFound as error:
        raise nodes.damaged(f"the value of an extended attribute is gone: {value}") from error
