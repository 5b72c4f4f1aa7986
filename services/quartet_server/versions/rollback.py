"""Rollback: a write whose content is an old version's."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.files.v1 import entries_pb2
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.errors import ContentLost, IsADirectory
from quartet_server.files import paths
from quartet_server.files.contents.body import digest_of
from quartet_server.files.contents.target import UPSERT, Target, inode_of, placed
from quartet_server.files.paths import Path
from quartet_server.files.resolve import Resolver
from quartet_server.files.writing import write
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts import records as mounts
from quartet_server.objects.mounts.addresses import address
from quartet_server.versions.archive import Generation
from quartet_server.versions.library import Library
from quartet_server.versions.reading import label

_ASKED = 1000  # digests in one question


async def rollback(library: Library, zone: str, request: pb.RollbackRequest, claim: Claim | None) -> entries_pb2.Entry:
    """Write a file with the content of an old version.

    The store is asked for the version's blobs first: that saves them from the collector for as long as it takes until the
    file refers to them again.
    """
    path = paths.parse(request.path)
    if path.is_root:
        raise IsADirectory("/ is a directory", path="/")
    await library.tree.ensure(zone)
    chosen: Generation | None = None
    target = Target(path, None, UPSERT, request.if_match, request.if_none_match)

    async def build(snapshot: Snapshot) -> Plan[entries_pb2.Entry]:
        nonlocal chosen
        walk = await Resolver(zone, snapshot).walk(path)
        found = await inode_of(zone, walk, snapshot)
        target.met_by(walk, found[0])
        if chosen is None:
            chosen = await _choose(library, zone, request, path)
        version = chosen.inode

        def settle(inode: files_storage.Inode, now: Timestamp) -> None:
            own = inode.attributes
            if request.attributes or found[0] is None:
                own.CopyFrom(version.attributes)
            own.mime, own.size, own.digest = version.attributes.mime, version.attributes.size, version.attributes.digest
            inode.content.CopyFrom(version.content)
            inode.content.SetInParent()
            if not request.attributes:
                own.mtime.CopyFrom(now)

        plan = await placed(library.tree, zone, snapshot, walk, found, settle)
        if version.content.store:
            plan.compares.append(await mounts.guard(snapshot, zone, version.content.store))
        return plan

    entry, revision = await write(library.tree, zone, request, entries_pb2.Entry, build, claim)
    entry.revision = revision
    return entry


async def _choose(library: Library, zone: str, request: pb.RollbackRequest, path: Path) -> Generation:
    """Return the version, its bytes saved from the collector. Raises VersionNotFound, ContentAbsent, ContentLost."""
    snapshot = Snapshot(library.tree.store)
    subject = pb.Subject(ino=request.ino) if request.ino else pb.Subject(path=request.path)
    found = await library.subjects(zone, snapshot).find(subject)
    one = await library.archive(zone, snapshot).get(found.ino, request.generation, found.label)
    name = label(found.label, one)
    digest_of(one.inode, name)
    blobs = library.contents.blobs
    content = one.inode.content
    wanted = [Digest(content.list.hash, content.list.size)] if content.HasField("list") else []
    wanted += (await library.contents.load(zone, name, one.inode)).chunks
    for i in range(0, len(wanted), _ASKED):
        if missing := await blobs.missing(address(zone, content.store), wanted[i : i + _ASKED]):
            raise ContentLost(f"bytes of {name} are gone", path=str(name), digest=str(missing[0]))
    return one
