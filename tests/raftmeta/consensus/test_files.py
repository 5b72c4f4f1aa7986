"""Setting up, restoring and rescuing a member's directory."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from harness.hosting import start_consensus
from harness.simnet import Simulation, Store

from raftmeta.consensus import (
    RaftConfig,
    Refusal,
    RunningConsensus,
    StartError,
    create_data_dir,
    force_new_cluster,
)
from raftmeta.consensus.cabinet import DiskCabinet
from raftmeta.consensus.codec import by_id
from raftmeta.consensus.membership import store_membership
from raftmeta.wal import Wal

MEMBERS = [Simulation.member(n) for n in (1, 2, 3)]


def start(directory: Path, store: Store, *members: int) -> RunningConsensus:
    return start_consensus(RaftConfig(), 1, 7, [Simulation.member(n) for n in members], store, directory, None)


def read(node: RunningConsensus) -> Any:
    answer: Future[Any] = Future()
    node.read_index(answer.set_result)
    return answer.result(20)


def test_a_restored_state_goes_on_where_the_backup_ended(tmp_path: Path) -> None:
    store = Store()
    store.index, store.term, store.data = 50, 4, {"a": "1"}
    create_data_dir(tmp_path, 7, 1, MEMBERS[:1], 50, 4)
    node = start(tmp_path, store)
    assert read(node) == 51
    assert node.status().term == 5
    node.stop()
    with pytest.raises(StartError, match="in use already"):
        create_data_dir(tmp_path, 7, 1, MEMBERS[:1], 50, 4)


def test_a_survivor_can_be_made_a_cluster_of_its_own(tmp_path: Path) -> None:
    store = Store()
    node = start(tmp_path, store, 1, 2, 3)
    assert read(node) is Refusal.NO_LEADER
    node.stop()
    force_new_cluster(tmp_path, MEMBERS[0], store.applied())
    node = start(tmp_path, store, 1, 2, 3)
    assert read(node) == 2
    assert set(node.status().members) == {1}
    node.stop()


@pytest.mark.parametrize("replaced", [True, False])
def test_a_survivor_whose_installation_of_a_snapshot_was_interrupted_can_be_made_a_cluster_of_its_own(
    tmp_path: Path, replaced: bool
) -> None:
    store = Store()
    node = start(tmp_path, store, 1, 2, 3)
    node.stop()
    pending = by_id([*MEMBERS, Simulation.member(4)])
    store_membership(DiskCabinet(tmp_path / "members"), 7, 1, 40, pending, pending=(50, 4))
    if replaced:
        store.index, store.term, store.data = 50, 4, {"a": "1"}
    force_new_cluster(tmp_path, MEMBERS[0], store.applied())
    node = start(tmp_path, store, 1, 2, 3)
    assert read(node) == (52 if replaced else 2)
    assert set(node.status().members) == {1}
    assert store.data == ({"a": "1"} if replaced else {})
    node.stop()
    start(tmp_path, store, 1, 2, 3).stop()


def test_only_a_member_that_was_set_up_can_be_rescued(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="does not hold member"):
        force_new_cluster(tmp_path, MEMBERS[0], (0, 0))
    create_data_dir(tmp_path, 7, 2, MEMBERS, 0, 0)
    with pytest.raises(StartError, match="does not hold member"):
        force_new_cluster(tmp_path, MEMBERS[0], (0, 0))


def test_a_log_without_its_membership_is_refused(tmp_path: Path) -> None:
    log = Wal.open(tmp_path / "wal", create=True)
    log.append(1, 1, b"\x11")
    log.sync()
    log.close()
    with pytest.raises(StartError, match="part of the directory is lost"):
        start(tmp_path, Store(), 1)


def test_a_log_that_vanished_is_refused(tmp_path: Path) -> None:
    start(tmp_path, Store(), 1).stop()
    (tmp_path / "wal").rename(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="there is no log here"):
        start(tmp_path, Store(), 1)


def test_the_log_of_a_running_member_is_trimmed_on_request(tmp_path: Path) -> None:
    store = Store()
    node = start(tmp_path, store, 1)
    for number in range(20):
        node.propose(b"k%d=v" % number, lambda refusal: pytest.fail(str(refusal)))
    read(node)
    node.trim_log(3)
    read(node)
    assert node.counters.trims == 1
    node.stop()
    node = start(tmp_path, store, 1)
    assert read(node) == node.status().last_index
    assert len(store.data) == 20
    node.stop()
