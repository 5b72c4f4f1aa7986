"""SetRetention, GetRetention and RemoveRetention: settings of a file, or of what is below a directory."""

from __future__ import annotations

from quartet.versions.storage.v1 import storage_pb2
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.files import keys as files
from quartet_server.files import paths
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.meta import ops
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions import keys
from quartet_server.versions.library import Library
from quartet_server.versions.retention import Rule, Rules, decoded
from quartet_server.versions.subject import resolved


async def set_retention(library: Library, zone: str, request: pb.SetRetentionRequest) -> pb.RetentionSetting:
    """Write a setting."""
    rule, path = Rule.of(request.retention), paths.parse(request.path)
    await library.tree.ensure(zone)
    value = storage_pb2.RetentionRecord(retention=rule.message()).SerializeToString()

    async def build(snapshot: Snapshot) -> Plan[pb.RetentionSetting]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand()
        answer = pb.RetentionSetting(path=str(path), ino=walk.ino, retention=rule.message(), set_at=str(path))
        return Plan(answer, walk.compares(), [ops.put(keys.retention(zone, walk.ino), value)])

    answer, revision = await library.tree.mutator.run(pb.RetentionSetting, build, None)
    answer.revision = revision
    return answer


async def get_retention(library: Library, zone: str, request: pb.GetRetentionRequest) -> pb.RetentionSetting:
    """Read what holds for a path."""
    snapshot = Snapshot(library.tree.store)
    walk = await resolved(library.tree, zone, request.path, snapshot)
    chained = [files.ROOT, *(step.ino for step in walk.chain)]
    found = await snapshot.get([keys.retention(zone, ino) for ino in chained])
    rules = Rules(
        zone,
        snapshot,
        {ino: decoded(found[key].value) for ino in chained if (key := keys.retention(zone, ino)) in found},
    )
    rule, at = await rules.holding(walk.ino)
    return pb.RetentionSetting(
        path=str(walk.path),
        ino=walk.ino,
        retention=rule.message(),
        set_at=_named(walk, at),
        revision=snapshot.revision,
    )


async def remove_retention(
    library: Library, zone: str, request: pb.RemoveRetentionRequest
) -> pb.RemoveRetentionResponse:
    """Take a setting away."""
    path = paths.parse(request.path)
    await library.tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.RemoveRetentionResponse]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand()
        key = keys.retention(zone, walk.ino)
        existed = key in await snapshot.get([key])
        answer = pb.RemoveRetentionResponse(existed=existed)
        return Plan(answer, walk.compares(), [ops.delete(key)] if existed else [])

    return (await library.tree.mutator.run(pb.RemoveRetentionResponse, build, None))[0]


def _named(walk: Walk, ino: int) -> str:
    """Return the path, as the caller sees it, of one of the directories on the way; empty for none, or above its root."""
    if ino == walk.base.ino:
        return "/"
    for depth, step in enumerate(walk.steps, 1):
        if step.ino == ino:
            return str(walk.path.first(depth))
    return ""
