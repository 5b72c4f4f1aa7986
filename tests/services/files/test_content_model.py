"""Generated histories of contents, every answer compared with that of a dictionary of bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.contents import look, write
from harness.failures import reason_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files.contents import batch, contents, intake

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATHS = ("/a", "/b", "/c")
_path = st.sampled_from(PATHS)
_size = st.one_of(st.integers(0, 40), st.integers(40, 400))
_step = st.one_of(
    st.tuples(st.just("write"), _path, _size, st.integers(1, 3)),
    st.tuples(st.just("append"), _path, _size, st.booleans()),
    st.tuples(st.just("truncate"), _path, _size),
    st.tuples(st.just("copy"), _path, _path),
    st.tuples(st.just("rename"), _path, _path),
    st.tuples(st.just("delete"), _path),
    st.tuples(st.just("read"), _path, _size, _size),
    st.tuples(st.just("batch"), _path, _path, _size),
)


class Model:
    """The files as bytes."""

    def __init__(self) -> None:
        """Begin with none."""
        self.files: dict[str, bytes] = {}

    def of(self, path: str) -> bytes:
        """Return the bytes of a file."""
        if path not in self.files:
            raise LookupError("FILE_NOT_FOUND")
        return self.files[path]


def do(model: Model, step: tuple[object, ...], number: int) -> bytes | None:
    """Carry a step out on the model; return what a read answers. Raises LookupError with the reason of a refusal."""
    kind, path, *rest = step
    path = str(path)
    if kind == "write":
        size, mode = (int(str(one)) for one in rest)
        if mode == pb.WRITE_MODE_CREATE and path in model.files:
            raise LookupError("FILE_EXISTS")
        if mode == pb.WRITE_MODE_OVERWRITE:
            model.of(path)
        model.files[path] = some(size, number)
    elif kind == "append":
        before = model.files.get(path, b"") if rest[1] else model.of(path)
        model.files[path] = before + some(int(str(rest[0])), number)
    elif kind == "truncate":
        size = int(str(rest[0]))
        model.files[path] = model.of(path)[:size].ljust(size, b"\0")
    elif kind == "delete":
        model.of(path)
        del model.files[path]
    elif kind == "read":
        offset, length = (int(str(one)) for one in rest)
        data = model.of(path)
        if offset > len(data):
            raise LookupError("RANGE_INVALID")
        return data[offset : offset + length if length else None]
    elif kind == "batch":
        for one in (path, str(rest[0])):
            model.files[one] = some(int(str(rest[1])), number)
    else:
        data, other = model.of(path), str(rest[0])
        if kind == "copy" and other == path:
            raise LookupError("FIELD_INVALID")
        if kind == "rename":
            del model.files[path]
        model.files[other] = data
    return None


async def ask(files: FileServiceAsyncStub, step: tuple[object, ...], number: int) -> bytes | None:
    """Carry the step out on the service, twice where it has an id: the second time changes nothing."""
    kind, path, *rest = step
    path, request_id = str(path), f"r{number}"
    for _ in range(2):
        if kind == "write":
            size, mode = (int(str(one)) for one in rest)
            await write(files, path, some(size, number), mode=mode, request_id=request_id, piece=37)
        elif kind == "append":
            data, create = some(int(str(rest[0])), number), bool(rest[1])
            await files.Append(pb.AppendRequest(path=path, data=data, create=create, request_id=request_id))
        elif kind == "truncate":
            await files.Truncate(pb.TruncateRequest(path=path, size=int(str(rest[0])), request_id=request_id))
        elif kind == "copy":
            await files.Copy(pb.CopyRequest(source=path, destination=str(rest[0]), request_id=request_id))
        elif kind == "rename":
            await files.Rename(pb.RenameRequest(source=path, destination=str(rest[0]), request_id=request_id))
        elif kind == "delete":
            await files.Delete(pb.DeleteRequest(path=path, request_id=request_id))
        elif kind == "batch":
            items = [pb.WriteItem(path=one, data=some(int(str(rest[1])), number)) for one in (path, str(rest[0]))]
            answer = await files.BatchWrite(pb.BatchWriteRequest(files=items, request_id=request_id))
            assert answer.written == 2
        else:
            offset, length = (int(str(one)) for one in rest)
            return (await look(files, path, offset=offset, length=length))[1]
    return None


def some(size: int, number: int) -> bytes:
    """Return bytes that differ from step to step, and repeat themselves a little."""
    return (f"{number},".encode() * (size // 2 + 1))[:size]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_step, min_size=4, max_size=25))
async def test_every_history_of_contents_is_that_of_the_model(
    files: FileServiceAsyncStub, store: Metastore, steps: list[tuple[object, ...]]
) -> None:
    await store.delete_range(rpc_pb2.DeleteRangeRequest(key=b"default\0K", range_end=b"default\0L"))
    for path in PATHS:
        if (await files.BatchStat(pb.BatchStatRequest(paths=[path]))).results[0].HasField("entry"):
            await files.Delete(pb.DeleteRequest(path=path))
    model = Model()
    with pytest.MonkeyPatch.context() as patch:  # so small that every layout is met
        for module in (batch, contents, intake):
            patch.setattr(module, "INLINE", 32)
        patch.setattr(contents, "LISTED", 2)
        for number, step in enumerate(steps):
            wanted, refused, got, told = None, "", None, ""
            try:
                wanted = do(model, step, number)
            except LookupError as error:
                refused = str(error.args[0])
            try:
                got = await ask(files, step, number)
            except grpc.aio.AioRpcError as error:
                told = reason_of(error)
            assert (got, told) == (wanted, refused), step
        for path, data in model.files.items():
            entry, found = await look(files, path)
            assert found == data
            assert (entry.attributes.size, entry.attributes.digest) == (len(data), hashlib.sha256(data).digest())
