"""Extended attributes: one key each, their number guarded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid, LimitReached, QuartetError, XattrNotFound
from quartet_server.files import keys, paths, records
from quartet_server.files.reading import count
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Answer, Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot

MOST = 64
LONGEST_VALUE = 65_536
_ANSWER = 4 << 20
_PARALLEL = 16


async def set_xattr(tree: Tree, zone: str, request: pb.SetXattrRequest, claim: Claim | None) -> pb.SetXattrResponse:
    """Write an extended attribute.

    A new name also writes the inode's guard key and compares it, so that two writers cannot both add the last one.
    """
    path = paths.parse(request.path)
    name = _name(request.xattr.name, "xattr.name")
    if (size := len(request.xattr.value)) > LONGEST_VALUE:
        raise FieldInvalid.of("xattr.value", f"{size} bytes, at most {LONGEST_VALUE} are taken")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.SetXattrResponse]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand()
        plan = Plan(pb.SetXattrResponse(), walk.compares())
        await _conditions(zone, snapshot, walk, plan, request.if_match, request.if_none_match)
        key, guard = keys.xattr(zone, walk.ino, name), keys.xattr_guard(zone, walk.ino)
        found = await snapshot.get([key, guard])
        if key in found:
            plan.compares.append(ops.exists(key))
        else:
            prefix = keys.xattr(zone, walk.ino)
            if (await snapshot.scan(prefix, ops.prefix_end(prefix), count_only=True)).count >= MOST:
                raise LimitReached(f"{path} has {MOST} extended attributes", path=str(path), limit=MOST)
            plan.compares.append(ops.unchanged(guard, found[guard].mod_revision if guard in found else 0))
            plan.operations.append(ops.put(guard, b""))
        plan.operations.append(ops.put(key, request.xattr.value))
        return plan

    answer, revision = await write(tree, zone, request, pb.SetXattrResponse, build, claim)
    answer.revision = revision
    return answer


async def remove_xattr(
    tree: Tree, zone: str, request: pb.RemoveXattrRequest, claim: Claim | None
) -> pb.RemoveXattrResponse:
    """Delete an extended attribute."""
    path = paths.parse(request.path)
    name = _name(request.name, "name")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.RemoveXattrResponse]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand()
        plan = Plan(pb.RemoveXattrResponse(), walk.compares())
        await _conditions(zone, snapshot, walk, plan, request.if_match, request.if_none_match)
        key = keys.xattr(zone, walk.ino, name)
        if key not in await snapshot.get([key]):
            raise _missing(path, request.name)
        plan.compares.append(ops.exists(key))
        plan.operations += [ops.delete(key), ops.put(keys.xattr_guard(zone, walk.ino), b"")]
        return plan

    answer, revision = await write(tree, zone, request, pb.RemoveXattrResponse, build, claim)
    answer.revision = revision
    return answer


async def get_xattr(tree: Tree, zone: str, request: pb.GetXattrRequest) -> pb.Xattr:
    """Read one extended attribute."""
    path = paths.parse(request.path)
    name = _name(request.name, "name")
    snapshot = tree.snapshot(serializable=request.serializable)
    walk = (await (await tree.resolver(zone, snapshot)).walk(path)).demand()
    key = keys.xattr(zone, walk.ino, name)
    found = await snapshot.get([key])
    if key not in found:
        raise _missing(path, request.name)
    return pb.Xattr(name=request.name, value=found[key].value)


async def list_xattrs(tree: Tree, zone: str, request: pb.ListXattrsRequest) -> pb.ListXattrsResponse:
    """Read all extended attributes of an entry."""
    path = paths.parse(request.path)
    snapshot = tree.snapshot(serializable=request.serializable)
    walk = (await (await tree.resolver(zone, snapshot)).walk(path)).demand()
    xattrs = await _all(zone, snapshot, walk.ino)
    _fits(sum(xattr.ByteSize() for xattr in xattrs))
    return pb.ListXattrsResponse(xattrs=xattrs, revision=snapshot.revision)


async def batch_get_xattrs(tree: Tree, zone: str, request: pb.BatchGetXattrsRequest) -> pb.BatchGetXattrsResponse:
    """Read extended attributes of many entries at one revision."""
    count("paths", len(request.paths))
    if len(request.names) > MOST:
        raise FieldInvalid.of("names", f"{len(request.names)} names, at most {MOST} are taken")
    names = [_name(name, "names") for name in request.names]
    answer = pb.BatchGetXattrsResponse(results=[pb.XattrsResult() for _ in request.paths])
    snapshot = tree.snapshot(serializable=request.serializable)
    resolver = await tree.resolver(zone, snapshot)
    parsed = {}
    for position, text in enumerate(request.paths):
        try:
            parsed[position] = paths.parse(text)
        except QuartetError as error:
            answer.results[position].failure.CopyFrom(records.failure(error))
    walks = dict(zip(parsed, await resolver.walks(list(parsed.values())), strict=True))
    inos = list({walk.ino for walk in walks.values() if walk.complete})
    by_ino: dict[int, list[pb.Xattr]] = {}
    size = 0
    for i in range(0, len(inos), _PARALLEL):
        some = inos[i : i + _PARALLEL]
        if names:
            found = await snapshot.get([keys.xattr(zone, ino, name) for ino in some for name in names])
            for ino in some:
                by_ino[ino] = _decoded(kv for kv in found.values() if keys.parse(kv.key).ino == ino)
        else:
            by_ino |= zip(some, await asyncio.gather(*(_all(zone, snapshot, ino) for ino in some)), strict=True)
        size += sum(xattr.ByteSize() for ino in some for xattr in by_ino[ino])
        _fits(size)
    for position, walk in walks.items():
        if problem := walk.problem():
            answer.results[position].failure.CopyFrom(records.failure(problem))
        else:
            answer.results[position].xattrs.extend(by_ino[walk.ino])
    answer.revision = snapshot.revision
    _fits(answer.ByteSize())
    return answer


async def _conditions(
    zone: str, snapshot: Snapshot, walk: Walk, plan: Plan[Answer], if_match: str, if_none_match: str
) -> None:
    """Hold the entry's etag against the request's, and keep it from changing meanwhile. Raises EtagStale."""
    if not if_match and not if_none_match:
        return
    key = keys.inode(zone, walk.ino)
    kv = (await snapshot.get([key]))[key]
    gen = storage_pb2.Inode.FromString(kv.value).gen
    records.require(walk.path, records.etag(walk.ino, gen), if_match, if_none_match)
    plan.compares.append(ops.unchanged(key, kv.mod_revision))


async def _all(zone: str, snapshot: Snapshot, ino: int) -> list[pb.Xattr]:
    prefix = keys.xattr(zone, ino)
    return _decoded((await snapshot.scan(prefix, ops.prefix_end(prefix))).kvs)


def _decoded(kvs: Iterable[KeyValue]) -> list[pb.Xattr]:
    return sorted(
        (pb.Xattr(name=keys.parse(kv.key).rest.decode(), value=kv.value) for kv in kvs), key=lambda xattr: xattr.name
    )


def _fits(size: int) -> None:
    """Hold an answer against the size of a gRPC message. Raises LimitReached."""
    if size > _ANSWER - 4096:
        raise LimitReached(
            "the attributes do not fit into one answer of 4 MiB", limit=_ANSWER, hint="ask for fewer paths or names"
        )


def _missing(path: paths.Path, name: str) -> XattrNotFound:
    return XattrNotFound(f"{path} has no extended attribute {name}", path=str(path), name=name)


def _name(name: str, field: str) -> bytes:
    encoded = name.encode()
    if not 1 <= len(encoded) <= 255 or b"\0" in encoded:
        raise FieldInvalid.of(field, "has 1 to 255 bytes and no NUL")
    return encoded
