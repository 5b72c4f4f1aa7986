"""`quartet cp` while the node it talks to, which leads, is killed: the copy succeeds, byte for byte, both ways."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.contents import noise
from harness.fleet import Fleet
from harness.quartet import command, environment
from quartet import NotFound

pytestmark = pytest.mark.slow
_PATIENCE = 120.0
_SOON = 6


def grow(top: Path) -> Path:
    """Make a tree of which a part goes file by file and a part many in a call, and return its top."""
    (top / "large").mkdir(parents=True)
    (top / "small/deep").mkdir(parents=True)
    for i in range(24):
        (top / f"large/{i:02}").write_bytes(noise(150_000, i))
    for i in range(120):
        (top / f"small/deep/{i}").write_bytes(noise(i * 60, i))
    (top / "small/run").write_text("#!/bin/sh\n")
    (top / "small/run").chmod(0o755)
    return top


def shape(top: Path) -> dict[str, object]:
    """Digest and mode of every file below a directory."""
    return {
        str(path.relative_to(top)): path.is_dir()
        or (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode)
        for path in sorted(top.rglob("*"))
    }


def copy_while_the_leader_dies(fleet: Fleet, come: Callable[[], int], *arguments: str | Path) -> dict[str, Any]:
    """Run `cp` over the leader, kill that when some files have come, and return what `cp` says it did."""
    leader = fleet.leader()
    others = [node.endpoint for node in fleet.nodes if node is not leader]
    env = environment({"QUARTET_CLIENT_ENDPOINTS": ",".join([leader.endpoint, *others])})
    line = command("cp", "-r", *arguments, "--parallel", "1", "-o", "json")
    with subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as copying:
        try:
            deadline = time.monotonic() + _PATIENCE
            while come() < _SOON:
                assert copying.poll() is None, copying.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            leader.kill()
            assert copying.poll() is None  # there was something left to copy
            out, err = copying.communicate(timeout=_PATIENCE)
        finally:
            copying.kill()
    assert copying.returncode == 0, err
    leader.ended()
    leader.start()
    return dict(json.loads(out))


def test_a_tree_goes_there_and_back_while_the_leader_is_killed(tmp_path: Path) -> None:
    source, target = grow(tmp_path / "source"), tmp_path / "target"
    with Fleet(tmp_path / "fleet", 3) as fleet, fleet.client() as client:

        def sent() -> int:
            try:
                return len(list(client.files.list("/there/large", serializable=True)))
            except NotFound:
                return 0

        def fetched() -> int:
            return sum(not path.name.startswith(".") for path in target.glob("large/*"))

        told = copy_while_the_leader_dies(fleet, sent, source, "qt:/there")
        assert (told["files"], told["directories"], told["failed"]) == (145, 4, [])
        told = copy_while_the_leader_dies(fleet, fetched, "qt:/there", target)
        assert (told["files"], told["failed"]) == (145, [])
    assert shape(target) == shape(source)
