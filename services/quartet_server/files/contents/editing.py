"""Truncate: a file gets another length."""

from __future__ import annotations

from dataclasses import replace

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.files import records
from quartet_server.files.contents.appending import file_path, turn
from quartet_server.files.contents.body import NOTHING, Body, check_size
from quartet_server.files.contents.contents import Contents
from quartet_server.files.contents.target import OVERWRITE, Target, demand_file, inode_of, placed
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot

FILLED = 1 << 30
"""The most zeros that one Truncate adds."""


async def truncate(
    tree: Tree, contents: Contents, zone: str, request: pb.TruncateRequest, claim: Claim | None
) -> pb.Entry:
    """Give a file another length."""
    path = file_path(request.path)
    if request.size < 0:
        raise FieldInvalid.of("size", "must not be negative")
    check_size(request.size, path)
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand()
        demand_file(walk)
        inode, revision = await inode_of(zone, walk, snapshot)
        assert inode is not None
        records.require(path, records.etag(walk.ino, inode.gen), request.if_match, request.if_none_match)
        body = NOTHING if not request.size else await _resized(contents, zone, walk, inode, request.size)
        content = await contents.refer(zone, body)
        target = Target(path, None, OVERWRITE, "", "")
        return await placed(
            tree, zone, snapshot, walk, (inode, revision), lambda inode, now: target.settle(inode, body, content, now)
        )

    async with tree.mutator.gates.passed([turn(zone, path)]):
        entry, revision = await write(tree, zone, request, pb.Entry, build, claim)
    entry.revision = revision
    return entry


async def _resized(contents: Contents, zone: str, walk: Walk, inode: storage_pb2.Inode, size: int) -> Body:
    before = await contents.load(zone, walk.path, inode)
    if not before.chunks:
        before = replace(before, store=walk.mount)
    if size - before.size > FILLED:
        raise FieldInvalid.of("size", f"{size - before.size} zeros would be added, at most {FILLED} at once")
    return await contents.resized(zone, walk.path, before, size)
