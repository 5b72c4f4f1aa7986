"""Generated histories: the versions of every file that ever was are those of a list."""

from __future__ import annotations

import grpc
import pytest
from harness.failures import reason_of
from harness.versions import Desk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2
from quartet.versions.v1 import versions_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATHS = ("/a", "/b", "/d/c")
_path = st.sampled_from(PATHS)
_step = st.one_of(
    st.tuples(st.just("write"), _path, st.sampled_from([1, 10, 5000])),
    st.tuples(st.just("append"), _path, st.sampled_from([1, 4096])),
    st.tuples(st.just("rename"), _path, _path),
    st.tuples(st.just("copy"), _path, _path),
    st.tuples(st.just("delete"), _path, st.just(0)),
    st.tuples(st.just("rollback"), _path, st.integers(1, 5)),
    st.tuples(st.just("check"), _path, st.just(0)),
)


class Model:
    """Every file that ever was, as a list of its contents.

    Attributes:
        at: Path -> inode number of the file there.
        histories: Inode number -> contents of its versions.
        gone: Path -> inode number of the file that was deleted there last.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.at: dict[str, int] = {}
        self.histories: dict[int, list[bytes]] = {}
        self.gone: dict[str, int] = {}

    def wrote(self, path: str, ino: int, content: bytes) -> None:
        """Note a write."""
        if path not in self.at:
            self.histories[ino] = []
        self.at[path] = ino
        self.histories[ino].append(content)

    def now(self, path: str) -> bytes:
        """Return what is at a path."""
        return self.histories[self.at[path]][-1]


async def do(desk: Desk, model: Model, step: tuple[str, str, object], number: int) -> None:
    """Carry a step out on both."""
    kind, path, rest = step
    data = b"%d " % number * 1250
    if kind == "write":
        entry = await desk.write(path, data[: int(str(rest))])
        model.wrote(path, entry.ino, data[: int(str(rest))])
    elif kind == "append":
        before = model.now(path) if path in model.at else b""
        piece = data[: int(str(rest))]
        done = await desk.files.Append(files_pb2.AppendRequest(path=path, data=piece, create=True))
        model.wrote(path, done.entry.ino, before + piece)
    elif kind == "rename" and path in model.at and path != rest:
        await desk.files.Rename(files_pb2.RenameRequest(source=path, destination=str(rest)))
        if str(rest) in model.at:
            model.gone[str(rest)] = model.at[str(rest)]
        model.at[str(rest)] = model.at.pop(path)
    elif kind == "copy" and path in model.at and path != rest:
        entry = await desk.files.Copy(files_pb2.CopyRequest(source=path, destination=str(rest)))
        model.wrote(str(rest), entry.ino, model.now(path))
    elif kind == "delete" and path in model.at:
        await desk.files.Delete(files_pb2.DeleteRequest(path=path))
        model.gone[path] = model.at.pop(path)
    elif kind == "rollback":
        await roll(desk, model, path, int(str(rest)))
    elif kind == "check":
        await check(desk, model)


async def roll(desk: Desk, model: Model, path: str, generation: int) -> None:
    """Go back, or be refused for the reason that the model knows."""
    ino = model.at.get(path, model.gone.get(path, 0))
    refused = ""
    try:
        entry = await desk.versions.Rollback(pb.RollbackRequest(path=path, generation=generation))
    except grpc.aio.AioRpcError as error:
        refused = reason_of(error)
    if not ino:
        assert refused == "FILE_NOT_FOUND"
    elif generation > len(model.histories[ino]):
        assert refused == "VERSION_NOT_FOUND"
    else:
        assert not refused
        model.wrote(path, entry.ino, model.histories[ino][generation - 1])


async def check(desk: Desk, model: Model) -> None:
    """Compare every history, by number and by path."""
    for ino, contents in model.histories.items():
        assert await desk.history(ino) == contents
        assert (await desk.versions_of(ino))[0].deleted == (ino not in model.at.values())
    for path, ino in (model.gone | model.at).items():
        assert await desk.history(path) == model.histories[ino]


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "unrecorded"])
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=st.lists(_step, min_size=1, max_size=10))
async def test_histories_are_those_of_a_list(desk: Desk, recorded: bool, steps: list[tuple[str, str, object]]) -> None:
    top = f"/{desk.new()}"
    await desk.files.Mkdir(files_pb2.MkdirRequest(path=f"{top}/d", parents=True))
    if recorded and not desk.service.observer.told("default"):
        await desk.record()
    model = Model()
    for number, (kind, path, rest) in enumerate(steps):
        below = f"{top}{rest}" if isinstance(rest, str) else rest
        await do(desk, model, (kind, top + path, below), number)
    if recorded:
        await desk.recorded()
    await check(desk, model)
