"""A disk that is really full, under real processes: nothing acknowledged is lost, and room is enough to go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.fleet import Fleet, ServedNode
from harness.http import get
from harness.volumes import fill, small_volume
from harness.workload import Workload
from quartet import CallError, Client

pytestmark = pytest.mark.slow


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    with small_volume(tmp_path / "volume", 48) as path:
        yield path


def _write_until_refused(client: Client, made: list[str]) -> str:
    """Make directories until one is refused, and return why; what is reserved is used up first."""
    try:
        for number in range(100_000):
            made.append(client.files.mkdir(f"/full-{len(made)}-{number}").path)
    except CallError as error:
        return error.reason
    raise AssertionError("the disk does not fill up")


async def _await_read_only(node: ServedNode, wanted: bool) -> None:
    """Wait until /metrics says that the node refuses, or takes, appends."""
    deadline = time.monotonic() + 60
    line = b"quartet_raft_read_only 1.0" if wanted else b"quartet_raft_read_only 0.0"
    while line not in (await get(node.http, "/metrics"))[1]:
        assert time.monotonic() < deadline, node.log()[-2000:]


async def test_a_node_whose_disk_is_full_says_so_reads_on_and_recovers(tmp_path: Path, volume: Path) -> None:
    fleet = Fleet(tmp_path, 1)
    node = fleet.nodes[0]
    node.data_dir = volume / "n1"
    with fleet, fleet.client() as client:
        with Workload(fleet) as load:
            load.more(20)
        filler = fill(volume)
        made: list[str] = []
        assert _write_until_refused(client, made) in ("STORE_FULL", "OUTCOME_UNKNOWN")
        assert _write_until_refused(client, made) == "STORE_FULL"  # known by now, and said before anything is tried
        assert client.files.stat(min(load.files), serializable=True).ino == load.files[min(load.files)]
        filler.unlink()
        await _await_read_only(node, False)
        client.files.mkdir("/room-again")
        load.assert_kept_everywhere()
        assert {entry.path for entry in client.files.list("/")} >= set(made)
        assert node.terminate() == 0
        node.start()
        load.assert_kept_everywhere()


async def test_a_leader_whose_disk_is_full_gives_way_and_catches_up_when_there_is_room(
    tmp_path: Path, volume: Path
) -> None:
    fleet = Fleet(tmp_path, 3)
    poor = fleet.nodes[0]
    poor.data_dir = volume / "n1"
    with fleet:
        with fleet.client() as client:
            client.cluster.transfer_leadership("n1")
        with Workload(fleet) as load:
            load.more(20)
            filler = fill(volume)
            await _await_read_only(poor, True)
            assert fleet.leader() is not poor
            load.more(30)
            filler.unlink()
            await _await_read_only(poor, False)
            load.more(10)
        load.assert_kept_everywhere()
        assert load.failures == []
