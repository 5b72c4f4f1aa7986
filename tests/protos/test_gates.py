"""The gates themselves: stale stubs, a stale image and a broken client are all seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the protos and of a tree of stubs that fits them."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos", ignore=shutil.ignore_patterns("__pycache__"))
    for command in ("stubs", "accept"):
        assert run(tmp_path, command).returncode == 0
    return tmp_path


def run(checkout: Path, command: str) -> subprocess.CompletedProcess[str]:
    gen = [sys.executable, str(checkout / "protos" / "gen.py"), command]
    return subprocess.run(gen, capture_output=True, text=True, check=False)


def test_fresh_stubs_and_image_pass_every_gate(checkout: Path) -> None:
    for command in ("check", "lint", "breaking"):
        result = run(checkout, command)
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_stub_that_was_edited_deleted_or_left_behind_is_named(checkout: Path) -> None:
    stubs = checkout / "raftmeta" / "etcd"
    (stubs / "rpc_pb2.py").write_text((stubs / "rpc_pb2.py").read_text() + "# edited\n")
    (stubs / "kv_pb2.pyi").unlink()
    (stubs / "gone_pb2.py").write_text("# its proto is gone\n")
    result = run(checkout, "check")
    assert result.returncode == 1
    for name in ("rpc_pb2.py", "kv_pb2.pyi", "gone_pb2.py"):
        assert f"raftmeta/etcd/{name} is not what the protos say" in result.stdout


def test_a_field_that_is_renumbered_breaks_clients_and_leaves_the_image_stale(checkout: Path) -> None:
    kv = checkout / "protos" / "raftmeta" / "etcd" / "kv.proto"
    kv.write_text(kv.read_text().replace("int64 lease = 6;", "int64 lease = 7;"))
    broken = run(checkout, "breaking")
    assert broken.returncode != 0
    assert 'field "6" with name "lease" on message "KeyValue" was deleted' in broken.stdout + broken.stderr
    assert run(checkout, "stubs").returncode == 0
    stale = run(checkout, "check")
    assert stale.returncode == 1
    assert "protos/api.binpb is not what the protos say" in stale.stdout


def test_a_new_field_breaks_nobody_but_must_be_accepted(checkout: Path) -> None:
    kv = checkout / "protos" / "raftmeta" / "etcd" / "kv.proto"
    kv.write_text(kv.read_text().replace("int64 lease = 6;", "int64 lease = 6;\n  // New.\n  bytes extra = 99;"))
    assert run(checkout, "stubs").returncode == 0
    assert run(checkout, "breaking").returncode == 0
    assert run(checkout, "check").returncode == 1
    assert run(checkout, "accept").returncode == 0
    assert run(checkout, "check").returncode == 0


def test_a_field_without_a_comment_does_not_pass_lint(checkout: Path) -> None:
    proto = checkout / "protos" / "quartet" / "bare" / "v1" / "bare.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text(
        'syntax = "proto3";\n// P.\npackage quartet.bare.v1;\n// Bare is bare.\nmessage Bare {\n  int64 x = 1;\n}\n'
    )
    result = run(checkout, "lint")
    assert result.returncode != 0
    assert 'Field "x" should have a non-empty comment' in result.stdout + result.stderr
