"""A history that was kept is the history that was; other files are refused, and `python -m faults.check` judges them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.history import History, Outcome
from faults.history_file import HistoryFileError, load, save
from faults.imitation import Imitation
from faults.scripted import Script
from harness.sources import ROOT

from raftmeta.etcd import rpc_pb2 as pb


def test_a_history_comes_back_as_it_was(tmp_path: Path) -> None:
    history = Imitation(1).run(100)
    history.starts.append((1.5, "m0"))
    save(history, tmp_path / "history.jsonl")
    again = load(tmp_path / "history.jsonl")
    assert again.operations == history.operations
    assert again.watches == history.watches
    assert (again.starts, again.healed, again.ended) == (history.starts, history.healed, history.ended)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"number":0,"client":"c","request":"Nothing ","request_id":"","attempts":[]}',
        '{"number":0,"client":"c","request":"PutRequest !!","request_id":"","attempts":[["m",1,2,"ok",null,""]]}',
        '{"number":0,"client":"c","request":"PutRequest ","request_id":"","attempts":[]}',
        '{"number":7,"client":"c","request":"PutRequest ","request_id":"","attempts":[["m",1,2,"ok",null,""]]}',
        '{"number":0,"client":"c","request":"PutRequest ","request_id":"","attempts":[["m",1,2,"fine",null,""]]}',
    ],
)
def test_a_file_that_is_no_history_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "history.jsonl").write_text('{"starts":[],"healed":null,"ended":null}\n' + line + "\n")
    with pytest.raises(HistoryFileError, match="line 2"):
        load(tmp_path / "history.jsonl")


def test_a_kept_history_is_judged_by_a_command(tmp_path: Path) -> None:
    good, bad = Script(), Script()
    for script in (good, bad):
        script.put(1, b"a", b"1", 2)
        script.wrote(2, (b"a", b"1"))
        script.watched()
    bad.get(2, b"a", None, 2)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}"}
    for name, script, status, text in (("good", good, 0, "no violations"), ("bad", bad, 1, "wrong read")):
        save(script.history, tmp_path / name)
        command = [sys.executable, "-m", "faults.check", str(tmp_path / name)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stderr
        assert text in done.stdout
    command[-1] = str(tmp_path / "none")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")


def test_an_attempt_is_recorded_with_what_is_known_of_it() -> None:
    now = iter(range(100))
    history = History(clock=lambda: float(next(now)))
    operation = history.begin("c", "m0", pb.PutRequest(key=b"a"), b"id")
    assert (operation.outcome, operation.end) == (Outcome.UNKNOWN, None)
    history.failed(operation, "UNAVAILABLE", certainly=True)
    assert (operation.outcome, operation.end) == (Outcome.FAILED, 1.0)
    history.retry(operation, "m1")
    history.failed(operation, "DEADLINE_EXCEEDED", certainly=False)
    assert (operation.outcome, operation.end) == (Outcome.UNKNOWN, None)
    history.retry(operation, "m2")
    history.answered(operation, pb.PutResponse())
    assert (operation.outcome, operation.start, operation.end) == (Outcome.OK, 0.0, 5.0)
    assert [attempt.member for attempt in operation.attempts] == ["m0", "m1", "m2"]
