"""The benchmark tells the truth: medians, refused ratios, remarks; and it runs against real etcd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness.peers import binary
from harness.sources import ROOT

sys.path.append(str(ROOT / "benchmarks"))  # a folder of scripts, and no package

import report
from workloads import Row


def rows(system: str, workload: str, *rates: float, **rest: float) -> list[Row]:
    made = []
    for rate in rates:
        row = Row(system, workload, "puts", rate=rate, p50=1000 / rate)
        for name, value in rest.items():
            setattr(row, name, value)
        made.append(row)
    return made


def test_a_ratio_is_ours_over_theirs_of_the_medians_of_all_rounds() -> None:
    found = report.medians(rows("raftmeta", "put", 900, 100, 800) + rows("etcd", "put", 400, 9000, 100))
    assert found["put"]["raftmeta"].rate == 800
    assert found["put"]["etcd"].rate == 400
    assert report.ratio("put", found["put"], "etcd") == 2.0


@pytest.mark.parametrize("workload", ["watch, 100 watchers", "failover, kill -9"])
def test_where_the_load_is_given_the_ratio_is_one_of_times(workload: str) -> None:
    found = report.medians(rows("raftmeta", workload, 1000) + rows("etcd", workload, 500))
    assert report.ratio(workload, found[workload], "etcd") == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", ["raftmeta", "etcd"])
def test_no_ratio_is_told_when_either_side_had_a_single_error(wrong: str) -> None:
    good = "etcd" if wrong == "raftmeta" else "raftmeta"
    bad = rows(wrong, "put", 100, 100)
    bad[1].record("deadline exceeded")
    found = report.medians(bad + rows(good, "put", 100, 100))
    assert report.ratio("put", found["put"], "etcd") is None
    text = report.table(found, ["etcd", "raftmeta"])
    assert "1 errors" in text
    assert "x" not in text.splitlines()[2].replace("txn", "")
    assert any("deadline exceeded" in remark for remark in report.remarks(found))


def test_no_ratio_is_told_without_the_other_side() -> None:
    assert report.ratio("put", report.medians(rows("raftmeta", "put", 5))["put"], "etcd") is None


def test_rows_that_others_disturbed_or_the_client_limited_are_remarked() -> None:
    found = report.medians(rows("etcd", "put", 5, other=0.7) + rows("etcd", "range", 5, client=0.99))
    assert [remark.split(":")[0] for remark in report.remarks(found)] == ["put on etcd", "range on etcd"]


def test_quantiles_are_those_of_the_samples() -> None:
    row = Row("etcd", "put", "puts", latencies=[i / 1000 for i in range(1, 102)]).finish()
    assert row.p50 == pytest.approx(51)
    assert row.p99 == pytest.approx(100)
    assert row.latencies == []


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("workload", ["put, 1", "watch", "failover"])
def test_a_quick_run_against_real_etcd_finds_no_errors_and_leaves_nothing_behind(tmp_path: Path, workload: str) -> None:
    binary("etcd")
    result = subprocess.run(
        [
            sys.executable, str(ROOT / "benchmarks" / "meta.py"), "--quick", "--systems", "etcd,no-op", "--only", workload,
            "--json", str(tmp_path / "figures.json"), "--directory", str(tmp_path / "data"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    measured = [row for row in figures["rounds"] if row["system"] == "etcd"]
    assert len(measured) == 1
    assert measured[0]["errors"] == 0
    assert measured[0]["p50"] > 0
    assert list((tmp_path / "data").iterdir()) == []
