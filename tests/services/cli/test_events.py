"""`quartet events`, as a script uses it, against a node in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quartet._memory import MemoryNode
from quartet_server.cli import create
from quartet_server.cli.output import CommandError

EVENT = {
    "source": "mail",
    "type": "message",
    "from_channel": "mail",
    "from_identifier": "ann@example.com",
    "timestamp": "2026-11-21T08:00:00Z",
}


@pytest.fixture(scope="module")
def node() -> Iterator[MemoryNode]:
    """One node for all tests of this file."""
    memory = MemoryNode()
    yield memory
    memory.close()


@pytest.fixture
def quartet(node: MemoryNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `quartet events` with arguments in a zone of the test's own; JSON comes back as an object."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str) -> Any:
        create({})(["events", *arguments])
        printed = capsys.readouterr().out
        return json.loads(printed) if "json" in arguments else printed

    return run


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A file of three events."""
    path = tmp_path / "events.jsonl"
    texts = ("The deploy failed at noon", "It was the disk: no room", "Lunch?")
    events = [
        {**EVENT, "source_id": str(number), "content": text, "direction": "outbound", "thread_id": "t"}
        for number, text in enumerate(texts)
    ]
    path.write_text("".join(f"{json.dumps(one)}\n" for one in events) + "\n")
    return path


def test_a_file_of_events_is_appended_and_again_without_harm(quartet: Any, lines: Path) -> None:
    assert quartet("append", str(lines), "--zone", "z1", "-o", "json") == {"created": 3, "duplicate": 0}
    assert quartet("append", str(lines), "--zone", "z1", "--batch", "2", "-o", "json") == {"created": 0, "duplicate": 3}
    rows = quartet("list", "--thread", "t", "--zone", "z1", "-o", "json")
    assert {(one["id"], one["direction"]) for one in rows} == {(f"mail:{n}", "outbound") for n in range(3)}
    assert quartet("list", "--since", "2026-11-22T00:00:00Z", "--zone", "z1", "-o", "json") == []
    assert quartet("get", "mail:1", "--zone", "z1", "-o", "json")["content"] == "It was the disk: no room"
    assert "no room" in quartet("get", "mail:1", "--zone", "z1")


def test_what_one_zone_lists_another_takes(quartet: Any, lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quartet("append", str(lines), "--zone", "z2")
    listed = quartet("list", "--zone", "z2", "-o", "json")
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{json.dumps(one)}\n" for one in listed)))
    assert quartet("append", "--zone", "z3", "-o", "json") == {"created": 3, "duplicate": 0}


def test_a_question_finds_its_answer(quartet: Any, lines: Path) -> None:
    quartet("append", str(lines), "--zone", "z4")
    first, *_ = quartet("search", "why", "did", "the", "deploy", "fail", "--zone", "z4", "-o", "json")
    assert (first["event"]["id"], first["snippet"]) == ("mail:0", "The deploy failed at noon")
    assert "[deploy] [failed]" in quartet("search", "deploy failing", "--zone", "z4")
    with pytest.raises(CommandError, match="FTS_QUERY_INVALID"):
        quartet("search", 'an "open quote', "--zone", "z4")


def test_a_tail_ends_where_it_is_told_and_commits_for_its_consumer(quartet: Any, lines: Path) -> None:
    quartet("append", str(lines), "--zone", "z5")
    shown = quartet("tail", "--consumer", "c", "--commit", "-n", "2", "--zone", "z5")
    assert [line.split()[0] for line in shown.splitlines()] == ["1", "2"]
    assert quartet("consumers", "list", "--zone", "z5", "-o", "json")[0]["position"] == 2
    rest = quartet("tail", "--consumer", "c", "--commit", "--once", "--zone", "z5")
    assert "Lunch?" in rest
    assert quartet("consumers", "commit", "c", "1", "--rewind", "--zone", "z5", "-o", "json")["position"] == 1
    quartet("consumers", "rm", "c", "--zone", "z5")
    assert quartet("consumers", "--zone", "z5", "-o", "json") == []
    with pytest.raises(CommandError, match="needs a consumer"):
        quartet("tail", "--commit")


def test_threads_erasure_and_rebuilding(quartet: Any, lines: Path) -> None:
    quartet("append", str(lines), "--zone", "z6")
    assert quartet("threads", "--zone", "z6", "-o", "json")[0]["event_count"] == 3
    assert quartet("erase", "mail:0", "mail:7", "--zone", "z6", "-o", "json") == {"erased": 1}
    assert quartet("rebuild", "--zone", "z6", "-o", "json") == {
        "events": 2, "participants": 2, "attachments": 0, "threads": 1, "mended": 0, "differences": 0,
    }  # fmt: skip
    with pytest.raises(CommandError, match="no event is named"):
        quartet("erase", "--zone", "z6")


def test_watermarks_are_set_and_shown(quartet: Any) -> None:
    at = "2026-11-21T08:00:00Z"
    quartet("watermarks", "set", "gmail", at, "--event", "mail:1", "--zone", "z7")
    kept = quartet("watermarks", "set", "gmail", "2026-11-20T08:00:00Z", "--monotonic", "--zone", "z7", "-o", "json")
    assert kept == {"adapter": "gmail", "last_sync_at": at, "last_event_id": "mail:1"}
    assert quartet("watermarks", "--zone", "z7", "-o", "json") == [kept]
    assert quartet("status", "gmail", "--zone", "z7", "-o", "json")["last_sync_at"] == at
    with pytest.raises(CommandError, match="is not a time"):
        quartet("watermarks", "set", "gmail", "yesterday")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}\nnot json\n", "lacks|empty"),
        ("not json\n", "line 1 is no event"),
        ('{"nope": 1}\n', "line 1"),
        ("[]\n", "line 1"),
    ],
)
def test_a_bad_line_is_named(quartet: Any, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(CommandError, match=told):
        quartet("append", str(path), "--batch", "1", "--zone", "z8")
