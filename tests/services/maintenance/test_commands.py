"""`quartet gc`, `fsck` and `du` against a node in this process, and who may call what is behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness.contents import MIB, noise
from quartet import AsyncClient, Client, NotFound
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
def quartet(node: MemoryNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command line; returns its exit code, what it printed (as an object when it asks for JSON), and its words."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str) -> tuple[int, Any, str]:
        code = create({})(list(arguments))
        printed = capsys.readouterr()
        return code or 0, json.loads(printed.out) if "json" in arguments else printed.out, printed.err

    return run


def test_a_zone_is_measured_checked_and_collected(node: MemoryNode, quartet: Any) -> None:
    with Client(node.address) as client:
        client.files.mkdir("/docs/old", parents=True)
        client.files.write("/docs/a", noise(MIB))
        client.files.write("/docs/old/b", noise(MIB))
        client.objects.put(b"nobody's")
    code, rows, _ = quartet("du", "qt:/docs", "--depth", "1", "-o", "json")
    assert code == 0
    assert [(row["path"], row["files"], row["logical"]) for row in rows] == [
        ("/docs/a", 1, MIB), ("/docs/old", 1, MIB), ("/docs", 2, 2 * MIB),
    ]  # fmt: skip
    assert rows[-1]["ratio"] == 2.0
    assert "/docs" in quartet("du", "qt:/docs")[1]
    code, found, _ = quartet("fsck", "-o", "json")
    assert (code, found["findings"], found["found"]) == (0, [], 0)
    code, out, words = quartet("fsck", "/docs", "--bytes", "--repair")
    assert (code, out) == (0, "")
    assert "2 blobs" in words
    assert "clean" in words
    for flags in ((), ("--run",), ("--zone", "default")):
        code, rows, _ = quartet("gc", *flags, "-o", "json")
        assert code == 0
        [row] = rows
        assert (row["zone"], row["examined"], row["reached"], row["young"]) == ("default", 2, 1, 1)
        assert (row["condemned"], row["swept"]) == (0, 0)
    assert "quartet gc --run" in quartet("gc")[2]
    [told] = quartet("gc", "--report", "-o", "json")[1]
    assert told["collect_time"] is not None
    assert told["collect_failure"] is None
    assert told["node"] in quartet("gc", "--report")[1]


def test_what_cannot_be_done_is_told_with_its_reason(quartet: Any) -> None:
    for arguments, reason in (
        (("fsck", "/none"), "FILE_NOT_FOUND"),
        (("du", "/none"), "FILE_NOT_FOUND"),
        (("du", "--depth", "65"), "FIELD_INVALID"),
        (("fsck", "--zone", "nowhere"), "ZONE_NOT_FOUND"),
        (("gc", "--zone", "No Zone"), "ZONE_INVALID"),
    ):
        with pytest.raises(CommandError, match=reason):
            quartet(*arguments)


def test_a_principal_measures_only_below_its_root(node: MemoryNode) -> None:
    with Client(node.address) as client:
        client.files.mkdir("/people/ann/own", parents=True)
        client.files.roots.set("ann", "/people/ann")
    with Client(node.address, principal="ann") as client:
        assert [row.path for row in client.maintenance.usage(depth=1)] == ["/own", "/"]
        with pytest.raises(NotFound):
            list(client.maintenance.usage("/people"))
        assert [told.summary.findings for told in client.maintenance.check()][-1] == 0


@pytest.mark.asyncio(loop_scope="function")
async def test_the_asynchronous_client_does_the_same(node: MemoryNode) -> None:
    async with AsyncClient(node.address) as client:
        assert [row.path async for row in client.maintenance.usage()] == ["/"]
        assert [told async for told in client.maintenance.check()][-1].HasField("summary")
        assert all([told.node async for told in client.maintenance.collect()])
        await client.maintenance.upkeep()
