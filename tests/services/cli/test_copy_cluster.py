"""A tree goes into a cluster of local disks and comes back byte for byte, whatever disk is lost on the way.

QUARTET_COPY_WHOLE=1 takes the whole standard library instead of a slice of it.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest
from harness.fleet import Fleet, ServedNode
from quartet.objects.replicas.v1 import replicas_pb2 as pb
from quartet_server.cli import create

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if os.environ.get("QUARTET_COPY_WHOLE") else 240)]

SLICE = ("email", "json")
FLAGS = ("--objects-peer-seconds", "2")


def library(directory: Path) -> Path:
    """A copy of the standard library, or of a slice of it, and one file that is cut into chunks."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    top = directory / "lib"
    if os.environ.get("QUARTET_COPY_WHOLE"):
        shutil.copytree(stdlib, top, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "site-packages"))
    else:
        for name in SLICE:
            shutil.copytree(stdlib / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
    (top / "large").write_bytes(os.urandom(5 << 20))
    return top


def files_of(top: Path) -> list[Path]:
    return sorted(path.relative_to(top) for path in top.rglob("*"))


def differs(one: Path, other: Path) -> list[str]:
    """Everything in which two trees differ."""
    names = files_of(one)
    if names != files_of(other):
        return [str(name) for name in {*names} ^ {*files_of(other)}]
    plain = [str(name) for name in names if (one / name).is_file()]
    _, wrong, failed = filecmp.cmpfiles(one, other, plain, shallow=False)
    return wrong + failed


class Copies:
    """`quartet cp -r` in this process, as an operator of a fleet."""

    def __init__(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        if fleet.secure:
            files = fleet.operator()
            for name, path in (("CA", files.ca), ("CERT", files.certificate), ("KEY", files.key)):
                monkeypatch.setenv(f"QUARTET_CLIENT_{name}", str(path))

    def __call__(self, source: str | Path, target: str | Path, at: ServedNode) -> Any:
        self._monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", at.endpoint)
        self._capfd.readouterr()
        create({})(["cp", "-r", str(source), str(target), "-o", "json"])
        told = json.loads(self._capfd.readouterr().out)
        assert told["failed"] == []
        return told


def status(fleet: Fleet, at: ServedNode) -> pb.Status:
    with fleet.client(at.endpoint) as client:
        return client.objects.status()


def await_settled(fleet: Fleet, at: ServedNode, names: set[str], seconds: float = 90.0) -> None:
    """Wait until every copy is where it should be, on exactly these nodes."""
    deadline = time.monotonic() + seconds
    while True:
        told = status(fleet, at)
        nodes = {node.name: node for node in told.nodes if node.placed}
        if told.settled and set(nodes) == names and all(node.blobs for node in nodes.values()):
            assert sum(node.debts for node in told.nodes) == 0
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.2)


def await_placement(fleet: Fleet) -> None:
    """Wait until the nodes have agreed on who keeps blobs."""
    deadline = time.monotonic() + 60
    while len([node for node in status(fleet, fleet.nodes[0]).nodes if node.placed]) < len(fleet.nodes):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_tree_outlives_the_disks_of_a_cluster_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = library(tmp_path)
    with Fleet(tmp_path, 3, *FLAGS, secure=True) as fleet:
        first, second, third = fleet.nodes
        copy = Copies(fleet, monkeypatch, capfd)

        def reads_from(*nodes: ServedNode) -> None:
            for number, node in enumerate(nodes):
                back = tmp_path / f"from-{node.name}-{number}"
                copy("qt:/lib", back, node)
                assert differs(source, back) == []
                shutil.rmtree(back)

        await_placement(fleet)
        sent = copy(source, "qt:/lib", first)
        assert sent["bytes"] > 5 << 20
        again = copy(f"{source}/.", "qt:/lib", second)
        assert (again["files"], again["bytes"]) == (0, 0)
        await_settled(fleet, first, {"n1", "n2", "n3"})
        reads_from(first, second, third)

        third.kill()  # its blobs are gone for good, its metadata is there
        third.ended()
        shutil.rmtree(third.data_dir / "objects")
        reads_from(first)
        third.start()
        await_settled(fleet, first, {"n1", "n2", "n3"})  # its share is there again
        reads_from(third)

        second.kill()  # all of it is gone, and another node takes its place
        second.ended()
        shutil.rmtree(second.data_dir)
        assert fleet.quartet("node", "remove", "n2", at=first).code == 0
        fourth = fleet.add("n4", *FLAGS)
        fourth.start("--join", fleet.token(at=first))
        await_settled(fleet, first, {"n1", "n3", "n4"})
        reads_from(first, third, fourth)
        told = fleet.quartet("objects", "status", "-o", "json", at=fourth)
        assert (told.code, told.json["settled"], told.json["debts"]) == (0, True, 0)


def test_a_suspended_node_hangs_no_write_and_gets_its_copies_when_it_goes_on(tmp_path: Path) -> None:
    with Fleet(tmp_path, 3, *FLAGS) as fleet:
        await_placement(fleet)
        leader = fleet.leader()
        other, suspended = [node for node in fleet.nodes if node is not leader]
        assert suspended.process is not None
        blobs = {os.urandom(size): size for size in (5_000, 200_000, 6 << 20) for _ in range(3)}
        suspended.process.send_signal(signal.SIGSTOP)
        try:
            with fleet.client(leader.endpoint, timeout=25.0) as client:
                digests = {client.objects.put(data): data for data in blobs}
        finally:
            suspended.process.send_signal(signal.SIGCONT)
        await_settled(fleet, other, {"n1", "n2", "n3"})
        for node in fleet.nodes:
            with fleet.client(node.endpoint) as client:
                assert {digest: client.objects.get(digest) for digest in digests} == digests
                found, missing = client.objects.stat_many(list(digests))
                assert (len(found), missing) == (len(digests), [])
