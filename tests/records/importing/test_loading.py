from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.importing import ME, source
from harness.keeping import Keeping
from quartet import Unavailable
from quartet_server.importers import times, wire
from quartet_server.importers.contract import Options
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.items import Attached, Event
from quartet_server.importers.kinds import KINDS
from quartet_server.importers.ledger import Ledger
from quartet_server.importers.loading import Loader, Plan
from quartet_server.importers.tally import Tally


def load(kind: str, path: Path, ledger: Ledger | None, **plan: int | bool | None) -> Tally:
    tally = Tally(Faults())
    readers = KINDS[kind].open(path, Options(me=ME), tally.faults)
    Loader(ledger, Plan(kind, **plan), tally).run(readers)  # type: ignore[arg-type]
    return tally


def nexus(path: Path, lines: int, first: int = 0) -> Path:
    with path.open("a") as file:
        for n in range(first, first + lines):
            file.write(json.dumps({"id": f"n{n}", "ts": 1_769_904_000_000 + n, "session_id": "s"}) + "\n")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_every_reader_yields_fits_the_ledgers_and_a_second_run_creates_nothing(kind: str, tmp_path: Path) -> None:
    path, ledger = source(kind, tmp_path), Keeping()
    first = load(kind, path, ledger)
    again = load(kind, path, ledger, full=True)
    assert first.created == len(ledger.kept) > 0
    assert (again.created, again.duplicates) == (0, first.created)
    assert (again.sessions, again.unchanged) == (0, first.sessions)
    assert load(kind, path, ledger).events <= first.events // 2


def test_an_import_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    log, ledger = nexus(tmp_path / "a.jsonl", 1000), Keeping(calls=3)
    with pytest.raises(Unavailable):
        load("nexus", log, ledger, batch=100)
    assert len(ledger.kept) == 300
    ledger.calls = None
    load("nexus", log, ledger, batch=100)
    assert len(ledger.kept) == 1000
    assert ledger.batches == [100] * 13  # what was not marked yet is sent again, and found to be there


def test_a_mark_is_kept_only_for_what_is_stored(tmp_path: Path) -> None:
    log, ledger = nexus(tmp_path / "a.jsonl", 250), Keeping()
    load("nexus", log, ledger, batch=100, limit=150)
    assert len(ledger.kept) == 150
    load("nexus", log, ledger, batch=100)
    assert len(ledger.kept) == 250
    assert sum(ledger.batches) == 251  # the mark stands before the line whose event came last
    nexus(log, 10, first=250)
    assert load("nexus", log, ledger).created == 10
    assert sum(ledger.batches) == 261


def test_events_that_are_refused_are_told_and_the_others_of_their_batch_stored(tmp_path: Path) -> None:
    log, ledger = nexus(tmp_path / "a.jsonl", 64), Keeping(refused={"n5", "n40"})
    tally = load("nexus", log, ledger)
    assert (tally.created, tally.faults.bad) == (62, 2)
    assert [fault.row() for fault in tally.faults.first] == [
        {"where": "nexus:n5", "reason": "no [FIELD_INVALID]"},
        {"where": "nexus:n40", "reason": "no [FIELD_INVALID]"},
    ]


def test_an_event_that_is_too_large_loses_what_surrounds_it_and_then_is_refused() -> None:
    event = Event("s", "1", 0, "inbound", "c", "i", content="x" * 700_000)
    event.metadata = {"thread_name": "t", "long": ["y" * 60_000] * 10}
    made = wire.event(event)
    assert made.content == event.content
    assert dict(made.metadata)["thread_name"] == "t"
    assert made.metadata.fields["metadata_dropped_bytes"].number_value > 600_000
    event.attachments = [Attached(str(n), filename="z" * 1000) for n in range(1000)]
    with pytest.raises(UnfitError, match="bytes long"):
        wire.event(event)


def test_what_is_older_than_asked_for_is_left_out_and_found_by_a_later_run(tmp_path: Path) -> None:
    log, ledger = nexus(tmp_path / "a.jsonl", 10), Keeping()
    tally = load("nexus", log, ledger, since=times.unix(1_769_904_000_005))
    assert (tally.created, tally.faults.skipped, ledger.marks) == (5, 5, {})
    assert load("nexus", log, ledger).created == 5


def test_a_dry_run_reads_and_counts(tmp_path: Path) -> None:
    tally = load("claude-code", source("claude-code", tmp_path), None)
    assert (tally.created, tally.faults.bad, tally.files) == (0, 1, 2)
    assert tally.events > 10


def test_labels_and_states_of_mail_are_those_of_the_last_import(tmp_path: Path) -> None:
    ledger = Keeping()
    path = tmp_path / "m.json"
    text = (source("gmail", tmp_path) / "thread.json").read_text()
    path.write_text(text)
    load("gmail", path, ledger)
    assert ledger.tags["gmail:18c0ffee00000001"] >= {"gmail_label:INBOX", "gmail_label:UNREAD"}
    assert ledger.states["gmail:18c0ffee00000001"] == {"flagged"}
    path.write_text(text.replace('"UNREAD",', ""))
    tally = load("gmail", path, ledger)
    assert (tally.created, tally.duplicates) == (0, 2)
    assert "gmail_label:UNREAD" not in ledger.tags["gmail:18c0ffee00000001"]
    assert ledger.states["gmail:18c0ffee00000001"] == {"flagged", "viewed"}
