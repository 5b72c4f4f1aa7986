"""Generated histories of one tree, every answer compared with a dictionary's."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from harness.failures import reason_of
from harness.treemodel import DIRECTORY, SEVERAL, SYMLINK, ModelTree, Node, Refused, below
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files.principals import PRINCIPAL_KEY
from quartet_server.files.reclaim import Reclaimer

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")

_name = st.sampled_from("abc")
_path = st.lists(_name, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))
_repeats = st.integers(1, 2)  # how often a call is sent, under one request id
_step = st.one_of(
    st.tuples(st.just("create"), _path, st.sampled_from([1, 2, 3]), _repeats),
    st.tuples(st.just("create"), _path, st.just(2), _repeats),
    st.tuples(st.just("touch"), _path, _repeats),
    st.tuples(st.just("delete"), _path, st.booleans(), _repeats),
    st.tuples(st.just("rename"), _path, _path, st.sampled_from([1, 1, 2, 3]), _repeats),
    st.tuples(st.just("trash"), _path, _repeats),
    st.tuples(st.just("restore"), st.integers(0, 3), st.one_of(st.just(""), _path), _repeats),
    st.tuples(st.just("empty"), _repeats),
    st.tuples(st.just("lock"), _path, _repeats),
    st.tuples(st.just("unlock"), st.integers(0, 3), _repeats),
    st.tuples(st.just("fenced"), _path, st.integers(0, 3), _repeats),
    st.tuples(st.just("copy"), _path, _path, _repeats),
    st.tuples(st.just("limit"), _path, st.sampled_from([0, 2, 5, 20]), st.just(1)),
    st.tuples(st.just("unlimit"), _path, st.just(1)),
    st.tuples(st.just("root"), st.one_of(st.just("/"), _path), st.just(1)),
    st.tuples(st.just("clear")),
)
_OF_PRINCIPALS = frozenset(("create", "touch", "delete", "rename", "copy"))
"""What is done now and then by a caller with a root of its own."""
_ids = itertools.count()


class Play:
    """Carries steps out on the service and on the model."""

    def __init__(self, files: FileServiceAsyncStub, store: Metastore) -> None:
        self.files = files
        self.store = store
        self.model = ModelTree()
        self.inos: dict[int, int] = {}
        self.bin: list[str] = []
        self.fences: list[pb.Fence] = []
        self.root: Node | None = None

    async def step(self, step: tuple[object, ...], *, inside: bool) -> None:
        """Do one step on both sides and compare; `inside` by a caller with a root of its own, if there is one."""
        kind, *arguments = step
        if kind == "clear":
            await Reclaimer(self.store).clear()
            self.model.clear()
            return
        *arguments, repeats = arguments
        if kind == "root":
            await self._give_root(str(arguments[0]))
            return
        if kind == "copy" and self.model.root.size() > SEVERAL:
            return
        inside = inside and self.root is not None and kind in _OF_PRINCIPALS
        self.model.here = self.root if inside and self.root is not None else self.model.root
        metadata = ((PRINCIPAL_KEY, "agent"),) if inside else ()
        if kind == "restore":
            if not self.bin:
                return
            arguments[0] = int(str(arguments[0])) % len(self.bin)
        if kind in ("unlock", "fenced"):
            if not self.fences:
                return
            arguments[-1] = int(str(arguments[-1])) % len(self.fences)
        wanted, node = "", None
        try:
            node = getattr(self.model, str(kind))(*arguments)
        except Refused as refused:
            wanted = str(refused)
        method, request = self._request(str(kind), arguments)
        for _ in range(int(str(repeats))):
            got, answer = "", None
            try:
                answer = await method(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                got = reason_of(error)
            assert got == wanted, (step, got, wanted)
        if kind == "trash" and answer is not None:
            self.bin.append(answer.trash_id)
        if kind == "restore" and answer is not None:
            del self.bin[int(str(arguments[0]))]
        if kind == "empty":
            self.bin.clear()
        if kind == "lock" and answer is not None:
            self.fences.append(answer.fence)
        if isinstance(node, Node) and answer is not None:
            assert self.inos.setdefault(node.serial, answer.ino) == answer.ino
            assert answer.etag == f"{answer.ino}.{node.gen}"

    async def _give_root(self, path: str) -> None:
        """Give the principal a root, if there is a directory at the path."""
        self.model.here = self.model.root
        try:
            node = self.model.find(path)
        except Refused:
            return
        if node.kind == DIRECTORY:
            await self.files.SetPrincipalRoot(pb.SetPrincipalRootRequest(principal="agent", path=path))
            self.root = node

    def _request(self, kind: str, arguments: list[object]) -> tuple[Callable[..., Awaitable[Any]], object]:
        request_id = f"r{next(_ids)}"
        if kind == "empty":
            return self.files.EmptyTrash, pb.EmptyTrashRequest()
        if kind == "restore":
            item, path = self.bin[int(str(arguments[0]))], str(arguments[1])
            return self.files.RestoreFromTrash, pb.RestoreFromTrashRequest(id=item, path=path, request_id=request_id)
        if kind == "unlock":
            fence = self.fences[int(str(arguments[0]))]
            return self.files.Unlock, pb.UnlockRequest(fence=fence, request_id=request_id)
        first = str(arguments[0])
        if kind == "lock":
            return self.files.Lock, pb.LockRequest(path=first, ttl=Duration(seconds=3600), request_id=request_id)
        if kind == "fenced":
            fence = self.fences[int(str(arguments[1]))]
            return self.files.Touch, pb.TouchRequest(path=first, no_create=True, fence=fence, request_id=request_id)
        if kind == "trash":
            return self.files.Delete, pb.DeleteRequest(path=first, recursive=True, request_id=request_id)
        if kind == "create" and arguments[1] == 2:
            return self.files.Mkdir, pb.MkdirRequest(path=first, request_id=request_id)
        if kind == "create":
            link = arguments[1] == SYMLINK
            return self.files.CreateFile, pb.CreateFileRequest(
                path=first,
                type=arguments[1],  # type: ignore[arg-type]
                attributes=pb.Attributes(symlink_target="a/b" if link else ""),
                request_id=request_id,
            )
        if kind == "copy":
            return self.files.Copy, pb.CopyRequest(
                source=first, destination=str(arguments[1]), recursive=True, request_id=request_id
            )
        if kind == "limit":
            return self.files.SetQuota, pb.SetQuotaRequest(path=first, limit_inodes=int(str(arguments[1])))
        if kind == "unlimit":
            return self.files.RemoveQuota, pb.RemoveQuotaRequest(path=first)
        if kind == "touch":
            mask = FieldMask(paths=["owner"])
            return self.files.SetAttributes, pb.SetAttributesRequest(
                path=first,
                update_mask=mask,
                request_id=request_id,
            )
        if kind == "delete":
            gone = bool(arguments[1])
            return self.files.Delete, pb.DeleteRequest(
                path=first,
                recursive=gone,
                permanent=gone,
                request_id=request_id,
            )
        return self.files.Rename, pb.RenameRequest(
            source=first,
            destination=str(arguments[1]),
            mode=arguments[2],  # type: ignore[arg-type]
            request_id=request_id,
        )

    async def compare(self) -> None:
        """Compare the whole tree, entry by entry, and the keys that are left."""
        wanted = self.model.everything()
        paths = sorted(wanted)
        listed = await self.files.List(pb.ListRequest(path="/", recursive=True, page_size=1000))
        assert [entry.path for entry in listed.entries] == sorted(wanted, key=lambda path: path.split("/"))
        found = await self.files.List(pb.ListRequest(path="/", glob="**/a/*", page_size=1000))
        assert {entry.path for entry in found.entries} == {path for path in wanted if path.split("/")[-2] == "a"}
        if paths:
            answer = await self.files.BatchStat(pb.BatchStatRequest(paths=paths))
            for path, result in zip(paths, answer.results, strict=True):
                node = wanted[path]
                ino = self.inos.setdefault(node.serial, result.entry.ino)  # what is inside a copy is met here first
                assert (result.entry.ino, result.entry.type) == (ino, node.kind), path
                assert result.entry.etag == f"{result.entry.ino}.{node.gen}"
        assert len(set(self.inos.values())) == len(self.inos)
        await Reclaimer(self.store).clear()
        self.model.clear()
        for path, node in wanted.items():
            if node.quota is not None:
                quota = await self.files.GetQuota(pb.GetQuotaRequest(path=path))
                assert (quota.used_inodes, quota.limit_inodes) == (node.quota.count, node.quota.limit), path
        away = sum(len(below(node)) for node, _, _ in self.model.bin)
        for start, end in ((b"d", b"e"), (b"i", b"j"), (b"p", b"q")):
            keys = await self.store.range(
                rpc_pb2.RangeRequest(key=b"default\0" + start, range_end=b"default\0" + end, count_only=True)
            )
            assert keys.count == len(wanted) + away + (start == b"i") * (1 + len(self.model.bin))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.tuples(_step, st.booleans()), min_size=5, max_size=40))
async def test_every_answer_is_the_one_of_the_model(
    files: FileServiceAsyncStub, store: Metastore, steps: list[tuple[tuple[object, ...], bool]]
) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/x", parents=True))
    for entry in (await files.List(pb.ListRequest(path="/"))).entries:
        await files.Delete(pb.DeleteRequest(path=entry.path, recursive=True, permanent=True))
    await files.EmptyTrash(pb.EmptyTrashRequest())
    await Reclaimer(store).clear()
    for root in (await files.ListPrincipalRoots(pb.ListPrincipalRootsRequest())).roots:
        await files.RemovePrincipalRoot(pb.RemovePrincipalRootRequest(principal=root.principal))
    play = Play(files, store)
    for step, inside in steps:
        await play.step(step, inside=inside)
    await play.compare()
