"""The demonstration notices every difference it claims to look for, and plays through on real nodes."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from quartet.files.v1 import files_pb2 as pb
from quartet_server.demo.tree import Facts, differences, digest, on_disk, request

FILE = Facts(pb.ENTRY_TYPE_FILE, 0o644, 3, "ab" * 32, 1_700_000_000_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory, an empty one in it, a file, an executable, a link that leads nowhere, and what is left out."""
    (tmp_path / "a" / "empty").mkdir(parents=True)
    (tmp_path / "a" / "text").write_text("abc")
    (tmp_path / "run").write_text("#!")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"x")
    return tmp_path


def test_a_tree_on_disk_is_described_whole_with_parents_before_what_they_hold(root: Path) -> None:
    found = on_disk(root, "/r")
    assert sorted(found) == ["/r/a", "/r/a/empty", "/r/a/text", "/r/link", "/r/run"]
    paths = list(found)
    assert paths.index("/r/a") < paths.index("/r/a/empty")
    assert found["/r/a/text"].size == 3
    assert found["/r/a/text"].digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found["/r/run"].mode == 0o755
    assert found["/r/link"].target == "nowhere"


def test_what_is_sent_says_all_that_is_compared(root: Path) -> None:
    for path, facts in on_disk(root, "/r").items():
        sent = request(path, facts)
        assert (sent.path, sent.type, sent.attributes.mode) == (path, facts.kind, facts.mode)
        assert sent.attributes.digest.hex() == facts.digest
        assert sent.attributes.symlink_target == facts.target
        if facts.kind == pb.ENTRY_TYPE_FILE:
            assert sent.attributes.mtime.ToMicroseconds() == facts.mtime


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "/f is missing"),
        ({"/f": FILE, "/g": FILE}, "/g should not exist"),
        ({"/f": replace(FILE, kind=pb.ENTRY_TYPE_SYMLINK)}, "/f is Facts"),
        ({"/f": replace(FILE, mode=0o600)}, "/f is Facts"),
        ({"/f": replace(FILE, size=4)}, "/f is Facts"),
        ({"/f": replace(FILE, digest="00" * 32)}, "/f is Facts"),
        ({"/f": replace(FILE, mtime=FILE.mtime + 1)}, "/f is Facts"),
        ({"/f": replace(FILE, target="x")}, "/f is Facts"),
    ],
)
def test_every_difference_is_told_and_changes_the_digest(found: dict[str, Facts], said: str) -> None:
    wanted = {"/f": FILE}
    told = list(differences(wanted, found))
    assert len(told) == 1
    assert told[0].startswith(said)
    assert digest(found) != digest(wanted)


def test_equal_trees_have_no_differences_and_one_digest(root: Path) -> None:
    first, second = on_disk(root, "/r"), on_disk(root, "/r")
    assert list(differences(first, second)) == []
    assert digest(first) == digest(dict(reversed(second.items())))


@pytest.mark.slow
def test_the_demonstration_kills_the_leader_and_loses_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for i in range(600):
        (source / f"d{i % 20}").mkdir(parents=True, exist_ok=True)
        (source / f"d{i % 20}" / f"f{i}").write_text(str(i))
    command = [sys.executable, "-m", "quartet_server.demo", "--tree", str(source), "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"kill -9 \d+: n\d, the leader", done.stdout)
    assert len(re.findall(r"^  n\d +[0-9a-f]{64}  620 entries, same$", done.stdout, re.MULTILINE)) == 3
