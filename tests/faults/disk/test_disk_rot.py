"""Bytes of a stopped member's files flip or are cut off: it says so and does not start, or nothing is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.disk.members import everything, member_kv
from faults.disk.rot import cut, flip, flip_everywhere, flip_page, log, newest_checkpoint, record, state, wipe
from harness.raftmeta import RaftmetaCluster

from raftmeta.etcd import rpc_pb2 as pb

MARKED = b"a value that is found again"
PAIRS = {b"key/%04d" % number: MARKED + b" %04d" % number * 20 for number in range(300)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a member that was stopped, with `PAIRS` in it."""
    directory = tmp_path_factory.mktemp("sound")
    with RaftmetaCluster(directory) as cluster:
        with member_kv(cluster.endpoints[0]) as kv:
            for key, value in PAIRS.items():
                kv.Put(pb.PutRequest(key=key, value=value), timeout=30)
        assert cluster.terminate(0) == 0
    return cluster.data_dir(0)


def start(data_dir: Path) -> dict[bytes, bytes] | str:
    """Start a member on a directory; returns everything it serves, or what it said when it refused to."""
    cluster = RaftmetaCluster(data_dir.parent)
    cluster.launch(0)
    try:
        cluster.wait(0, 60)
        return everything(cluster.endpoints[0])
    except TimeoutError as refused:
        return str(refused)
    finally:
        cluster.kill(0)


def both(data_dir: Path) -> None:
    for copy in (0, 4096):
        flip(data_dir / "raft" / "wal" / "state", copy + 20)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "header of a log record": (lambda d: flip(log(d), record(d, 20) + 30), "raftmeta check"),
    "data of a log record": (lambda d: flip(log(d), record(d, 20) + 70), "raftmeta check"),
    "data of the last log record": (lambda d: flip(log(d), record(d, -1) + 70), "raftmeta check"),
    "header of a log segment": (lambda d: flip(log(d), 30), "raftmeta check"),
    "tail of the log": (lambda d: cut(log(d), 10), "raftmeta check"),
    "a whole segment": (lambda d: log(d).unlink(), "raftmeta check"),
    "both copies of term and vote": (both, "raftmeta check"),
    "the file with term and vote": (lambda d: (d / "raft" / "wal" / "state").unlink(), "raftmeta check"),
    "both checkpoints": (
        lambda d: wipe(state(d, "checkpoint")),
        "remove this member",
    ),
    "the file of checkpoints, cut": (lambda d: cut(state(d, "checkpoint"), 100), "remove this member"),
    "magic number of the store": (lambda d: flip(state(d), 16), "remove this member"),
    "end of the store": (lambda d: cut(state(d), 4096), "remove this member"),
    "name of the state": (lambda d: flip(d / "store" / "CURRENT", 0), "remove this member"),
    "membership": (lambda d: flip(d / "raft" / "members" / "membership.rec", -3), "add it again"),
    "identity": (lambda d: flip(d / "identity.json", 0), "restore the member from a snapshot"),
    "where the rows of a page of the store end": (lambda d: flip_page(d, PAIRS[b"key/0123"], 12), "remove this member"),
    "first row of a page of the store": (lambda d: flip_page(d, PAIRS[b"key/0123"], 16), "remove this member"),
    "a value in the store": (lambda d: flip_everywhere(state(d), PAIRS[b"key/0123"]), "remove this member"),
}
HEALED: dict[str, Callable[[Path], None]] = {
    "first copy of term and vote": lambda d: flip(d / "raft" / "wal" / "state", 20),
    "second copy of term and vote": lambda d: flip(d / "raft" / "wal" / "state", 4096 + 20),
    "sync mark": lambda d: flip(d / "raft" / "wal" / "state", 8192 + 10),
    "reserve": lambda d: flip(d / "raft" / "wal" / "reserve", 10),
    "first meta page of the store": lambda d: flip(state(d), 60),
    "second meta page of the store": lambda d: flip(state(d), 4096 + 60),
    "newest checkpoint": lambda d: flip(state(d, "checkpoint"), newest_checkpoint(d) + 100),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_member_with_damage_it_cannot_heal_says_what_to_do_and_serves_nothing(
    sound: Path, tmp_path: Path, case: str
) -> None:
    data_dir = shutil.copytree(sound, tmp_path / "m0")
    damage, advice = REFUSED[case]
    damage(data_dir)
    said = start(data_dir)
    assert isinstance(said, str), "it started"
    assert advice in said


@pytest.mark.parametrize("case", HEALED)
def test_a_member_heals_what_it_has_twice(sound: Path, tmp_path: Path, case: str) -> None:
    data_dir = shutil.copytree(sound, tmp_path / "m0")
    HEALED[case](data_dir)
    assert start(data_dir) == PAIRS
