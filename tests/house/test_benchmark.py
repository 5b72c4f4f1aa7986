"""The benchmark tells the truth: medians, refused ratios, bars, remarks, quantiles, verdicts."""

from __future__ import annotations

import itertools
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from harness.sources import ROOT

sys.path.append(str(ROOT / "benchmarks"))  # a folder of scripts, and no package

import bars
import checkperf
import contents
import filebars
import files
import filesystems
import flatness
import growth
import meta
import phases
import plot
import report
import scale
import session
from rows import Row, quantiles

LIN = "linearizable range, 64"
SER = "serializable range, 64"
WATCH = "watch, 100 watchers on 10 streams, 50 puts/s"
FACTS = {"cores": 2}


def rows(system: str, workload: str, *rates: float, **rest: float) -> list[Row]:
    made = []
    for rate in rates:
        row = Row(system, workload, "puts", rate=rate, p50=1000 / rate)
        for name, value in rest.items():
            setattr(row, name, value)
        made.append(row)
    return made


def failovers(system: str, *seconds: float) -> Row:
    row = Row(system, bars.FAILOVER, "s", latencies=list(seconds))
    return row.finish(keep=True)


def test_a_ratio_is_ours_over_theirs_of_the_medians_of_all_rounds() -> None:
    found = report.medians(rows("raftmeta", "put", 900, 100, 800) + rows("etcd", "put", 400, 9000, 100))
    assert found["put"]["raftmeta"].rate == 800
    assert found["put"]["etcd"].rate == 400
    assert report.ratio("put", found["put"], "etcd") == 2.0


@pytest.mark.parametrize("workload", [WATCH, bars.FAILOVER])
def test_where_the_load_is_given_the_ratio_is_one_of_times(workload: str) -> None:
    found = report.medians(rows("raftmeta", workload, 1000) + rows("etcd", workload, 500))
    assert report.ratio(workload, found[workload], "etcd") == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", ["raftmeta", "etcd"])
def test_no_ratio_is_told_when_either_side_had_a_single_error(wrong: str) -> None:
    good = "etcd" if wrong == "raftmeta" else "raftmeta"
    bad = rows(wrong, "put, 64", 100, 100)
    bad[1].record("deadline exceeded")
    found = report.medians(bad + rows(good, "put, 64", 100, 100))
    assert report.ratio("put, 64", found["put, 64"], "etcd") is None
    assert report.cpu_ratio(found["put, 64"]) is None
    line = report.table(found, ["etcd", "raftmeta"]).splitlines()[2]
    assert "errors: 1" in line
    assert "✓" not in line
    assert [cell.strip() for cell in line.split("|")][4:6] == ["-", "-"]
    assert any("deadline exceeded" in remark for remark in report.remarks(found))
    assert report.missed(found) == ["put, 64"]


def test_no_ratio_is_told_without_the_other_side() -> None:
    assert report.ratio("put", report.medians(rows("raftmeta", "put", 5))["put"], "etcd") is None


def test_rows_that_others_disturbed_or_the_client_limited_are_remarked() -> None:
    found = report.medians(rows("etcd", "put", 5, other=0.7) + rows("etcd", "range", 5, client=0.99))
    assert report.remarks(found) == [
        "range on etcd: the client was at its limit (0.99 cores)",
        "etcd: others used up to 0.70 cores during 1 workloads; measure again",
    ]


def test_failovers_of_all_rounds_are_one_sample() -> None:
    found = report.medians([failovers("etcd", 1.0, 9.0), failovers("etcd", 2.0), failovers("etcd", 3.0, 4.0)])
    median = found[bars.FAILOVER]["etcd"]
    assert (median.p50, median.p99, median.samples) == (3000, 9000, 5)


@pytest.mark.parametrize(
    ("workload", "ours", "theirs", "idle", "bar", "stretch"),
    [
        ("put, 1 in flight", 100, 100, 0, True, False),
        ("put, 1 in flight", 99, 100, 0, False, False),
        ("put, 64", 70, 100, 10, True, False),
        ("put, 64", 100, 100, 10, True, True),
        (LIN, 59, 100, 1000, False, False),
        (SER, 50, 100, 1000, True, False),
        (SER, 40, 100, 50, True, False),
        (SER, 39, 100, 50, False, False),
        (SER, 40, 100, 0, False, False),
        (WATCH, 100, 100, 0, True, False),
        (WATCH, 100, 101, 0, False, False),
        (WATCH, 200, 100, 0, True, True),
    ],
)
def test_a_bar_is_met_or_it_is_not(
    workload: str, ours: float, theirs: float, idle: float, bar: bool, stretch: bool
) -> None:
    measured = rows("raftmeta", workload, ours) + rows("etcd", workload, theirs)
    found = report.medians(measured + (rows("no-op", workload, idle) if idle else []))[workload]
    wanted, figures = bars.bar(workload), report.figures(workload, found)
    assert bars.reached(wanted, wanted.bar, figures) is bar
    assert bars.reached(wanted, wanted.stretch, figures) is stretch


@pytest.mark.parametrize(
    ("ours", "theirs", "bar", "stretch"),
    [(0.9, 1.4, True, False), (0.9, 0.8, False, False), (1.1, 1.4, False, False), (0.4, 1.4, True, True)],
)
def test_failover_is_held_against_its_bar_and_against_etcd(
    ours: float, theirs: float, bar: bool, stretch: bool
) -> None:
    found = report.medians([failovers("raftmeta", ours), failovers("etcd", theirs)])[bars.FAILOVER]
    wanted, figures = bars.bar(bars.FAILOVER), report.figures(bars.FAILOVER, found)
    assert bars.reached(wanted, wanted.bar, figures) is bar
    assert bars.reached(wanted, wanted.stretch, figures) is stretch


def test_every_bar_of_the_design_belongs_to_a_workload_that_is_run() -> None:
    names = {workload.name for workload in meta.WORKLOADS} | {f"check perf, {load}" for load in meta.LOADS}
    assert set(bars.BARS) <= names | {bars.FAILOVER}


@pytest.mark.parametrize(("total", "rounds"), [(20, 3), (1, 3), (0, 2), (4, 4)])
def test_kills_are_shared_among_rounds_without_a_rest(total: int, rounds: int) -> None:
    assert sum(meta.share(total, rounds, number) for number in range(rounds)) == total


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [
        (
            "PASS: Throughput is 150 writes/s\nPASS: Slowest request took 0.08s\nPASS: Stddev is 0.01s\nPASS\n",
            0,
            (True, "slowest 0.08 s", 150),
        ),
        (
            "60 / 60 Boooo\rFAIL: Throughput too low: 316 writes/s\nSlowest request took too long: 0.61s\nFAIL\n",
            1,
            (False, "slowest 0.61 s", 316),
        ),
        (
            "PASS: Throughput is 150 writes/s\nSlowest request took too long: 0.61s\nPASS: Stddev is 0.01s\nFAIL\n",
            1,
            (False, "slowest 0.61 s", 150),
        ),
        ("Error: context deadline exceeded\n", 1, (False, "", 0)),
    ],
)
def test_the_verdict_of_check_perf_is_read_as_etcdctl_words_it(
    said: str, status: int, expected: tuple[bool, str, float]
) -> None:
    assert checkperf.verdict(said, status) == expected


def test_quantiles_are_those_of_the_samples() -> None:
    row = Row("etcd", "put", "puts", latencies=[i / 1000 for i in range(1, 102)]).finish()
    assert row.p50 == pytest.approx(51)
    assert row.p99 == pytest.approx(100)
    assert row.latencies == []
    assert quantiles([]) == (0.0, 0.0)
    assert quantiles([7.0]) == (7.0, 7.0)


def test_a_report_is_made_from_the_result_file_alone() -> None:
    measured = rows("raftmeta", "put, 64", 90) + rows("etcd", "put, 64", 100) + rows("no-op", "put, 64", 300)
    document = {"machine": FACTS, "rounds": json.loads(json.dumps([row.json() for row in measured]))}
    said = report.render(document)
    assert "0.90x" in said
    assert "every bar is met" in said


@pytest.mark.parametrize(
    ("line", "flat"),
    [
        ([10.0] * 40, True),
        ([10.0 + 0.5 * i for i in range(40)], False),
        ([float(i % 5) for i in range(40)], True),
        ([None] * 40, False),
        ([50.0] * 20 + [10.0] * 20, True),
        ([10.0] * 30 + [20.0] * 10, False),
    ],
)
@pytest.mark.parametrize("figure", ["log", "store", "anonymous"])
def test_a_figure_that_grows_in_the_second_half_is_not_flat(figure: str, line: list[float | None], flat: bool) -> None:
    assert flatness.verdict(figure, 0, [5.0 * i for i in range(40)], line).flat is flat


def test_the_slope_is_the_growth_of_the_second_half_in_an_hour() -> None:
    times = [36.0 * i for i in range(101)]
    found = flatness.verdict("log", 0, times, [100.0 + 0.2 * i for i in range(101)])
    assert found.slope * found.mean == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.7, 1), (1, 1), (1.1, 2), (2.2, 2.5), (3, 5), (51, 100), (1000, 1000)]
)
def test_an_axis_ends_at_a_round_number(highest: float, top: float) -> None:
    assert plot.nice_top(highest) == pytest.approx(top)


def test_a_chart_is_svg_with_a_line_for_each_stretch_without_a_gap() -> None:
    panels = [
        plot.Panel("a < b", {"one": [1.0, None, 3.0], "two": [2.0, 2.0, 2.0]}),
        plot.Panel("nothing", {"one": []}),
    ]
    root = ET.fromstring(plot.svg("title & more", [0.0, 5.0, 10.0], panels))
    assert len(root.findall("{*}polyline")) == 3


def test_growth_is_flat_when_the_slowest_size_is_near_the_fastest() -> None:
    def measured(*rates: float) -> list[str]:
        found = [Row("raftmeta", f"keys/{i} keys/put", "calls", rate=rate, cpu=1) for i, rate in enumerate(rates)]
        return growth.flatness(report.medians(found), ["raftmeta"])

    assert "1.25x over all sizes (bar 1.3x ✓)" in measured(100, 80, 90)[0]
    assert "2.00x over all sizes (bar 1.3x ✗)" in measured(100, 50, 90)[0]


def test_growth_varies_one_thing_at_a_time() -> None:
    cells = list(itertools.chain(*growth.clusters([1, 2, 3], [1, 3, 5], [10, 20])))
    assert {(cell.keys, cell.value) for cell in cells if cell.dimension == "members"} == {(1, 10)}
    assert {(cell.members, cell.value) for cell in cells if cell.dimension == "keys"} == {(3, 10)}
    assert {cell.value for cell in cells if cell.dimension == "value"} == {10, 20}


def test_a_snapshot_that_slows_puts_more_than_twice_is_marked() -> None:
    result = scale.Result(1000, 110, load_seconds=1.0, member_seconds=[2.0], cluster_seconds=[11.0])
    result.latencies = {
        "paced, quiet": [1.0] * 100,
        "paced, saved by a client": [1.9] * 100,
        "paced, installed on a member that was away": [2.1] * 100,
    }
    said = scale.render({"machine": FACTS, "systems": {"raftmeta": result.json()}})
    assert "1.9 ms, 1.9x ✓" in said
    assert "2.1 ms, 2.1x ✗" in said
    assert "2.00 s (max 2.00) ✓" in said
    assert "11.00 s (max 11.00) ✗" in said


def test_a_store_is_explained_table_by_table() -> None:
    said = contents.explained({"records0": 20_000, "keys0": 10_000, "tiny": 1}, 100, 110)
    assert "300 bytes per key of 110" in said
    assert "records0: 200 bytes per key" in said
    assert "tiny" not in said


def test_a_result_file_replaces_the_one_before(tmp_path: Path) -> None:
    for number in (1, 2):
        session.write(tmp_path / "new" / "figures.json", {"number": number})
    assert json.loads((tmp_path / "new" / "figures.json").read_text()) == {"number": 2}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["figures.json"]


def of_files(system: str, workload: str, *rates: float, **rest: float) -> list[Row]:
    return [Row(system, workload, "files", rate=rate, **rest) for rate in rates]  # type: ignore[arg-type]


def test_every_bar_of_files_is_about_workloads_that_are_run() -> None:
    run = {
        (kind.name, files.workload(phase.name, shape, kind.nodes))
        for kind in filesystems.KINDS
        for shape in phases.SHAPES
        for phase in phases.PHASES
        if files.chosen(kind, shape, phase)
    }
    assert {(filebars.OURS, bar.ours) for bar in filebars.BARS} <= run
    assert {(bar.system, bar.theirs) for bar in filebars.BARS} <= run


@pytest.mark.parametrize(("ours", "theirs", "told"), [(120, 100, "1.20x ✓"), (119, 100, "1.19x ✗"), (500, 0, "?")])
def test_a_bar_of_files_is_held_against_the_other_s_rate(ours: float, theirs: float, told: str) -> None:
    bar = filebars.BARS[0]
    found = report.medians(of_files("quartet", bar.ours, ours) + of_files(bar.system, bar.theirs, theirs))
    assert filebars.verdicts(found).splitlines()[0].endswith(told)


@pytest.mark.parametrize("wrong", ["quartet", "etcd"])
def test_files_have_no_ratio_when_either_side_had_an_error(wrong: str) -> None:
    workload = filebars.BARS[0].ours
    measured = of_files("quartet", workload, 100) + of_files("etcd", workload, 100)
    next(row for row in measured if row.system == wrong).record("lost")
    found = report.medians(measured)
    assert filebars.BARS[0].ratio(found) is None
    line = filebars.table(found, "1 node").splitlines()[2]
    assert "errors: 1" in line
    assert "x |" not in line
    assert filebars.remarks(found) == [f"{workload} on {wrong}: errors: 1, no ratio; the first: lost"]


def test_a_report_on_files_is_made_from_the_result_file_alone() -> None:
    workloads = [files.workload("stat", phases.SHAPES[2], nodes) for nodes in (1, 3)]
    measured = [row for name in workloads for row in of_files("quartet", name, 90, cpu=5) + of_files("etcd", name, 60)]
    said = files.render({"machine": FACTS, "rounds": json.loads(json.dumps([row.json() for row in measured]))})
    assert said.count("1.50x") == 2
    assert "5.0 + 0.0 us" in said
