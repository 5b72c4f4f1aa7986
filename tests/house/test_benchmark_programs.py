"""The benchmark's programs run, write their results, own up to errors and leave nothing behind; etcd is the real one.

On a machine that is busy with other tests a cluster may change its leader, and a call fails: that is an error to be told,
and no failure of the program.
"""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from harness.peers import binary
from harness.sources import ROOT

pytestmark = [pytest.mark.peer, pytest.mark.slow]
LIMIT_SECONDS = 110


def quick(tmp_path: Path, program: str, *options: str) -> tuple[dict[str, Any], int]:
    """Run a program with the smallest of everything; return its result file and its exit status."""
    binary("etcd")
    binary("etcdctl")
    data = tmp_path / "data"
    result = subprocess.run(
        [
            sys.executable, str(ROOT / "benchmarks" / f"{program}.py"), "--quick", "--json", str(tmp_path / "out.json"),
            "--directory", str(data), *options,
        ],
        capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert (tmp_path / "out.json").exists(), result.stdout + result.stderr
    assert list(data.iterdir()) == []
    assert "|" in result.stdout, result.stdout + result.stderr
    document: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
    return document, result.returncode


@pytest.mark.parametrize(
    ("systems", "only"),
    [("etcd,no-op", "put, 1"), ("raftmeta", "lease"), ("etcd", "watch, 10 w"), ("etcd", "failover")],
)
def test_workloads_run_and_errors_are_told(tmp_path: Path, systems: str, only: str) -> None:
    document, status = quick(tmp_path, "meta", "--seconds", "0.3", "--systems", systems, "--only", only)
    assert {row["system"] for row in document["rounds"]} == set(systems.split(","))
    assert status == int(any(row["errors"] for row in document["rounds"]))
    assert all(row["p50"] > 0 or row["errors"] for row in document["rounds"])


def test_growing_costs_are_measured_and_errors_are_told(tmp_path: Path) -> None:
    document, status = quick(tmp_path, "growth", "--seconds", "0.2", "--only", "members")
    assert {row["system"] for row in document["rounds"]} == {"etcd", "raftmeta"}
    assert status == int(any(row["errors"] for row in document["rounds"]))
    assert all(row["p50"] > 0 or row["errors"] for row in document["rounds"])


def test_a_large_store_is_measured_and_errors_are_told(tmp_path: Path) -> None:
    document, status = quick(tmp_path, "scale", "--keys", "500", "--seconds", "0.1", "--systems", "raftmeta")
    result = document["systems"]["raftmeta"]
    assert status == int(bool(result["errors"]))
    assert result["errors"] or set(result["snapshot_seconds"]) == {
        "saved to a file",
        "installed on a member that was away",
    }
    assert result["errors"] or result["tables"]["keys0"] > 0


def test_a_soak_notes_every_figure_of_every_member_and_draws_it(tmp_path: Path) -> None:
    document, status = quick(tmp_path, "soak", "--seconds", "2", "--rate", "50")
    assert status == 1 or document["errors"] == 0
    assert document["calls"] > 0
    assert document["events"] > 0
    taken = len(document["times"])
    assert taken >= 1
    assert all(len(line) == taken for lines in document["samples"].values() for line in lines)
    assert len(ET.parse(tmp_path / "out.svg").getroot().findall("{*}polyline")) > 0


def test_stores_of_blobs_are_measured_in_this_process_and_behind_a_node(tmp_path: Path) -> None:
    document, status = quick(
        tmp_path, "objects", "--seconds", "0.2", "--systems", "quartet,store,files + fsync", "--only", "put 4 KiB, 8"
    )
    assert [row["system"] for row in document["rounds"]] == ["quartet", "store", "files + fsync"]
    assert status == int(any(row["errors"] for row in document["rounds"]))
    assert all(row["rate"] > 0 or row["errors"] for row in document["rounds"])
