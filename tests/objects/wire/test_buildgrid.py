"""BuildGrid's own client works with a node: files and trees go up, come down and are the same."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.peers import binary
from harness.quartet import Cluster, cluster, quartet
from harness.wire import blob, hashed

pytestmark = [pytest.mark.peer, pytest.mark.slow]

LARGE = 5 << 20
"""Bytes of the largest file: more than a batch takes, so that it goes through ByteStream."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node with a second zone."""
    binary("bgd")
    with cluster(tmp_path_factory.mktemp("bgd") / "data", 1) as running:
        assert quartet("zone", "create", "farm", "--endpoints", running.endpoints[0]).code == 0
        yield running


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with everything that a Directory can hold."""
    root = tmp_path / "tree"
    (root / "empty").mkdir(parents=True)
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "large").write_bytes(blob(LARGE))
    (root / "deep" / "twin").write_bytes(b"the same")
    (root / "twin").write_bytes(b"the same")
    (root / "nothing").write_bytes(b"")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "näme").write_text("not ASCII")
    os.symlink("deep/twin", root / "link")
    for i in range(600):  # more than one batch
        (root / "deep" / f"{i}").write_text(str(i))
    return root


def bgd(node: Cluster, *arguments: str | Path, instance: str = "", command: str = "cas") -> str:
    """Run the client to its end and return what it said; it exits with 0 or the test fails."""
    named = ["--instance-name", instance] if instance else []
    done = subprocess.run(
        [binary("bgd"), command, "--remote", f"http://{node.endpoints[0]}", *named, *map(str, arguments)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Error" not in done.stdout + done.stderr
    return done.stdout


def pushed(said: str, path: Path) -> str:
    """Return the digest under which the client says it sent a path."""
    [line] = [line for line in said.splitlines() if f"path=[{path}]" in line and "digest=[" in line]
    return line.rpartition("digest=[")[2].rstrip("]")


def same(one: Path, two: Path) -> bool:
    """Compare trees: names, bytes, links and who may run."""
    compared = filecmp.dircmp(one, two)
    if compared.left_only or compared.right_only or compared.funny_files:
        return False
    for name in compared.common_files:
        left, right = one / name, two / name
        if left.is_symlink() != right.is_symlink() or (left.is_symlink() and os.readlink(left) != os.readlink(right)):
            return False
        if left.read_bytes() != right.read_bytes() or os.access(left, os.X_OK) != os.access(right, os.X_OK):
            return False
    return all(same(one / name, two / name) for name in compared.common_dirs)


def test_the_client_reads_what_the_node_can_do(node: Cluster) -> None:
    said = json.loads(bgd(node, command="capabilities"))
    assert said["cacheCapabilities"]["digestFunctions"] == ["SHA256"]
    assert said["highApiVersion"]["major"] == 2


def test_files_go_up_and_come_down(node: Cluster, tmp_path: Path) -> None:
    sizes = {0: "empty", 1000: "small", LARGE: "large"}
    up, down = tmp_path / "up", tmp_path / "down"
    for folder in (up, down):
        folder.mkdir()
    for size, name in sizes.items():
        (up / name).write_bytes(blob(size, size))
    every = [up / name for name in sizes.values()]
    for _ in range(2):  # the second time they are there
        said = bgd(node, "upload-file", "--verify", *every)
        digests = [pushed(said, path) for path in every]
        assert digests == [f"{hashed(blob(size, size))}/{size}" for size in sizes]
    wanted = [part for digest, path in zip(digests, every, strict=True) for part in (digest, str(down / path.name))]
    bgd(node, "download-file", "--verify", *wanted)
    assert {path.name: path.read_bytes() for path in down.iterdir()} == {
        name: blob(size, size) for size, name in sizes.items()
    }


def test_a_tree_goes_up_and_comes_down_in_a_zone_of_its_own(node: Cluster, tree: Path, tmp_path: Path) -> None:
    digest = pushed(bgd(node, "upload-dir", "--verify", tree, instance="farm"), tree)
    bgd(node, "download-dir", "--verify", digest, tmp_path / "down", instance="farm")
    assert same(tree, tmp_path / "down")
    (tmp_path / "down" / "twin").write_bytes(b"another")
    assert not same(tree, tmp_path / "down")
    missing = subprocess.run(
        [binary("bgd"), "cas", "--remote", f"http://{node.endpoints[0]}", "download-dir", digest, tmp_path / "none"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert missing.returncode != 0
    assert not list((tmp_path / "none").iterdir())


def test_a_snapshot_comes_down_by_its_root_digest_large_files_put_together(
    node: Cluster, tree: Path, tmp_path: Path
) -> None:
    """Files of several chunks are kept as chunks alone; a part of the tree that did not change is shared."""
    endpoint = node.endpoints[0]
    assert quartet("cp", "-r", tree, "qt:/photographed", "--endpoints", endpoint).code == 0
    for name in ("once", "again"):
        made = quartet("snapshot", "create", "qt:/photographed", "--endpoints", endpoint, "-o", "json").json
        bgd(node, "download-dir", made["root"], tmp_path / name)  # the client's own check knows no node properties
        assert same(tree, tmp_path / name)
        (tree / "deep" / "er" / "more").write_bytes(blob(LARGE, 7)[: LARGE // 2])
        assert quartet("cp", "-r", f"{tree}/.", "qt:/photographed", "--endpoints", endpoint).code == 0
