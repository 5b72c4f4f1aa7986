"""A run from one end to the other: a good one is good, and one that injected nothing is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.history import History
from faults.phase import Told
from faults.plan import Phase, Step
from faults.report import Report
from faults.run import run
from faults.scene import Injection, Scene
from harness.sources import ROOT

from raftmeta.etcd import rpc_pb2 as pb

KEYS = ["operations", "acknowledged", "unknown", "faults", "leader_changes", "violations", "seed", "duration"]


class Sham:
    """A fault that only claims to be one: it does nothing, and `told` is its proof."""

    def __init__(self, told: str) -> None:
        self.told = told

    async def inject(self, scene: Scene) -> None:
        pass

    async def heal(self, scene: Scene) -> None:
        pass

    async def proof(self, scene: Scene) -> str:
        return self.told


class Breaking(Sham):
    """A fault whose injection goes wrong."""

    async def inject(self, scene: Scene) -> None:
        raise TimeoutError("it did not work")


def ignored(text: str) -> None:
    """Progress that nobody reads."""


@pytest.mark.parametrize(
    ("injection", "happened"),
    [(Sham("seen"), True), (Sham(""), False), (Breaking("seen"), False)],
    ids=["proven", "without-proof", "broken"],
)
def test_a_fault_counts_only_when_something_shows_that_it_happened(
    tmp_path: Path, injection: Injection, happened: bool
) -> None:
    phases = [Phase(1, 1.0, (Step("sham", 0.0, 0.0, 1),))]
    report = run(1, 1.0, phases, tmp_path, ignored, {"sham": lambda: injection})
    assert report.violations == []
    assert report.acknowledged > 0
    assert report.good is happened
    assert report.fewer == ({} if happened else {"sham": "0 of 1"})
    assert json.loads(report.line())["faults"] == {"sham": int(happened)}
    assert (tmp_path / "phase-1" / "history.jsonl").stat().st_size > 0


def test_the_line_has_every_number_and_a_violation_makes_a_run_bad() -> None:
    report = Report(5, 120.0, {"kill-one": 2})
    history = History()
    operation = history.begin("c", "m0", pb.PutRequest(key=b"k"))
    history.answered(operation, pb.PutResponse())
    told = Told(history, happened=["kill-one"], leader_changes=3)
    report.add(told, [])
    assert not report.good
    assert report.fewer == {"kill-one": "1 of 2"}
    report.add(told, [])
    assert report.good
    told.violations.append("two leaders")
    report.add(told, ["lost"])
    assert not report.good
    line = json.loads(report.line())
    assert list(line) == KEYS
    assert (line["operations"], line["acknowledged"], line["unknown"]) == (3, 3, 0)
    assert (line["faults"], line["leader_changes"], line["violations"]) == ({"kill-one": 3}, 9, 2)
    assert "\n" not in report.line()


@pytest.mark.slow
@pytest.mark.timeout(330)
def test_links_under_tls_are_cut_held_up_and_broken_and_certificates_replaced(tmp_path: Path) -> None:
    kinds = ["certificates", "cut-two-ways", "reset", "delay", "kill-leader"]
    steps = tuple(Step(kind, 2.0 * number, 0.5, number) for number, kind in enumerate(kinds))
    report = run(1, 10.0, [Phase(3, 10.0, steps, secure=True)], tmp_path, ignored)
    assert (report.violations, report.missed) == ([], [])
    assert report.faults == dict.fromkeys(kinds, 1)


@pytest.mark.slow
@pytest.mark.timeout(330)  # a busy machine makes it slow, and must not make it fail
def test_a_short_run_on_three_members_ends_with_one_line_and_no_violation(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faults", "--seed", "7", "--duration", "18", "--sizes", "3"]
    command += ["--kinds", "kill-leader,cut-two-ways,power-loss", "--directory", str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr[-5000:]
    line = json.loads(ran.stdout)
    assert list(line) == KEYS
    assert set(line["faults"]) == {"kill-leader", "cut-two-ways", "power-loss"}
    assert all(line["faults"].values())
    assert line["violations"] == 0
    assert line["operations"] >= line["acknowledged"] > 50
    assert line["leader_changes"] > 0
    assert "make faults SEED=7 DURATION=18" in ran.stderr
    assert not (tmp_path / "run").exists(), "nothing is kept of a good run"


@pytest.mark.parametrize("wrong", [["--kinds", "nothing"], ["--sizes", "2"], ["--duration", "x"]])
def test_wrong_arguments_are_refused_before_anything_starts(wrong: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
    command = [sys.executable, "-m", "faults", *wrong]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "error" in ran.stderr
