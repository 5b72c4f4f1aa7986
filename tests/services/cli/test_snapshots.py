"""`quartet snapshot ...` as a script uses it, against a node in this process; and the asyncio client beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from quartet import AsyncClient, Client
from quartet._memory import MemoryNode
from quartet_server.cli import create
from quartet_server.cli.output import CommandError


@pytest.fixture(scope="module")
def node() -> Iterator[MemoryNode]:
    """One node for all tests of this file."""
    memory = MemoryNode()
    yield memory
    memory.close()


@pytest.fixture
def quartet(node: MemoryNode, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    """Runs a command line and returns what it printed; as an object when it asks for JSON."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str) -> Any:
        create({})(["snapshot", *arguments])
        printed = capfdbinary.readouterr().out.decode()
        return json.loads(printed) if "json" in arguments else printed

    return run


def test_snapshots_are_made_shown_compared_put_back_and_given_up(quartet: Any, node: MemoryNode) -> None:
    with Client(node.address) as client:
        client.files.mkdir("/project/src", parents=True)
        client.files.write("/project/src/a", b"one\n")
        client.files.write("/project/src/b", b"two\n")
        made = quartet("create", "qt:/project", "-m", "first", "--label", "by=me", "--ref", "good", "-o", "json")
        assert (made["path"], made["files"], made["bytes"], made["labels"]) == ("/project", 2, 8, {"by": "me"})
        client.files.write("/project/src/a", b"changed\n")
        client.files.delete("/project/src/b")
        client.files.write("/project/c", b"")
        assert quartet("diff", "good") == "A /c\nM /src/a\nD /src/b\n"
        assert [row["type"] for row in quartet("diff", "good", "qt:/project", "-o", "json")] == [
            "added",
            "modified",
            "removed",
        ]
        second = quartet("create", "/project", "--expect", made["id"], "-o", "json")
        assert second["parent"] == made["id"]
        assert [row["id"] for row in quartet("log", "qt:/project", "-o", "json")] == [second["id"], made["id"]]
        assert [row["id"] for row in quartet("log", "--label", "by=me", "-o", "json")] == [made["id"]]
        assert [row["id"] for row in quartet("log", "--limit", "1", "-o", "json")] == [second["id"]]
        assert "first" in quartet("log", "--ref", "good")
        assert quartet("diff", "good", second["id"]) == "A /c\nM /src/a\nD /src/b\n"
        assert [row["name"] for row in quartet("ls", "good", "/src", "-o", "json")] == ["a", "b"]
        assert "src" in quartet("ls", "good")
        assert quartet("cat", "good", "/src/a") == "one\n"
        assert quartet("cat", "good", "/src/a", "--offset", "1", "--length", "2", "-o", "json")["text"] == "ne"
        quartet("branch", "good", "qt:/other", "--source", "/src")
        assert client.files.read("/other/b") == b"two\n"
        done = quartet("restore", "good", "-o", "json")
        assert done["path"] == "/project"
        assert client.files.read("/project/src/a") == b"one\n"
        assert client.files.read_many(["/project/c"])[0].HasField("failure")
        client.files.trash.restore(done["trash_id"], "/was")
        quartet("ref", "set", "best", "good")
        assert [row["name"] for row in quartet("ref", "list", "-o", "json")] == ["best", "good"]
        with pytest.raises(CommandError, match="SNAPSHOT_REFERENCED"):
            quartet("rm", made["id"])
        quartet("ref", "rm", "best", "good")
        assert quartet("rm", made["id"], second["id"], "-o", "json") == [made["id"], second["id"]]
        assert quartet("log", "-o", "json") == []


@pytest.mark.parametrize(
    "arguments", [("create", "/", "--label", "x"), ("restore", "x", "relative"), ("create", "rel")]
)
def test_mistakes_on_the_command_line_are_told(quartet: Any, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as caught:
        quartet(*arguments)
    assert caught.value.exit_code == 2


async def test_the_asyncio_client_does_the_same(node: MemoryNode) -> None:
    async with AsyncClient(node.address) as client:
        await client.files.mkdir("/a")
        await client.files.write("/a/f", b"x" * 100)
        made = await client.snapshots.create("/a", "m", ref="a")
        assert (await client.snapshots.get("a")).id == made.id
        assert await client.snapshots.read("a", "/f", offset=90) == b"x" * 10
        assert [one.name async for one in client.snapshots.entries("a")] == ["f"]
        assert (await client.snapshots.stat("a", "/f")).entry.attributes.size == 100
        await client.files.delete("/a/f")
        assert [one.path async for one in client.snapshots.diff("a")] == ["/f"]
        await client.snapshots.restore("a")
        assert await client.files.read("/a/f") == b"x" * 100
        await client.snapshots.branch("a", "/b")
        assert [one.id async for one in client.snapshots.list("/a")] == [made.id]
        await client.snapshots.set_ref("b", made.id, expected="none")
        assert [one.name async for one in client.snapshots.refs()] == ["a", "b"]
        for ref in ("a", "b"):
            await client.snapshots.delete_ref(ref)
        assert (await client.snapshots.delete(made.id)).id == made.id
