"""Two promises broken on purpose in real processes: the checks notice both, and nothing when the bug is switched off."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.checks import linearizable
from faults.checks.judging import judge
from faults.flawed import Flawed, Witness
from faults.links import Rule

from raftmeta.consensus.seeded import VARIABLE, Bug, asked_for
from raftmeta.etcd import rpc_pb2 as pb


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", ["stale-read", ""])
async def test_a_leader_that_reads_without_asking_anybody_is_caught(tmp_path: Path, bug: str) -> None:
    cluster = Flawed(tmp_path, bug)
    async with Witness(cluster) as witness:
        await witness.make_patient(0)
        await witness.lead(0)
        await witness.put(0, b"a", b"old")
        cluster.network.set(Rule(cut=True), *cluster.pairs([0], [1, 2]), *cluster.pairs([1, 2], [0]))
        last = await witness.put(1, b"a", b"new")
        read = await witness.get(0, b"a")
        await witness.hear(1, last)
    report = judge(witness.history)
    if bug:
        assert isinstance(read, pb.RangeResponse)
        assert {"stale read", "not linearizable"} <= {violation.check for violation in report.violations}, str(report)
    else:
        assert read is None, "a leader without a majority answered"
        assert report.ok, str(report)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", ["early-ack", ""])
async def test_an_acknowledgement_before_the_sync_is_caught_when_the_power_fails(tmp_path: Path, bug: str) -> None:
    cluster = Flawed(tmp_path, bug)
    async with Witness(cluster) as witness:
        await witness.disks_rest()
        for disk in cluster.disks.values():
            disk.slow_sync(600.0)
        acknowledged = [await witness.try_put(number % 3, b"a", b"%d" % number) for number in range(4)]
        assert any(acknowledged) is bool(bug)
        cluster.strike(0, 1, 2)
        for disk in cluster.disks.values():
            disk.lose_power()
            disk.heal()
        await cluster.up(0, 1, 2)
        await witness.observer.ready()
        await witness.get(0, b"a")
        await witness.hear(0, await witness.put(1, b"b", b"after"))
    report = judge(witness.history)
    if bug:
        assert "lost write" in {violation.check for violation in report.violations}, str(report)
        assert linearizable.check(witness.history).violations
    else:
        assert report.ok, str(report)


@pytest.mark.parametrize(
    ("environment", "insecure", "bug"),
    [
        ({}, True, None),
        ({VARIABLE: ""}, True, None),
        ({VARIABLE: "early-ack"}, True, Bug.EARLY_ACK),
        ({VARIABLE: "stale-read"}, True, Bug.STALE_READ),
        ({VARIABLE: "stale-read"}, False, None),
    ],
)
def test_a_bug_is_planted_only_where_it_is_asked_for_twice(
    environment: dict[str, str], insecure: bool, bug: Bug | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert asked_for(environment, insecure=insecure) is bug
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == bool(environment.get(VARIABLE))


def test_a_bug_that_does_not_exist_keeps_the_member_from_starting(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raftmeta", "--data-dir", str(tmp_path), "--listen-client", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, "--insecure"], env={**os.environ, VARIABLE: "typo"}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "typo" in done.stderr
