"""Stat, BatchStat and List: entries as one revision shows them."""

from __future__ import annotations

import itertools

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid, LimitReached, PageTokenInvalid, QuartetError
from quartet_server.files import keys, paths, principals, records, tokens
from quartet_server.files.below import Below
from quartet_server.files.paths import Path
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.steps import Step
from quartet_server.files.tokens import MESSAGE, MOST
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from raftmeta.errors import Fault, MetastoreError


async def stat(tree: Tree, zone: str, request: pb.StatRequest) -> pb.Entry:
    """Read one entry."""
    path = paths.parse(request.path)
    snapshot = _snapshot(tree, request.serializable, request.revision)
    resolver = await tree.resolver(zone, snapshot)
    walk = await resolver.walk(path)
    if request.follow:
        walk = (await resolver.past_links([walk]))[0]
    walk.demand()
    image = (await tree.images(snapshot, zone, [walk.ino]))[walk.ino]
    return _entry(walk, image, snapshot.revision)


async def batch_stat(tree: Tree, zone: str, request: pb.BatchStatRequest) -> pb.BatchStatResponse:
    """Read many entries at one revision."""
    count("paths", len(request.paths))
    answer = pb.BatchStatResponse(results=[pb.StatResult() for _ in request.paths])
    snapshot = _snapshot(tree, request.serializable, request.revision)
    resolver = await tree.resolver(zone, snapshot)
    parsed: dict[int, Path] = {}
    for position, text in enumerate(request.paths):
        try:
            parsed[position] = paths.parse(text)
        except QuartetError as error:
            answer.results[position].failure.CopyFrom(records.failure(error))
    found = await resolver.walks(list(parsed.values()))
    walks = dict(zip(parsed, await resolver.past_links(found) if request.follow else found, strict=True))
    images = await tree.images(snapshot, zone, {walk.ino for walk in walks.values() if walk.complete})
    for position, walk in walks.items():
        if problem := walk.problem():
            answer.results[position].failure.CopyFrom(records.failure(problem))
        else:
            answer.results[position].entry.CopyFrom(_entry(walk, images[walk.ino], snapshot.revision))
    answer.revision = snapshot.revision
    if answer.ByteSize() > MESSAGE:
        raise LimitReached("the entries do not fit into one answer of 4 MiB", limit=4 << 20, hint="ask for fewer paths")
    return answer


async def list_directory(tree: Tree, zone: str, request: pb.ListRequest) -> pb.ListResponse:
    """Read a page of a directory, at the revision of the first page while it can be had."""
    path = paths.parse(request.path)
    tokens.page_size(request.page_size)
    if request.glob or request.type:
        Below(zone, request, tree.snapshot())  # refuses what makes no sense before anything is read
    token = tokens.decode(request.page_token, storage_pb2.PageToken, tokens.checksum(zone, request))
    if not request.page_token:
        snapshot = tree.snapshot(serializable=request.serializable)
        resolver = await tree.resolver(zone, snapshot)
        walk = await resolver.walk(path)
        if request.follow:
            walk = (await resolver.past_links([walk]))[0]
        token.ino = walk.demand_directory().ino
        if walk.path != path:
            token.path = str(walk.path)
        return await _page(tree, zone, request, walk.path, snapshot, token)
    path = paths.parse(token.path) if token.path else path
    if principals.current():
        await _hold(tree, zone, path, token)
    if not token.snapshot_lost:
        try:
            return await _page(tree, zone, request, path, tree.snapshot(revision=token.revision), token)
        except MetastoreError as error:
            if error.fault is not Fault.COMPACTED:
                raise
        token.snapshot_lost = True
    return await _page(tree, zone, request, path, tree.snapshot(serializable=request.serializable), token)


async def _hold(tree: Tree, zone: str, path: Path, token: storage_pb2.PageToken) -> None:
    """Hold a token against the caller's root: it must go on in what the path leads to. Raises PageTokenInvalid."""
    walk = (await Resolver(zone, tree.snapshot()).walk(path)).demand_directory()
    if walk.ino != token.ino:
        raise PageTokenInvalid("the page token's directory is not at the path any more")
    for frame in token.frames[1:]:
        if await principals.chain(zone, tree.snapshot(), frame.ino, walk.ino) is None:
            raise PageTokenInvalid("a directory of the page token is not below the path any more")


async def _page(
    tree: Tree, zone: str, request: pb.ListRequest, path: Path, snapshot: Snapshot, token: storage_pb2.PageToken
) -> pb.ListResponse:
    """Read the page after the token's last name, as `snapshot` shows the token's directory."""
    if request.recursive or request.glob or request.type:
        answer = await Below(zone, request, snapshot).page(path, token)
        if token.frames:
            token.revision = answer.revision
            answer.next_page_token = tokens.encode(token)
        return answer
    size = tokens.page_size(request.page_size)
    start = keys.dentry(zone, token.ino, token.last + b"\0" if token.last else b"")
    found = await snapshot.scan(start, ops.prefix_end(keys.dentry(zone, token.ino, b"")), size)
    steps = [Step.of(kv) for kv in found.kvs]
    answer = pb.ListResponse(revision=snapshot.revision, snapshot_lost=token.snapshot_lost)
    more = found.more
    base = "" if path.is_root else str(path)
    if request.detail:
        images = await tree.images(snapshot, zone, [step.ino for step in steps])
        for step in steps:
            answer.entries.append(records.shown(f"{base}/{step.name}", step.name, images[step.ino], snapshot.revision))
    else:
        for step in steps:
            answer.entries.append(
                pb.Entry(
                    path=f"{base}/{step.name}",
                    name=step.name,
                    ino=step.ino,
                    type=step.type,
                    revision=snapshot.revision,
                )
            )
    sizes = itertools.accumulate(entry.ByteSize() + 8 for entry in answer.entries)
    fitting = max(sum(size <= MESSAGE for size in sizes), 1)
    if len(answer.entries) > fitting:
        del answer.entries[fitting:], steps[fitting:]
        more = True
    if more:
        token.last = keys.parse(steps[-1].key).rest
        token.revision = snapshot.revision
        answer.next_page_token = tokens.encode(token)
    return answer


def _snapshot(tree: Tree, serializable: bool, revision: int) -> Snapshot:
    if revision < 0:
        raise FieldInvalid.of("revision", "must not be negative")
    return tree.snapshot(serializable=serializable, revision=revision)


def _entry(walk: Walk, image: bytes, revision: int) -> pb.Entry:
    return records.shown(str(walk.path), walk.steps[-1].name if walk.steps else "", image, revision)


def count(field: str, given: int) -> None:
    """Hold the length of a batch against its limit. Raises FieldInvalid."""
    if not 1 <= given <= MOST:
        raise FieldInvalid.of(field, f"{given} given, 1 to {MOST} are taken")
