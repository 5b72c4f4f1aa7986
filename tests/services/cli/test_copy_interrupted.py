"""A `quartet cp` that is killed, or ended by Ctrl-C, in the middle of a file: what it leaves, and who clears it up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness.contents import noise
from harness.quartet import command, environment
from quartet import Client, Entry
from quartet._memory import MemoryNode
from quartet.files.v1 import files_pb2 as pb
from quartet.files.v1 import files_pb2_grpc
from quartet_server.cli import create
from quartet_server.cli.transfer import beside
from quartet_server.cli.transfer.beside import Beside
from quartet_server.cli.transfer.locally import replace

DATA = noise(1_500_000)
_BEGUN = 700_000
_PATIENCE = 60.0


class Stalling(files_pb2_grpc.FileServiceServicer):
    """A node that begins to send one file, and goes no further until the call is ended."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self.ended = threading.Event()

    def Stat(self, request: pb.StatRequest, context: grpc.ServicerContext) -> Entry:  # noqa: N802
        """Tell the file."""
        return self._entry

    def ReadStream(  # noqa: N802
        self, request: pb.ReadStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ReadStreamResponse]:
        """Send the beginning."""
        context.add_callback(self.ended.set)
        yield pb.ReadStreamResponse(entry=self._entry, data=DATA[:_BEGUN])
        self.ended.wait(_PATIENCE)


@pytest.fixture(scope="module")
def node() -> Iterator[MemoryNode]:
    """A node that has the whole file."""
    memory = MemoryNode()
    with Client(memory.address) as client:
        client.files.mkdir("/d")
        client.files.write("/d/large", DATA)
    yield memory
    memory.close()


@pytest.fixture
def entry(node: MemoryNode) -> Entry:
    """The file's entry."""
    with Client(node.address) as client:
        return client.files.stat("/d/large")


def _heed_interrupts() -> None:
    """Undo what a shell does to commands that it runs in the background, and these to theirs: to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def begun(entry: Entry, target: Path) -> Iterator[tuple[subprocess.Popen[str], Stalling]]:
    """A `quartet cp` to `target` that has written the beginning of the file, and waits."""
    server = grpc.server(ThreadPoolExecutor(4))
    stalling = Stalling(entry)  # type: ignore[abstract]
    files_pb2_grpc.add_FileServiceServicer_to_server(stalling, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    env = environment({"QUARTET_CLIENT_ENDPOINTS": f"127.0.0.1:{port}"})
    copying = subprocess.Popen(
        command("cp", "qt:/d/large", target),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    )
    try:
        deadline = time.monotonic() + _PATIENCE
        while sum(path.stat().st_size for path in parts(target.parent)) < 1 << 19:
            assert copying.poll() is None, copying.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield copying, stalling
    finally:
        copying.kill()
        copying.communicate(timeout=_PATIENCE)
        server.stop(None).wait(_PATIENCE)


def parts(directory: Path) -> list[Path]:
    """What copies are making, or have left, in a directory."""
    return list(directory.glob(".quartet-*"))


@pytest.fixture
def copy(node: MemoryNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `quartet cp` at the node, in this process; returns what it says."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str | Path) -> Any:
        create({})(["cp", *map(str, arguments), "-o", "json"])
        return json.loads(capsys.readouterr().out)

    return run


def test_a_copy_that_was_killed_in_the_middle_of_a_file_is_gone_on_with(
    copy: Any, entry: Entry, tmp_path: Path
) -> None:
    target = tmp_path / "large"
    with begun(entry, target) as (copying, _):
        copying.kill()
        copying.wait(_PATIENCE)
    [left] = parts(tmp_path)
    size = left.stat().st_size
    told = copy("qt:/d/large", target)
    assert target.read_bytes() == DATA
    assert told["bytes"] == len(DATA) - size < len(DATA)
    assert parts(tmp_path) == []


def test_ctrl_c_ends_a_copy_at_once_and_leaves_nothing(entry: Entry, tmp_path: Path) -> None:
    with begun(entry, tmp_path / "large") as (copying, stalling):
        copying.send_signal(signal.SIGINT)
        _, err = copying.communicate(timeout=_PATIENCE)
        assert copying.returncode == 130
        assert "Traceback" not in err
        assert stalling.ended.wait(_PATIENCE)
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_of_another_content_is_not_taken_for_this_one(copy: Any, tmp_path: Path) -> None:
    target = tmp_path / "large"
    beside._place(target, "0").write_bytes(b"x" * 1000)
    assert copy("qt:/d/large", target)["failed"] == []
    assert target.read_bytes() == DATA
    assert parts(tmp_path) == []


def test_a_copy_removes_what_dead_ones_left_and_leaves_alone_what_is_being_written(copy: Any, tmp_path: Path) -> None:
    top = tmp_path / "d"
    top.mkdir()
    for name, number in (("gone", "0"), ("large", "1"), ("large", "ab12cd34")):
        beside._place(top / name, number).write_bytes(b"left")
    (top / ".quartet-notes").write_text("mine")
    with Beside(top / "other") as other:
        assert copy("-r", "qt:/d/.", top)["files"] == 1
        assert sorted(path.name for path in top.iterdir()) == sorted(["large", ".quartet-notes", other.path.name])
    (top / "large").write_bytes(DATA)
    beside._place(top / "large", "0").write_bytes(b"left")
    assert copy("-r", "qt:/d/.", top)["skipped"] == 1
    assert sorted(path.name for path in top.iterdir()) == [".quartet-notes", "large"]


def test_two_copies_to_one_place_do_not_meet(entry: Entry, tmp_path: Path) -> None:
    target = tmp_path / "f"

    def nested(offset: int) -> list[bytes]:
        assert offset == 0
        assert replace(target, entry, lambda offset: [DATA[offset:]]) == len(DATA)
        return [DATA]

    assert replace(target, entry, nested) == len(DATA)
    assert target.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("kind", ["link", "hard link", "directory"])
def test_nothing_that_stands_where_a_copy_is_made_is_written_through(entry: Entry, tmp_path: Path, kind: str) -> None:
    here, precious = tmp_path / "here", tmp_path / "precious"
    here.mkdir()
    precious.write_bytes(b"keep")
    place = beside._place(here / "f", "0")
    if kind == "link":
        place.symlink_to(precious)
    elif kind == "hard link":
        os.link(precious, place)
    else:
        place.mkdir()
    told: Any = None
    try:
        told = replace(here / "f", entry, lambda offset: [DATA[offset:]])
    except OSError:
        assert kind != "hard link"
    assert precious.read_bytes() == b"keep"
    assert (here / "f").exists() == (told is not None)
