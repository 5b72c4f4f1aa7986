"""ListVersions and ListDeleted: pages by key."""

from __future__ import annotations

import base64
import binascii

from google.protobuf.message import DecodeError
from quartet.versions.storage.v1 import storage_pb2
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.errors import FieldInvalid, FileNotFound, PageTokenInvalid
from quartet_server.files import tokens
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions import keys
from quartet_server.versions.library import Library
from quartet_server.versions.subject import resolved


async def list_versions(library: Library, zone: str, request: pb.ListVersionsRequest) -> pb.ListVersionsResponse:
    """Read a page of a file's versions, the newest first."""
    size = tokens.page_size(request.page_size)
    if request.resource_type not in pb.ResourceType.values():
        raise FieldInvalid.of("resource_type", "is not a known type")
    checksum = tokens.checksum(zone, request)
    token = _decode(request.page_token, checksum)
    snapshot = Snapshot(library.tree.store)
    found = await library.subjects(zone, snapshot).find(request.file)
    if request.page_token and token.ino != found.ino:
        raise PageTokenInvalid(f"another file is at {found.label} now", path=found.label)
    answer = pb.ListVersionsResponse(ino=found.ino, path=found.path or "")
    archive = library.archive(zone, snapshot)
    below = token.generation if request.page_token else None
    page, more = await archive.page(found.ino, below, size)
    if found.path is None and below is None and not page:
        raise FileNotFound(f"{found.label} does not exist", path=found.label)
    told, room = 0, tokens.MESSAGE
    for one in page:
        version = one.message()
        room -= version.ByteSize() + 8
        if room < 0:
            more = True
            break
        told = one.number
        if request.resource_type in (pb.RESOURCE_TYPE_UNSPECIFIED, version.resource_type):
            answer.versions.append(version)
    if more:
        token = storage_pb2.PageToken(ino=found.ino, generation=told, checksum=checksum)
        answer.next_page_token = tokens.encode(token)
    elif page:
        answer.losses.gaps.extend(await archive.gaps(page[-1]))
    answer.revision = snapshot.revision
    return answer


async def list_deleted(library: Library, zone: str, request: pb.ListDeletedRequest) -> pb.ListDeletedResponse:
    """Read a page of what was deleted from a directory."""
    size = tokens.page_size(request.page_size)
    checksum = tokens.checksum(zone, request)
    token = _decode(request.page_token, checksum)
    snapshot = Snapshot(library.tree.store)
    walk = (await resolved(library.tree, zone, request.path, snapshot)).demand_directory()
    if request.page_token and token.ino != walk.ino:
        raise PageTokenInvalid(f"another directory is at {walk.path} now", path=str(walk.path))
    prefix = keys.gone(zone, walk.ino)
    start = prefix + token.last + b"\0" if token.last else prefix
    found = await snapshot.scan(start, ops.prefix_end(prefix), size)
    answer = pb.ListDeletedResponse(revision=snapshot.revision)
    above = "" if walk.path.is_root else str(walk.path)
    for kv in found.kvs:
        gone = storage_pb2.Gone.FromString(kv.value)
        name, ino = kv.key[len(prefix) : -17].decode(), int.from_bytes(kv.key[-8:], "big")
        one = pb.DeletedFile(ino=ino, path=f"{above}/{name}", generation=gone.generation, size=gone.size)
        one.delete_time.CopyFrom(gone.time)
        answer.files.append(one)
    if found.more:
        token = storage_pb2.PageToken(ino=walk.ino, last=found.kvs[-1].key[len(prefix) :], checksum=checksum)
        answer.next_page_token = tokens.encode(token)
    return answer


def _decode(text: str, checksum: bytes) -> storage_pb2.PageToken:
    """Return the token that `text` is; an empty one for an empty text. Raises PageTokenInvalid."""
    if not text:
        return storage_pb2.PageToken()
    try:
        token = storage_pb2.PageToken.FromString(base64.urlsafe_b64decode(text.encode()))
    except (binascii.Error, DecodeError, ValueError):
        raise PageTokenInvalid("the page token is not one of ours") from None
    if token.checksum != checksum:
        raise PageTokenInvalid("the page token belongs to another request")
    return token
