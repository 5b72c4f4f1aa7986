"""`quartet import`, as a user runs it, into a node of this process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import foreign
from harness.importing import FIXTURES, source
from harness.quartet import command, environment
from quartet import Client
from quartet._memory import MemoryNode
from quartet_server.cli import create
from quartet_server.cli.output import CommandError
from quartet_server.importers.kinds import KINDS

_PATIENCE = 60.0


@pytest.fixture(scope="module")
def node() -> Iterator[MemoryNode]:
    """One node for all tests of this file; each has a zone of its own."""
    memory = MemoryNode()
    yield memory
    memory.close()


@pytest.fixture
def quartet(node: MemoryNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command line and returns its exit code and the JSON that it printed."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str | Path) -> tuple[int, Any]:
        code = create({})([str(one) for one in (*arguments, "-o", "json")])
        return code or 0, json.loads(capsys.readouterr().out)

    return run


Run = Callable[..., tuple[int, Any]]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_imported_once_however_often_it_is_run(kind: str, quartet: Run, tmp_path: Path) -> None:
    path = source(kind, tmp_path)
    code, first = quartet("import", kind, path, "--me", "Ada@Example.org", "--zone", kind)
    assert code == 0
    assert first["created"] == first["events"] > 0
    code, again = quartet("import", kind, path, "--me", "ada@example.org", "--zone", kind, "--full", "--batch", "2")
    assert (code, again["created"], again["duplicates"]) == (0, 0, first["created"])
    assert (again["sessions"], again["sessions_unchanged"]) == (0, first["sessions"])
    assert again["faults"] == first["faults"]


def test_a_history_of_claude_code_is_imported_and_searched(quartet: Run, node: MemoryNode) -> None:
    zone = ("--zone", "readme")
    _, counts = quartet("import", "claude-code", FIXTURES / "claude", *zone)
    assert (counts["sessions"], counts["turns"], counts["bad"]) == (2, 7, 1)
    _, hits = quartet("events", "search", "why are yen rounded", *zone)
    assert "yen" in hits[0]["event"]["content"]
    with Client(node.address, zone="readme") as client:
        session = client.agents.session("claude-code:5f0c8a52-3a1e-4f57-9d0e-0c2b6a1d7e01")
        assert session.thread_id == "claude-code:c0de0000-0000-4000-8000-00000000000f"
        turns = {one.turn.id[-2:]: one.turn for one in client.agents.thread(label=session.label)}
        assert list(turns) == [
            "01",
            "0b",
            "0e",
            "0f",
        ]  # from the prompt to which the user went back, over the compaction
        assert (turns["01"].input_tokens, turns["01"].output_tokens, turns["01"].tool_call_count) == (37, 165, 2)
        thread = client.events.thread(session.label)
        assert (thread.name, thread.event_count) == ("The checkout rounds prices wrongly for yen. Find out why.", 16)


def test_a_cortex_database_is_unified_and_its_events_dropped(quartet: Run, tmp_path: Path) -> None:
    path, zone = foreign.cortex_db(tmp_path / "cortex.db", more=600), ("--zone", "unified")
    code, row = quartet("import", "cortex", path, *zone, "--drop-source")
    assert (code, row["created"], row["verified"], row["dropped"]) == (0, 605, True, True)
    assert (row["source_events"], row["ledger_events"], row["links"], row["links_dangling"]) == (605, 605, 3, 0)
    code, row = quartet("import", "cortex", path, *zone, "--drop-source")
    assert (code, row["created"], row["dropped"]) == (0, 0, True)


def test_a_database_whose_events_are_not_as_the_ledger_has_them_is_left_alone(quartet: Run, tmp_path: Path) -> None:
    zone = ("--zone", "twice")
    quartet("import", "imessage", foreign.chat_db(tmp_path / "chat.db"), *zone)
    path = foreign.cortex_db(tmp_path / "cortex.db")  # other messages of the same ids
    with pytest.raises(CommandError, match="2 of 5 events"):
        quartet("import", "cortex", path, *zone, "--drop-source")
    code, row = quartet("import", "cortex", path, *zone)
    assert (code, row["verified"], row["by_adapter"]["imessage"]) == (1, False, [3, 0])


@contextlib.contextmanager
def importing(node: MemoryNode, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """An import in a process of its own, ended when the block ends."""
    env = environment({"QUARTET_CLIENT_ENDPOINTS": node.address})
    process = subprocess.Popen(
        command("import", *arguments), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(_PATIENCE)


def test_an_import_that_was_killed_is_completed_by_the_next(node: MemoryNode, quartet: Run, tmp_path: Path) -> None:
    log, lines = tmp_path / "a.jsonl", 2000
    with log.open("w") as file:
        for n in range(lines):
            file.write(json.dumps({"id": f"n{n}", "ts": 1_769_904_000_000 + n, "session_id": "s"}) + "\n")
    arguments = ("nexus", log, "--zone", "killed")
    with Client(node.address, zone="killed") as client:
        with importing(node, *arguments, "--batch", "1") as process:
            deadline = time.monotonic() + _PATIENCE
            while len(client.events.page(page_size=50).events) < 50:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(_PATIENCE) == -signal.SIGKILL
        before = client.events.thread("nexus_session:s").event_count
        assert 50 <= before < lines
        code, row = quartet("import", *arguments)
        assert (code, row["created"], row["duplicates"]) == (0, lines - before, before)
        assert client.events.thread("nexus_session:s").event_count == lines
        assert len({event.source_id for event in client.events.list()}) == lines


def test_a_dry_run_needs_no_node(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", "127.0.0.1:1")
    log = FIXTURES / "nexus"
    assert create({})(["import", "nexus", str(log), "--dry-run", "--since", "2026-02-02", "-o", "json"]) == 0
    printed = capsys.readouterr()
    row = json.loads(printed.out)
    assert (row["events"], row["created"], row["skipped"], row["bad"]) == (1, 0, 3, 2)
    assert printed.err.splitlines()[0].startswith("not imported: 2026-02-01.jsonl:2: a line is not JSON")
    assert create({})(["import", "nexus", str(log), "--dry-run", "--strict"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mbox", "nowhere.mbox"), "nowhere.mbox is not there"),
        (("imessage", "nowhere.db"), "nowhere.db: No such file"),
        (("imessage", FIXTURES / "mbox/mail.mbox"), "no SQLite database"),
        (("codex", FIXTURES / "nexus"), "holds something else"),
        (("nexus", FIXTURES / "nexus", "--drop-source"), "--drop-source is for"),
        (("nexus", FIXTURES / "nexus", "--batch", "0"), "--batch takes"),
        (("nexus", FIXTURES / "nexus", "--since", "soon"), "--since: 'soon' is no time"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_what_was_expected(
    arguments: tuple[str | Path, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        create({})(
            ["import", *map(str, arguments), "--dry-run"]
            if "--drop-source" not in arguments
            else ["import", *map(str, arguments)]
        )
