from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from harness import foreign
from harness.keeping import Keeping
from quartet_server.importers.contract import Options
from quartet_server.importers.ddl import renamed, without_references
from quartet_server.importers.faults import Faults, WrongKindError
from quartet_server.importers.kinds import KINDS
from quartet_server.importers.loading import Loader, Plan
from quartet_server.importers.tally import Tally
from quartet_server.importers.unifying import Unverified, unify

GONE = {
    "events", "events_fts", "event_participants", "event_state", "event_tags", "tags", "threads", "attachments", "document_heads",
    "retrieval_log",
}  # fmt: skip


def unified(path: Path, ledger: Keeping, *, drop: bool = False) -> dict[str, Any]:
    tally = Tally(Faults())
    Loader(ledger, Plan("cortex"), tally).run(KINDS["cortex"].open(path, Options(), tally.faults))
    return unify(ledger, path, tally, links=None, drop_source=drop, whole=True)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def tables(path: Path) -> set[str]:
    return {
        row[0]
        for row in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'events_fts_%'")
    }


def test_all_of_a_cortex_database_arrives_once_and_is_proven(tmp_path: Path) -> None:
    path, ledger = foreign.cortex_db(tmp_path / "cortex.db", more=700), Keeping()
    first = unified(path, ledger)
    assert first == {
        "documents": 1,
        "retrievals": 1,
        "watermarks": 2,
        "verified": True,
        "source_events": 705,
        "ledger_events": 705,
        "by_adapter": {"imessage": [3, 3], "gmail": [1, 1], "skills": [1, 1], "cursor": [700, 700]},
        "links": 3,
        "links_dangling": 0,
        "links_file": f"{path}.links.jsonl",
        "dropped": False,
    }
    again = unified(path, ledger)
    assert again == first | {"documents": 0, "retrievals": 0, "watermarks": 0}
    head = ledger.documents["skill:gog"]
    assert (head.current_event_id, dict(head.metadata)) == ("skill-7", {"v": 7.0, "retrieval_count": 1.0})
    assert ledger.marks["gmail"].last_sync_at.seconds == 1_769_904_090
    links = [json.loads(line) for line in Path(first["links_file"]).read_text().splitlines()]
    assert [(one["event_id"], one["position"]) for one in links if one["table"] == "episode_events"] == [
        ("imessage:G-1", 1),
        ("imessage:G-2", 2),
        ("imessage:G-3", 3),
    ]
    assert {one["table"] for one in links} == {"threads", "episode_definitions", "episodes", "episode_events"}


def test_the_tables_of_events_go_and_all_else_goes_on_to_work(tmp_path: Path) -> None:
    path, ledger = foreign.cortex_db(tmp_path / "cortex.db"), Keeping()
    before = tables(path)
    indexes = rows(
        path, "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE 'episode%' ORDER BY name"
    )
    row = unified(path, ledger, drop=True)
    assert row["dropped"] is True
    assert set(row["dropped_tables"]) == GONE
    assert tables(path) == before - GONE
    assert rows(path, "SELECT name FROM sqlite_master WHERE type = 'trigger'") == []
    assert indexes == rows(
        path, "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE 'episode%' ORDER BY name"
    )
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT event_id FROM episode_events ORDER BY position")[0] == ("imessage:G-1",)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("INSERT INTO episodes VALUES ('e-2', 'd-1', 'x', 'any thread', 1, 2, 1, NULL, NULL, 3)")
        database.execute("INSERT INTO episode_events VALUES ('e-2', 'an event of the ledger', 1)")
        database.execute("UPDATE unattributed_facts SET source_event_id = 'gmail:M-1'")
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("INSERT INTO episode_events VALUES ('no episode', 'e', 1)")
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("INSERT INTO episode_events VALUES ('e-2', 'f', 0)")
        database.execute("DELETE FROM episodes WHERE id = 'e-2'")
        assert database.execute("SELECT count(*) FROM episode_events WHERE episode_id = 'e-2'").fetchone() == (0,)
    assert unified(path, ledger, drop=True) == {"verified": True, "dropped": True}


@pytest.mark.parametrize("missing", ["an event", "its content", "a row that cannot be imported"])
def test_nothing_is_dropped_while_anything_is_not_in_the_ledger(missing: str, tmp_path: Path) -> None:
    path, ledger = foreign.cortex_db(tmp_path / "cortex.db"), Keeping()
    unified(path, ledger)
    if missing == "an event":
        del ledger.kept["imessage:G-3"]
    elif missing == "its content":
        ledger.kept["imessage:G-3"].content = "else"
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE events SET timestamp = 'never' WHERE id = 'gmail:M-1'")
            database.commit()
    before = tables(path)
    with pytest.raises(Unverified, match="4 of 5 events"):
        unified(path, ledger, drop=True)
    assert tables(path) == before


def test_nothing_is_dropped_that_a_view_still_reads(tmp_path: Path) -> None:
    path, ledger = foreign.cortex_db(tmp_path / "cortex.db"), Keeping()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE VIEW recent AS SELECT id FROM events")
        database.commit()
    before = rows(path, "SELECT sql FROM sqlite_master ORDER BY name")
    with pytest.raises((WrongKindError, sqlite3.Error), match="recent"):
        unified(path, ledger, drop=True)
    assert rows(path, "SELECT sql FROM sqlite_master ORDER BY name") == before


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TABLE t (a TEXT REFERENCES events(id) ON DELETE CASCADE, b)", "CREATE TABLE t (a TEXT , b\n)"),
        ("CREATE TABLE t(a REFERENCES other(id), b REFERENCES Events)", "CREATE TABLE t(a REFERENCES other(id), b \n)"),
        ('CREATE TABLE t(a, FOREIGN KEY (a) REFERENCES "events"(id) ON DELETE SET NULL)', "CREATE TABLE t(a\n)"),
        (
            "CREATE TABLE t(a CONSTRAINT k REFERENCES [events] (id) ON UPDATE NO ACTION NOT DEFERRABLE NOT NULL DEFAULT 'REFERENCES events')",
            "CREATE TABLE t(a NOT NULL DEFAULT 'REFERENCES events'\n)",
        ),
        (
            "CREATE TABLE t(a REFERENCES x(id) REFERENCES events(id) DEFERRABLE INITIALLY DEFERRED, -- events\n b)",
            "CREATE TABLE t(a REFERENCES x(id) , -- events\n b\n)",
        ),
    ],
)
def test_references_are_taken_out_of_a_definition_and_nothing_else_is(sql: str, expected: str) -> None:
    made = without_references(sql, {"events"})
    assert made == expected
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(renamed(made, "u"))
        assert [row[2] for row in database.execute("PRAGMA foreign_key_list(u)")] in ([], ["other"], ["x"])
