"""Restarts under load: one node after the other in order, and all at once by kill -9."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.fleet import Fleet
from harness.workload import Workload

pytestmark = pytest.mark.slow


def test_a_rolling_restart_hands_leadership_over_and_fails_no_write(tmp_path: Path) -> None:
    with Fleet(tmp_path, 3) as fleet, Workload(fleet) as load:
        load.more(20)
        for name in ("n1", "n2", "n3"):
            node = fleet.node(name)
            assert node.terminate() == 0, node.log()[-2000:]
            load.more(10)
            node.start()
            load.more(10)
        # whoever leads now is restarted too, so that at least one restart was a leader's
        leader = fleet.leader()
        term = leader.facts()["term"]
        assert leader.terminate() == 0
        successor = fleet.leader()
        assert successor.facts()["term"] == term + 1  # asked to take over: no pre-vote, one election
        leader.start()
        load.more(20)
        load.assert_kept_everywhere()
    assert load.failures == []


def test_killing_every_node_at_once_loses_no_acknowledged_key_or_file(tmp_path: Path) -> None:
    with Fleet(tmp_path, 3) as fleet, Workload(fleet) as load:
        for _ in range(2):
            load.more(60)
            for node in fleet.nodes:
                node.kill()
            for node in fleet.nodes:
                node.ended()
            for node in fleet.nodes:
                node.launch()
            for node in fleet.nodes:
                node.wait()
            load.more(10)
            load.assert_kept_everywhere()
