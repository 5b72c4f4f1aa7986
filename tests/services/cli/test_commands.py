"""The commands for files, settings and nodes, as a script uses them, against a node in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
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
    """Runs a command line and returns what it printed; as an object when it asks for JSON."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str) -> Any:
        create({})(list(arguments))
        printed = capsys.readouterr().out
        return json.loads(printed) if "json" in arguments else printed

    return run


def test_files_are_made_shown_moved_and_removed(quartet: Any) -> None:
    made = quartet("mkdir", "-p", "qt:/docs/drafts", "-o", "json")
    assert (made["path"], made["type"]) == ("/docs/drafts", "directory")
    quartet("mkdir", "/docs/old")
    assert [row["name"] for row in quartet("ls", "qt:/docs", "-o", "json")] == ["drafts", "old"]
    moved = quartet("mv", "qt:/docs/drafts", "qt:/docs/old", "-o", "json")
    assert moved["path"] == "/docs/old/drafts"
    assert quartet("stat", "qt:/docs/old/drafts", "-o", "json")["ino"] == made["ino"] == moved["ino"]
    assert quartet("tree", "qt:/docs") == "/docs\n└── old\n    └── drafts\n\n2 directories, 0 files\n"
    assert [row["path"] for row in quartet("tree", "/docs", "-o", "json")] == ["/docs/old", "/docs/old/drafts"]
    with pytest.raises(CommandError) as caught:
        quartet("rm", "qt:/docs")
    assert "quartet rm -r qt:/docs" in caught.value.hint
    gone = quartet("rm", "-r", "qt:/docs", "-o", "json")
    assert quartet("ls", "-o", "json") == []
    assert [(row["id"], row["path"]) for row in quartet("trash", "list", "-o", "json")] == [(gone["trash_id"], "/docs")]
    assert quartet("trash", "list", "qt:/other", "-o", "json") == []
    assert quartet("trash", "restore", gone["trash_id"], "qt:/again", "-o", "json")["ino"] == gone["ino"]
    quartet("rm", "-r", "/again")
    assert quartet("trash", "empty", "--older-than", "1", "-o", "json") == {"emptied": 0}
    assert "/again" in quartet("trash", "list")
    assert quartet("trash", "empty", "-o", "json") == {"emptied": 1}
    quartet("mkdir", "/docs")
    assert quartet("rm", "-r", "--permanent", "/docs", "-o", "json")["trash_id"] == ""
    assert quartet("trash", "list", "-o", "json") == []


def test_commands_take_several_paths(quartet: Any) -> None:
    assert [row["path"] for row in quartet("mkdir", "/m", "/m/a", "/m/b", "-o", "json")] == ["/m", "/m/a", "/m/b"]
    assert [row["path"] for row in quartet("touch", "/m/f", "/m/g", "-o", "json")] == ["/m/f", "/m/g"]
    assert quartet("ls", "/m/a", "/m") == "/m/a:\n\n/m:\na\nb\nf\ng\n"
    assert [row["path"] for row in quartet("ls", "/m/f", "/m", "-o", "json")] == [
        "/m/f", "/m/a", "/m/b", "/m/f", "/m/g",
    ]  # fmt: skip
    assert [row["path"] for row in quartet("mv", "/m/f", "/m/g", "/m/a", "-o", "json")] == ["/m/a/f", "/m/a/g"]
    with pytest.raises(CommandError, match="is not a directory"):
        quartet("mv", "/m/a/f", "/m/a/g", "/m/no")
    with pytest.raises(CommandError, match="is not a directory"):
        quartet("mv", "/m/a/f", "/m/no/")
    with pytest.raises(CommandError, match="and where to"):
        quartet("mv", "/m/a/f")
    with pytest.raises(CommandError, match="FILE_NOT_FOUND"):
        quartet("rm", "/m/a/f", "/m/a/no")
    assert len(quartet("rm", "-f", "/m/a/f", "/m/a/g", "/m/b", "-o", "json")) == 2
    with pytest.raises(CommandError, match="goes with -r"):
        quartet("rm", "--permanent", "/m")
    quartet("rm", "-r", "--permanent", "/m")


def test_who_forgets_the_parents_is_told_how_to_make_them(quartet: Any) -> None:
    with pytest.raises(CommandError) as caught:
        quartet("mkdir", "/far/away")
    assert caught.value.hint == "quartet mkdir -p qt:/far/away"


def test_a_tree_is_drawn_as_deep_as_asked_and_shows_where_links_lead(quartet: Any) -> None:
    quartet("mkdir", "-p", "/t/a/b")
    quartet("ln", "a/b", "/t/link")
    assert quartet("tree", "/t", "--depth", "1") == "/t\n├── a\n└── link -> a/b\n\n1 directory, 1 file\n"
    assert [row["path"] for row in quartet("tree", "/t", "-L", "2", "-o", "json")] == ["/t/a", "/t/a/b", "/t/link"]
    assert quartet("tree", "/t/link").startswith("/t/link\n")
    assert "link -> a/b" in quartet("ls", "-l", "/t")
    with pytest.raises(CommandError, match="from 0 on"):
        quartet("tree", "--depth", "-1")
    quartet("rm", "-r", "--permanent", "/t")


def test_what_happened_is_watched_from_a_revision_on(quartet: Any) -> None:
    first = quartet("mkdir", "/w", "-o", "json")["revision"]
    quartet("touch", "/w/f")
    quartet("mkdir", "/w/d")
    quartet("mv", "/w/f", "/w/d/g")
    quartet("xattr", "set", "/w/d/g", "k", "v")
    quartet("rm", "/w/d/g")
    lines = quartet("watch", "/w", "-r", "--from", str(first), "-n", "6", "--output=json").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["event"], row["path"], row["old_path"]) for row in rows] == [
        ("created", "/w", None),
        ("created", "/w/f", None),
        ("created", "/w/d", None),
        ("renamed", "/w/d/g", "/w/f"),
        ("xattr", "/w/d/g", None),
        ("deleted", "/w/d/g", None),
    ]
    assert [row["xattr"] for row in rows] == [None] * 4 + ["k", None]
    assert [row["type"] for row in rows[:3]] == ["directory", "file", "directory"]
    resumed = quartet("watch", "/w", "--from", str(rows[1]["revision"] + 1), "-n", "2")
    assert [line.split(maxsplit=1)[1] for line in resumed.splitlines()] == [
        "created   /w/d/",
        "renamed   /w/f -> /w/d/g",
    ]
    with pytest.raises(CommandError, match="from 0 on"):
        quartet("watch", "--count", "-1")
    quartet("rm", "-r", "--permanent", "/w")


def test_entries_are_found_by_pattern_name_and_type(quartet: Any) -> None:
    quartet("mkdir", "-p", "/find/src/py")
    quartet("mkdir", "/find/src/js")
    assert quartet("find", "qt:/find", "--name", "[jp]*") == "/find/src/js\n/find/src/py\n"
    assert quartet("find", "/find", "src/**", "--name", "py") == "/find/src/py\n"
    assert [row["path"] for row in quartet("find", "/find", "s*", "-o", "json")] == ["/find/src"]
    assert quartet("find", "/find", "--type", "file", "-o", "json") == []
    assert quartet("ls", "/find/src") == "js\npy\n"
    assert "drwxr-xr-x" in quartet("ls", "-l", "/find/src")
    quartet("rm", "-r", "--permanent", "/find")


def test_files_are_touched_linked_and_given_attributes(quartet: Any) -> None:
    made = quartet("touch", "/touched", "-o", "json")
    quartet("ln", "touched", "/linked")
    assert quartet("stat", "/linked", "-o", "json")["symlink_target"] == "touched"
    assert quartet("stat", "-L", "/linked", "-o", "json")["ino"] == made["ino"]
    with pytest.raises(CommandError, match="FILE_NOT_FOUND"):
        quartet("touch", "-c", "/untouched")
    quartet("xattr", "set", "/touched", "user.author", "ann")
    assert quartet("xattr", "get", "/touched", "user.author") == "ann\n"
    rows = quartet("xattr", "list", "/touched", "-o", "json")
    assert rows == [{"name": "user.author", "bytes": 3, "text": "ann", "base64": "YW5u"}]
    assert "user.author" in quartet("xattr", "list", "/touched")
    quartet("xattr", "rm", "/touched", "user.author")
    with pytest.raises(CommandError, match="XATTR_NOT_FOUND"):
        quartet("xattr", "get", "/touched", "user.author")
    for path in ("/touched", "/linked"):
        quartet("rm", path)


def test_a_directory_gets_a_quota_that_is_shown_and_taken_away(quartet: Any) -> None:
    quartet("mkdir", "-p", "/team/a")
    made = quartet("quota", "set", "/team", "--inodes", "2", "-o", "json")
    assert (made["used_inodes"], made["limit_inodes"], made["limit_bytes"]) == (1, 2, None)
    quartet("mkdir", "/team/b")
    with pytest.raises(CommandError, match="QUOTA_EXCEEDED"):
        quartet("mkdir", "/team/c")
    assert "2" in quartet("quota", "show", "/team")
    quartet("quota", "rm", "/team")
    quartet("mkdir", "/team/c")
    quartet("rm", "-r", "--permanent", "/team")


def test_a_principal_is_given_a_root(quartet: Any) -> None:
    quartet("mkdir", "-p", "/agents/7")
    assert quartet("root", "set", "7", "/agents/7", "-o", "json")["path"] == "/agents/7"
    assert [row["principal"] for row in quartet("root", "list", "-o", "json")] == ["7"]
    assert "/agents/7" in quartet("root", "list")
    assert quartet("root", "rm", "7", "-o", "json")["revision"]
    quartet("rm", "-r", "--permanent", "/agents")


def test_a_path_that_is_not_remote_is_a_mistake_on_the_command_line(quartet: Any) -> None:
    with pytest.raises(CommandError) as caught:
        quartet("ls", "docs")
    assert caught.value.exit_code == 2


def test_settings_flags_and_the_key_are_kept(quartet: Any) -> None:
    made = quartet("settings", "set", "smtp/password", "hunter2", "--sensitive", "-o", "json")
    assert made["value"] == "********"
    assert quartet("settings", "get", "smtp/password") == "********\n"
    assert quartet("key", "rotate", "-o", "json")["values"] == 1
    assert quartet("settings", "get", "smtp/password", "--reveal") == "hunter2\n"
    assert [row["name"] for row in quartet("settings", "list", "smtp/", "-o", "json")] == ["smtp/password"]
    with pytest.raises(CommandError, match="ETAG_STALE"):
        quartet("settings", "delete", "smtp/password", "--etag", made["etag"] + "0")
    assert quartet("settings", "delete", "smtp/password", "-o", "json")["revision"]
    quartet("flags", "set", "console", "on")
    assert quartet("flags", "get", "console") == "on\n"
    assert [row["enabled"] for row in quartet("flags", "list", "-o", "json")] == [True]
    quartet("flags", "delete", "console")


def test_nodes_and_zones_are_listed(quartet: Any) -> None:
    told = quartet("node", "list", "-o", "json")
    assert [(row["name"], row["role"]) for row in told["nodes"]] == [("memory", "leader")]
    assert told["leader"] == told["nodes"][0]["id"]
    with pytest.raises(CommandError, match="CLUSTER_UNSUPPORTED"):  # nobody can join a node without a Raft port
        quartet("node", "token")
    assert quartet("zone", "create", "red", "-o", "json")["home"] == "memory"
    assert [row["name"] for row in quartet("zone", "list", "-o", "json")] == ["default", "red"]
    quartet("mkdir", "qt:/only-red", "--zone", "red")
    assert [row["name"] for row in quartet("ls", "--zone", "red", "-o", "json")] == ["only-red"]
    with pytest.raises(CommandError, match="NODE_NOT_FOUND"):
        quartet("node", "transfer", "n9")


def test_every_table_prints_without_json(quartet: Any) -> None:
    for arguments in (["ls", "-l"], ["stat", "/"], ["tree"], ["settings", "list"], ["flags", "list"], ["node", "list"],
                      ["zone", "list"]):  # fmt: skip
        assert quartet(*arguments)


def test_names_cannot_act_on_the_terminal(quartet: Any) -> None:
    quartet("mkdir", "-p", "/escape/\x1b[31mred\nline")
    for command in ("ls", "tree"):
        assert "\\x1b[31mred\\nline" in quartet(command, "/escape")
    assert quartet("ls", "/escape", "-o", "json")[0]["name"] == "\x1b[31mred\nline"
    with pytest.raises(CommandError, match=r"/escape/\\x1b does not exist"):
        quartet("ls", "/escape/\x1b")


def test_a_new_directory_can_be_entered(quartet: Any) -> None:
    assert quartet("mkdir", "/open", "-o", "json")["mode"] == "drwxr-xr-x"


def test_versions_are_listed_read_compared_and_gone_back_to(quartet: Any, tmp_path: Path) -> None:
    for number, text in enumerate(("one\n", "two\n", "three\n")):
        source = tmp_path / f"{number}"
        source.write_text(text)
        quartet("cp", str(source), "qt:/plan.md")
    rows = quartet("versions", "qt:/plan.md", "-o", "json")
    assert [(row["generation"], row["size"], row["state"]) for row in rows] == [
        (3, 6, "present"),
        (2, 4, "old"),
        (1, 4, "old"),
    ]
    assert quartet("versions", "list", f"ino:{rows[0]['ino']}", "-o", "json") == rows
    assert "present" in quartet("versions", "list", "/plan.md")
    assert quartet("versions", "cat", "/plan.md", "1", "-o", "json") == {"generation": 1, "text": "one\n"}
    assert quartet("versions", "diff", "/plan.md").endswith("@@ -1 +1 @@\n-two\n+three\n")
    told = quartet("versions", "diff", "/plan.md", "1", "3", "-o", "json")
    assert (told["from"], told["to"], told["content"], told["added"], told["removed"]) == (1, 3, "text", 1, 1)
    back = quartet("rollback", "qt:/plan.md", "1", "--if-match", rows[0]["etag"], "-o", "json")
    assert back["etag"] == f"{back['ino']}.4"
    assert quartet("cat", "/plan.md", "-o", "json")["text"] == "one\n"
    with pytest.raises(CommandError, match="VERSION_NOT_FOUND"):
        quartet("rollback", "/plan.md", "9")
    with pytest.raises(CommandError, match="names no inode"):
        quartet("versions", "ino:x")
    quartet("rm", "/plan.md")
    assert [row["state"] for row in quartet("versions", "/plan.md", "-o", "json")] == ["deleted", "old", "old", "old"]
    assert isinstance(quartet("versions", "deleted", "-o", "json"), list)
    quartet("rollback", "/plan.md", "3")
    assert quartet("cat", "/plan.md", "-o", "json")["text"] == "three\n"
    quartet("rm", "/plan.md")


def test_retention_is_shown_set_and_reset(quartet: Any) -> None:
    assert quartet("versions", "retention", "/", "-o", "json") == {
        "path": "/",
        "max": 100,
        "min": 1,
        "keep_days": 30,
        "set_at": None,
    }
    told = quartet("versions", "retention", "/", "--max", "5", "--keep-days", "0.5", "-o", "json")
    assert (told["max"], told["min"], told["keep_days"], told["set_at"]) == (5, 1, 0.5, "/")
    assert quartet("versions", "retention", "/", "--reset", "-o", "json")["set_at"] is None
    with pytest.raises(CommandError, match="--reset goes without"):
        quartet("versions", "retention", "/", "--reset", "--max", "1")
    assert quartet("versions", "gc", "-o", "json")["dry_run"] is True


def test_workspaces_are_registered_found_declared_and_forgotten(quartet: Any, tmp_path: Path) -> None:
    made = quartet("workspace", "register", "qt:/ws/reports", "--label", "team=red", "--create", "-o", "json")
    assert (made["name"], made["path"], made["labels"]) == ("reports", "/ws/reports", {"team": "red"})
    quartet("mv", "/ws/reports", "/ws/papers")
    assert [row["path"] for row in quartet("workspace", "ls", "--label", "team=red", "-o", "json")] == ["/ws/papers"]
    assert quartet("workspace", "show", "qt:/ws/papers", "-o", "json")["name"] == "reports"
    assert "/ws/papers" in quartet("workspace", "show", "reports")
    document = tmp_path / "declared.toml"
    document.write_text('[[memories]]\nname = "ada"\npath = "/ws/ada"\ncreate = true\n')
    foreseen = quartet("workspace", "load", str(document), "--dry-run", "-o", "json")
    loaded = quartet("workspace", "load", str(document), "-o", "json")
    assert (foreseen["added"], loaded["added"], loaded["failed"]) == (1, 1, 0)
    assert "unchanged" in quartet("workspace", "load", str(document))
    assert [row["name"] for row in quartet("workspace", "ls", "--kind", "memory", "-o", "json")] == ["ada"]
    assert quartet("workspace", "rm", "reports", "-o", "json")["revision"]
    quartet("workspace", "rm", "ada")
    with pytest.raises(CommandError, match="WORKSPACE_NOT_FOUND"):
        quartet("workspace", "show", "reports")
    with pytest.raises(CommandError) as caught:
        quartet("workspace", "register", "/ws", "--label", "x")
    assert caught.value.exit_code == 2
    quartet("rm", "-r", "--permanent", "/ws")


def test_stores_are_mounted_listed_and_unmounted(quartet: Any) -> None:
    assert quartet("mounts", "-o", "json") == []
    with pytest.raises(CommandError, match="MOUNT_REFUSED") as caught:
        quartet("mount", "qt:/archive", "s3://bucket", "--create")
    assert "objects.mounts" in caught.value.hint
    with pytest.raises(CommandError, match="MOUNT_NOT_FOUND"):
        quartet("unmount", "archive", "--drain")
