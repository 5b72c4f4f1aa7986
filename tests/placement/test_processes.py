"""Three nodes as processes: any of them takes any call, and a zone moves while its homes are killed."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from harness.fleet import Fleet
from harness.ledger import event
from quartet import CallError, Client, Unavailable
from quartet.cluster.v1 import cluster_pb2

pytestmark = pytest.mark.slow
PATIENCE = 90.0
COUNT = 2000


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Load:
    """Appends events one after the other through some node until it is told to stop, as a careful client does."""

    def __init__(self, endpoint: str) -> None:
        self.acknowledged: dict[str, int] = {}
        self._over = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(endpoint,))
        self._thread.start()

    def _run(self, endpoint: str) -> None:
        try:
            with Client([endpoint], zone="red", timeout=5.0) as client:
                number = 0
                while not self._over.is_set():
                    one = event(number, "under load", source="load")
                    try:
                        done = client.events.append(one)
                    except CallError:
                        time.sleep(0.05)
                        continue
                    self.acknowledged[done.id] = done.position
                    number += 1
        except BaseException as error:  # raised where the test waits
            self._failed.append(error)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        assert not self._failed, self._failed


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three nodes."""
    with Fleet(tmp_path_factory.mktemp("fleet"), 3) as started:
        yield started


def test_calls_go_to_the_home_and_a_zone_moves_though_both_homes_are_killed(fleet: Fleet) -> None:
    n1, n2, n3 = fleet.nodes
    with Client([n1.endpoint], zone="red") as near, Client([n3.endpoint], zone="red", timeout=5.0) as far:
        for at in range(0, COUNT, 1000):
            near.events.append_batch([event(at + i, f"word{at + i} of many") for i in range(1000)])
        assert far.cluster.get_zone("red").home == "n1"
        assert [hit.event.source_id for hit in far.events.search("word1234")] == [event(1234).source_id]
        n1.kill()
        n1.ended()
        with pytest.raises(Unavailable) as down:
            next(far.events.search("word1234"))
        assert (down.value.reason, down.value.metadata["node"]) == ("ZONE_HOME_DOWN", "n1")
        assert down.value.retry_after
        n1.start()
        load = Load(n3.endpoint)
        until(lambda: len(load.acknowledged) > 20)
        fleet.quartet("zone", "move", "red", "n2", "--no-wait", at=n3)
        moved: list[cluster_pb2.Zone] = []

        def zone() -> cluster_pb2.Zone:
            moved.append(far.cluster.get_zone("red"))
            return moved[-1]

        for victim in (n1, n2):
            until(lambda: zone().move.rows > 0 or moved[-1].home == "n2")
            victim.kill()
            victim.ended()
            victim.start()
        until(lambda: zone().home == "n2")
        load.stop()
        stored = {one.id: one.position for one in far.events.list(page_size=1000)}
        assert {id_: stored.get(id_) for id_ in load.acknowledged} == load.acknowledged
        assert sorted(stored.values()) == list(range(1, len(stored) + 1))
        assert [hit.event.source_id for hit in far.events.search("word1234")] == [event(1234).source_id]
        until(lambda: rows_in(n1.data_dir, "red") == 0)
        listed = fleet.quartet("zone", "list", "-o", "json", at=n3).json
        assert [(one["home"], one["moves"], one["moving_to"]) for one in listed if one["name"] == "red"] == [
            ("n2", 1, None)
        ]


def rows_in(data_dir: Path, zone: str) -> int:
    """Return how many events of a zone a node has on its disk."""
    with closing(sqlite3.connect(f"file:{data_dir / 'records' / 'events.db'}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM events WHERE zone = ?", (zone,)).fetchone()[0])


def test_a_node_that_lost_its_disk_gets_its_zones_back_from_a_sealed_backup(fleet: Fleet, tmp_path: Path) -> None:
    n1, n2, _ = fleet.nodes
    key, copy = tmp_path / "key", tmp_path / "backup"
    key.write_bytes(bytes(range(32)))
    with Client([n2.endpoint], zone="blue") as near, Client([n1.endpoint], zone="blue") as far:
        near.events.append_batch([event(i, f"word{i} of many") for i in range(100)])
        health = fleet.quartet("db", "health", "-o", "json", at=n2)
        assert health.code == 0, health.err
        assert {"database", "healthy", "wal_mode", "foreign_keys", "tables"} <= set(health.json[0])
        kept = fleet.quartet("node", "remove", "n2", at=n1)
        assert (kept.code, "NODE_HOLDS_ZONES" in kept.err) == (1, True)
        saved = fleet.quartet("backup", copy, "--key-file", key, "-o", "json")
        assert saved.code == 0, saved.err
        assert {one["node"] for one in saved.json} == {"n1", "n2", "n3"}
        near.events.append(event(100, "behind the backup"))
        refused = fleet.quartet("restore", copy / "n2", "--data-dir", n2.data_dir, "--key-file", key)
        assert (refused.code, "stop the node" in refused.err) == (1, True)
        n2.kill()
        n2.ended()
        shutil.rmtree(n2.data_dir / "records")
        damaged = tmp_path / "damaged"
        shutil.copytree(copy / "n2", damaged)
        sealed = damaged / "events.db.sealed"
        sealed.write_bytes(sealed.read_bytes()[:-1])
        sealed_with: list[str | Path] = ["--key-file", key]
        for arguments in ([damaged, *sealed_with], [copy / "n2"], [copy, *sealed_with]):
            refused = fleet.quartet("restore", *arguments, "--data-dir", n2.data_dir)
            assert refused.code == 1, refused.err
        n2.start()  # empty: it must not answer for what it does not have
        with pytest.raises(Unavailable) as lost:
            far.events.get(next(near.events.list()).id)
        assert lost.value.reason == "ZONE_HOME_DOWN"
        n2.terminate()
        restored = fleet.quartet("restore", copy / "n2", "--data-dir", n2.data_dir, "--key-file", key, "-o", "json")
        assert restored.code == 0, restored.err
        n2.start()
        assert {one.source_id for one in far.events.list(page_size=1000)} == {str(i) for i in range(100)}
        assert [hit.event.source_id for hit in far.events.search("word42")] == ["42"]
        filled = fleet.quartet("db", "backfill", "events.derived", "--zone", "blue", "-o", "json", at=n1)
        assert (filled.code, filled.json["changed"]) == (0, 0), filled.err
        checked = fleet.quartet("db", "check-references", "--zone", "blue", "-o", "json", at=n1)
        assert (checked.code, checked.json["references"]) == (0, 1), checked.err
        told = fleet.quartet("db", "schema", "events", "--zone", "blue", "-o", "json", at=n1)
        assert {table["name"]: table["rows"] for table in told.json[0]["tables"]}["events"] == 100
