"""SetPrincipalRoot and its kin: operators say which directory is the root for whom."""

from __future__ import annotations

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.files import keys, paths, principals, tokens
from quartet_server.files.resolve import Resolver
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import rpc_pb2


async def set_root(tree: Tree, zone: str, request: pb.SetPrincipalRootRequest) -> pb.PrincipalRoot:
    """Give a principal a root. Writes of the principal that are under way compare this key, and so are bound by it."""
    key = keys.root_of(zone, principals.check(request.principal, "principal"))
    path = paths.parse(request.path)
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.PrincipalRoot]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand_directory()
        answer = pb.PrincipalRoot(principal=request.principal, ino=walk.ino, path=str(path))
        record = storage_pb2.RootRecord(ino=walk.ino)
        return Plan(answer, walk.compares(), [ops.put(key, record.SerializeToString())])

    answer, revision = await tree.mutator.run(pb.PrincipalRoot, build, None)
    answer.revision = revision
    return answer


async def list_roots(tree: Tree, zone: str, request: pb.ListPrincipalRootsRequest) -> pb.ListPrincipalRootsResponse:
    """Read a page of the principals with a root of their own."""
    size = tokens.page_size(request.page_size)
    token = tokens.decode(request.page_token, storage_pb2.PageToken, tokens.checksum(zone, request))
    prefix = keys.root_of(zone)
    snapshot = tree.snapshot()
    await tree.resolver(zone, snapshot)
    start = keys.root_of(zone, token.last + b"\0") if token.last else prefix
    found = await snapshot.scan(start, ops.prefix_end(prefix), size)
    answer = pb.ListPrincipalRootsResponse()
    for kv in found.kvs:
        token.last = kv.key[len(prefix) :]
        ino = storage_pb2.RootRecord.FromString(kv.value).ino
        steps = await principals.chain(zone, snapshot, ino)
        path = "" if steps is None else "".join(f"/{step.name}" for step in steps) or "/"
        answer.roots.add(principal=token.last.decode(), ino=ino, path=path, revision=kv.mod_revision)
    answer.next_page_token = tokens.encode(token) if found.more else ""
    return answer


async def remove_root(tree: Tree, zone: str, request: pb.RemovePrincipalRootRequest) -> pb.RemovePrincipalRootResponse:
    """Let a principal see the whole zone again."""
    key = keys.root_of(zone, principals.check(request.principal, "principal"))
    await tree.ensure(zone)
    gone = await tree.store.delete_range(rpc_pb2.DeleteRangeRequest(key=key))
    return pb.RemovePrincipalRootResponse(revision=gone.header.revision if gone.deleted else 0)
