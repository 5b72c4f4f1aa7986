"""`quartet migrate` and `quartet db status`, as an operator types them, on files and on a PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.migrations import Store
from harness.records import NOTES
from quartet._memory import MemoryNode
from quartet_server.catalog import SCHEMAS
from quartet_server.cli import create, databases
from quartet_server.cli.output import CommandError
from quartet_server.records.engine import FOLDER
from quartet_server.records.migrating import History, folder_of
from quartet_server.records.preparing import held
from quartet_server.records.revising import revision

NAMES = ["0000_first"]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A history of one revision."""
    folder = tmp_path / "migrations"
    text = revision(NOTES, folder, NAMES[0])
    (folder / f"r{NAMES[0]}.py").write_text(text)
    return folder


@pytest.fixture
def quartet(
    store: Store, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Runs a command on the databases of the test, which are notes alone; returns its exit code and what it printed."""
    monkeypatch.setattr(databases, "SCHEMAS", {"notes": NOTES})
    monkeypatch.setattr(databases, "folder_of", lambda _name: history)

    def run(*words: str) -> tuple[int, Any]:
        where = ("--records-url", store.url) if store.url else ("--data-dir", str(tmp_path))
        code = create({})([*words, *where, "-o", "json"])
        return code or 0, json.loads(capsys.readouterr().out)

    return run


def test_databases_are_migrated_after_a_look_and_then_well(quartet: Any) -> None:
    code, (row,) = quartet("db", "status")
    assert (code, row["healthy"]) == (1, False)
    assert "yet" in row["problem"]
    pending = [{"database": "notes", "revision": "", "migrations": NAMES}]
    assert quartet("migrate", "--dry-run") == (0, pending)
    assert quartet("db", "status")[0] == 1  # nothing was changed
    assert quartet("migrate") == (0, pending)
    assert quartet("migrate", "notes") == (0, [{"database": "notes", "revision": NAMES[0], "migrations": []}])
    code, (row,) = quartet("db", "status")
    assert (code, row["problem"]) == (0, "")
    assert {key: row[key] for key in ("healthy", "wal_mode", "foreign_keys", "revision", "pending")} == {
        "healthy": True,
        "wal_mode": True,
        "foreign_keys": True,
        "revision": NAMES[0],
        "pending": [],
    }
    assert "notes" in row["tables"]
    assert row["size"] > 0


def test_what_an_older_database_lacks_is_shown(quartet: Any, history: Path) -> None:
    quartet("migrate")
    more = history / "r0001_more.py"
    more.write_text(
        '"""More."""\nrevision = "0001_more"\ndown_revision = "0000_first"\ndef upgrade() -> None:\n    """Nothing."""\n'
    )
    code, (row,) = quartet("db", "status")
    assert (code, row["pending"], row["healthy"]) == (1, ["0001_more"], False)
    quartet("migrate")
    more.unlink()
    with pytest.raises(CommandError, match="SCHEMA_NEWER"):
        quartet("migrate")
    code, (row,) = quartet("db", "status")
    assert "does not know" in row["problem"]


def test_files_that_a_node_has_are_not_migrated(quartet: Any, store: Store, tmp_path: Path) -> None:
    if store.url:
        assert quartet("migrate")[0] == 0  # where others may be at work: a lock of the server's keeps them apart
        return
    folder = tmp_path / FOLDER
    folder.mkdir()
    with held(folder):
        with pytest.raises(CommandError, match="another process") as refused:
            quartet("migrate")
        assert "stop the node" in refused.value.hint
        assert quartet("migrate", "--dry-run")[0] == quartet("db", "status")[0] - 1 == 0
    assert quartet("migrate")[0] == 0


def test_a_database_that_there_is_not_is_a_mistake_of_the_command_line(quartet: Any) -> None:
    with pytest.raises(CommandError, match="no database nonsense") as refused:
        quartet("migrate", "nonsense")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("words", [["migrate"], ["db", "status"]], ids=" ".join)
def test_a_server_that_does_not_answer_is_said_to(words: list[str], tmp_path: Path, quartet: Any) -> None:
    with pytest.raises(CommandError, match="DATABASE_UNREACHABLE"):
        quartet(*words, "--url", f"postgresql://quartet@/none?host={tmp_path}")


@pytest.mark.parametrize("words", [["migrate"], ["db", "status"]], ids=" ".join)
def test_the_help_is_short_and_has_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    create({})([*words, "--help"])
    text = capsys.readouterr().out
    assert "Example" in text
    assert len(text.splitlines()) < 45


def test_a_running_node_is_asked_where_no_files_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    node = MemoryNode()
    try:
        code = create({})(["db", "status", "--endpoints", node.address, "-o", "json"])
        rows = json.loads(capsys.readouterr().out)
    finally:
        node.close()
    assert code == 0
    assert {row["database"] for row in rows} == set(SCHEMAS)
    for row in rows:
        assert (row["healthy"], row["wal_mode"], row["foreign_keys"], row["queue"]) == (True, True, True, 0)
        assert row["revision"] == History(row["database"], folder_of(row["database"])).head
        assert set(row["tables"]) >= set(SCHEMAS[row["database"]].metadata.tables)


def test_a_node_and_files_are_not_asked_at_once(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as refused:
        create({})(["db", "status", "--endpoints", "127.0.0.1:1", "--data-dir", str(tmp_path)])
    assert refused.value.exit_code == 2
