"""`quartet cp` and `quartet cat`: trees go there and come back byte for byte, and what is there is not sent again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.contents import noise
from quartet import Client
from quartet._memory import MemoryNode
from quartet.files.v1 import files_pb2 as pb
from quartet_server.cli import create
from quartet_server.cli.output import CommandError
from quartet_server.cli.transfer.meter import Meter
from rich.console import Console


@pytest.fixture(scope="module")
def node() -> Iterator[MemoryNode]:
    """One node for all tests of this file."""
    memory = MemoryNode()
    yield memory
    memory.close()


@pytest.fixture
def client(node: MemoryNode) -> Iterator[Client]:
    """A client of the node, whose tree is empty."""
    with Client(node.address) as opened:
        for entry in list(opened.files.list("/")):
            opened.files.delete(entry.path, recursive=True, permanent=True)
        yield opened


@pytest.fixture
def quartet(node: MemoryNode, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    """Runs a command line; returns what it printed, as an object when it asks for JSON."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str | Path) -> Any:
        create({})([str(one) for one in arguments])
        printed = capfdbinary.readouterr().out
        return json.loads(printed) if "json" in arguments else printed

    return run


def grow(top: Path) -> Path:
    """Make a tree with everything that a copy meets, and return its top."""
    (top / "empty").mkdir(parents=True)
    (top / "deep/er/still").mkdir(parents=True)
    for i in range(30):
        (top / f"deep/{i}.txt").write_bytes(noise(i * 400, i))
    (top / "deep/er/still/large").write_bytes(noise(3_000_000))
    (top / "deep/er/same").write_bytes(noise(3_000_000))
    (top / "none").touch()
    (top / "nämë with space").write_text("x")
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("deep/1.txt")
    (top / "dangling").symlink_to("nowhere/at all")
    return top


def shape(top: Path) -> dict[str, object]:
    """Everything about a tree that a copy keeps."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = "directory"
        else:
            status = path.stat()
            found[name] = (hashlib.sha256(path.read_bytes()).digest(), status.st_mode, status.st_mtime_ns)
    return found


def test_a_tree_goes_there_and_back_and_the_second_time_no_byte_moves(
    quartet: Any, client: Client, tmp_path: Path
) -> None:
    source = grow(tmp_path / "src")
    sent = quartet("cp", "-r", source, "qt:/there", "-o", "json")
    assert (sent["files"], sent["directories"], sent["symlinks"], sent["failed"]) == (35, 5, 2, [])
    assert sent["bytes"] == sum(
        path.stat().st_size for path in source.rglob("*") if path.is_file() and not path.is_symlink()
    )
    again = quartet("cp", "-r", f"{source}/.", "qt:/there", "-o", "json")
    assert (again["files"], again["bytes"], again["directories"], again["symlinks"]) == (0, 0, 0, 0)
    assert again["skipped"] == 37
    back = quartet("cp", "-r", "qt:/there", tmp_path / "back", "-o", "json")
    assert (back["files"], back["bytes"]) == (35, sent["bytes"])
    assert shape(tmp_path / "back") == shape(source)
    again = quartet("cp", "-r", "qt:/there/.", tmp_path / "back", "-o", "json")
    assert (again["files"], again["bytes"], again["skipped"]) == (0, 0, 37)
    inside = quartet("cp", "-r", "qt:/there", "qt:/copy", "-o", "json")
    assert (inside["files"], inside["bytes"], inside["failed"]) == (37, 0, [])
    quartet("cp", "-r", "qt:/copy", tmp_path / "copied")
    assert shape(tmp_path / "copied") == shape(source)


def test_only_what_differs_is_sent_again(quartet: Any, client: Client, tmp_path: Path) -> None:
    source = grow(tmp_path / "src")
    quartet("cp", "-r", source, "qt:/there")
    (source / "deep/5.txt").write_bytes(b"changed")
    client.files.delete("/there/deep/er", recursive=True)
    again = quartet("cp", "-r", f"{source}/", "qt:/", "-o", "json")
    assert again["files"] == 35  # SRC goes into DEST when DEST exists, as cp does
    again = quartet("cp", "-r", f"{source}/.", "qt:/there", "-o", "json")
    assert (again["files"], again["directories"]) == (3, 2)
    assert client.files.read("/there/deep/5.txt") == b"changed"


def test_files_go_into_a_directory_and_under_another_name(quartet: Any, client: Client, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    quartet("mkdir", "qt:/d")
    assert quartet("cp", tmp_path / "a", tmp_path / "b", "qt:/d", "-o", "json")["files"] == 2
    quartet("cp", tmp_path / "a", "qt:/d/c")
    quartet("cp", "qt:/d/c", "qt:/d/e")
    assert quartet("cat", "qt:/d/a", "qt:/d/b", "qt:/d/c", "qt:/d/e") == b"abaa"
    quartet("cp", "qt:/d/b", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "b"
    assert quartet("cat", "qt:/d/a", "--offset", "0", "--length", "1", "-o", "json") == {
        "path": "/d/a",
        "size": 1,
        "text": "a",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a",), "what to copy"),
        (("a", "b"), "nothing here is remote"),
        (("qt:/no", "x"), "FILE_NOT_FOUND"),
        (("no", "qt:/x"), "No such file"),
        (("d", "qt:/x"), "is a directory"),
        (("qt:/d", "x"), "is a directory"),
        (("f", "f", "qt:/x"), "is not a directory"),
        (("f", "qt:/x/"), "is not a directory"),
        (("-r", "qt:/d", "qt:/d"), "into itself"),
        (("f", "qt:/d", "--parallel", "0"), "1 to 64"),
    ],
)
def test_a_copy_that_makes_no_sense_is_refused_in_words(
    quartet: Any,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    client.files.mkdir("/d")
    with pytest.raises(CommandError, match=words):
        quartet("cp", *arguments)


def test_what_cannot_be_copied_is_named_and_the_rest_is_copied(
    quartet: Any, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = grow(tmp_path / "src")
    os.mkfifo(source / "pipe")
    client.files.mkdir("/there")
    client.files.write("/there/deep", b"a file where a directory should be")
    told = quartet("cp", "-r", f"{source}/.", "qt:/there", "-o", "json")
    assert [(one["path"].rpartition("/")[2]) for one in told["failed"]] == ["pipe", "deep"]
    assert told["files"] == 3
    assert client.files.read("/there/run.sh") == b"#!/bin/sh\n"


def test_nothing_is_written_through_a_local_link_where_the_tree_has_a_directory(
    quartet: Any, client: Client, tmp_path: Path
) -> None:
    client.files.mkdir("/t/a", parents=True)
    client.files.write("/t/a/secret", b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a").symlink_to(outside)
    told = quartet("cp", "-r", "qt:/t/.", tmp_path / "here", "-o", "json")
    assert [one["path"] for one in told["failed"]] == ["/t/a"]
    assert list(outside.iterdir()) == []


def test_a_file_of_which_only_the_name_is_known_is_sent(quartet: Any, client: Client, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"bytes")
    known = pb.Attributes(size=5, digest=hashlib.sha256(b"bytes").digest())
    client.files.create("/f", known)
    assert quartet("cp", tmp_path / "f", "qt:/f", "-o", "json")["bytes"] == 5
    assert client.files.read("/f") == b"bytes"


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("of_bytes", [True, False])
def test_the_bar_appears_on_a_terminal_after_two_seconds_and_nowhere_else(terminal: bool, of_bytes: bool) -> None:
    now = [0.0]
    console = Console(force_terminal=terminal, width=100)
    with console.capture() as capture, Meter(console, lambda: now[0], doing="copying", of_bytes=of_bytes) as meter:
        meter.expect(10)
        meter.advance(1)
        early = meter.shown
        now[0] = 2.5
        meter.advance(4)
        assert (early, meter.shown) == (False, terminal)
    assert ("copying" in capture.get()) is terminal
    assert ("bytes" in capture.get()) is (terminal and of_bytes)
