"""Statements are counted by kind, and logged without their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness.records import NOTES, TABLE, Opening
from prometheus_client import CollectorRegistry
from quartet_server.records.contract import Session
from quartet_server.records.ids import Ids
from quartet_server.records.metrics import RecordsCollector, Watched
from quartet_server.records.preparing import prepare_sqlite
from quartet_server.records.sqlite import SqliteDatabase
from quartet_server.records.watching import KINDS, MAX_LOGGED, Watch, kind_of


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1", "select"),
        ("  \n with x as (select 1) select * from x", "select"),
        ("Insert Into notes VALUES (1)", "insert"),
        ("UPDATE notes SET id = 1", "update"),
        ("DELETE FROM notes", "delete"),
        ("COMMIT", "commit"),
        ("commit;", "commit"),
        ("SAVEPOINT work", "other"),
        ("", "other"),
        (" ", "other"),
    ],
)
def test_the_kind_of_a_statement_is_its_first_word(statement: str, kind: str) -> None:
    assert kind_of(statement) == kind


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        """Begin empty."""
        self.entries: list[dict[str, Any]] = []

    def info(self, event: str, **facts: object) -> None:
        self.entries.append({"event": event, **facts})

    warning = info


@pytest.fixture
def logs() -> Log:
    """What was logged."""
    return Log()


def test_only_slow_statements_are_logged_unless_all_are(logs: Log) -> None:
    watch = Watch("notes", slow_seconds=0.5, log=logs)
    watch("SELECT fast", 0.49)
    watch("SELECT\n   slow", 0.5)
    Watch("notes", debug=True, log=logs)("SELECT any", 0.0)
    Watch("notes", log=logs)("SELECT none", 1000.0)
    assert [(one["event"], one["statement"], one["milliseconds"]) for one in logs.entries] == [
        ("slow statement", "SELECT slow", 500.0),
        ("statement", "SELECT any", 0.0),
    ]


def test_what_is_logged_has_an_end_and_no_zone(logs: Log) -> None:
    watch = Watch("notes", debug=True, log=logs)
    watch("SELECT " + "x" * 10_000, 0.0)
    watch("BEGIN; SELECT set_config('quartet.zone', 'secret', true)", 0.0)
    assert len(str(logs.entries[0]["statement"])) == MAX_LOGGED
    assert logs.entries[1]["statement"] == "BEGIN"


async def test_metrics_count_writes_groups_and_statements(tmp_path: Path, logs: Log) -> None:
    def put(session: Session) -> None:
        session.connection.execute(TABLE.insert().values(zone=session.zone, id="k", text="secret"))

    watch = Watch("notes", debug=True, log=logs)
    registry = CollectorRegistry()
    prepare_sqlite(tmp_path / "notes.db", NOTES)
    database = SqliteDatabase(
        "notes", tmp_path / "notes.db", queue=9, clock=lambda: 1.0, new_id=Ids(lambda: 1.0, bytes), watch=watch
    )
    registry.register(RecordsCollector({"notes": Watched(database.writers, watch)}))
    await database.write("a", put)
    with pytest.raises(Exception, match="UNIQUE"):
        await database.write("a", put)
    await database.close()
    assert len(logs.entries) > 4
    assert not any("secret" in str(one) for one in logs.entries)
    labels = {"database": "notes"}
    expected = {
        "quartet_records_groups_total": 2,
        "quartet_records_writes_total": 2,
        "quartet_records_failed_groups_total": 0,
        "quartet_records_busy_total": 0,
        "quartet_records_waiting": 0,
        "quartet_records_group_size_count": 2,
    }
    assert {name: registry.get_sample_value(name, labels) for name in expected} == expected
    counts = {
        kind: registry.get_sample_value("quartet_records_statement_seconds_count", {**labels, "kind": kind})
        for kind in KINDS
    }
    assert (counts["insert"], counts["commit"], counts["select"]) == (2, 2, 0)
    assert registry.get_sample_value("quartet_records_group_size_bucket", {**labels, "le": "1"}) == 2


async def test_statements_of_both_drivers_are_seen(opening: Opening) -> None:
    def put(session: Session) -> None:
        session.connection.execute(TABLE.insert().values(zone=session.zone, id="k"))
        session.cursor().execute("SELECT count(*) FROM notes")

    watch = Watch("notes")
    database = await opening.database(NOTES, watch=watch)
    await database.write("a", put)
    assert sum(watch.counts["insert"]) == sum(watch.counts["commit"]) == 1
    assert sum(watch.counts["select"]) >= 1
