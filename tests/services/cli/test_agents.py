"""The commands for the agents ledger, as a script uses them, against a node in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness.conversations import exchange
from quartet import Client
from quartet._memory import MemoryNode
from quartet.agents.v1 import turns_pb2
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
    """Runs a command line of `quartet agents`; returns what it printed, as an object when it asks for JSON."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str) -> Any:
        create({})(["agents", *arguments])
        printed = capsys.readouterr().out
        return json.loads(printed) if "json" in arguments else printed

    return run


def test_sessions_are_made_shown_forked_moved_and_put_away(quartet: Any, node: MemoryNode) -> None:
    [made] = quartet("sessions", "create", "mom", "--persona", "atlas", "-o", "json")
    assert (made["label"], made["persona_id"], made["status"], made["is_subagent"]) == ("mom", "atlas", "active", False)
    with Client(node.address) as client:
        first, second = [client.agents.append_turn("mom", exchange(total_tokens=7)).turn.id for _ in range(2)]
        client.agents.compact_session("mom", turns_pb2.Compaction(summary="what was", model="m"))
    shown = quartet("sessions", "show", "mom", "-o", "json")
    assert [(one["type"], one["asked"], one["tokens"]) for one in shown["turns"]] == [
        ("normal", "why?", 7),
        ("normal", "why?", 7),
        ("compaction", None, 0),
    ]
    assert quartet("sessions", "show", "mom", "--messages") == "user: why?\nassistant: so\n" * 2
    assert "what was" in quartet("sessions", "show", "mom")
    assert [one["label"] for one in quartet("sessions", "list", "--persona", "atlas", "-o", "json")] == ["mom"]
    [forked] = quartet("sessions", "fork", "mom", "mom-2", "--turn", first, "-o", "json")
    assert (forked["origin"], forked["thread_id"]) == ("fork", first)
    [moved] = quartet("sessions", "move", "mom-2", second, "--expected-head", first, "-o", "json")
    assert moved["thread_id"] == second
    moves = quartet("sessions", "history", "mom-2", "-o", "json")
    assert [one["thread_id"] for one in moves] == [first, second]
    assert moves[0]["id"] < moves[1]["id"]
    assert quartet("sessions", "context", "mom", "-o", "json")["compaction"]["summary"] == "what was"
    assert quartet("sessions", "context", "mom").startswith("what was\n")
    [put_away] = quartet("sessions", "update", "mom-2", "--status", "archived", "-o", "json")
    assert put_away["status"] == "archived"
    events = quartet("sessions", "watch", "mom-2", "--from", "0", "-n", "3").splitlines()
    assert [line.split()[1] for line in events] == ["session", "head_moved", "message"]
    whole = quartet("turns", "show", second, "-o", "json")
    assert [one["message"]["role"] for one in whole["messages"]] == ["user", "assistant"]
    assert "so" in quartet("turns", "show", second)
    assert len(quartet("turns", "list", "--parent", second, "-o", "json")) == 1


def test_aliases_and_queues_have_commands(quartet: Any) -> None:
    quartet("sessions", "create", "dad")
    [made] = quartet("aliases", "add", "pa", "dad", "-o", "json")
    assert (made["alias"], made["session_label"], made["reason"]) == ("pa", "dad", "manual")
    assert [one["alias"] for one in quartet("aliases", "list", "-o", "json")] == ["pa"]
    [item] = quartet("queue", "push", "pa", '{"text": "hello"}', "--mode", "followup", "-o", "json")
    assert (item["session_label"], item["mode"], item["message"]) == ("dad", "followup", {"text": "hello"})
    assert "followup" in quartet("queue", "list", "dad")
    assert quartet("aliases", "rm", "pa", "-o", "json") == {"alias": "pa", "session_label": "dad"}
    assert quartet("imports", "-o", "json") == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("sessions", "show", "nobody"), 1),
        (("sessions", "list", "--status", "asleep"), 2),
        (("sessions", "update", "nobody"), 2),
        (("sessions", "watch", "nobody", "-n", "-1"), 2),
        (("queue", "push", "nobody", "[1]"), 2),
        (("queue", "push", "nobody", "{"), 2),
    ],
)
def test_a_mistake_is_told_with_what_helps(quartet: Any, arguments: tuple[str, ...], code: int) -> None:
    with pytest.raises(CommandError) as caught:
        quartet(*arguments)
    assert caught.value.exit_code == code
