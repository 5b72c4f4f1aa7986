from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
import zstandard
from harness import foreign
from harness.importing import FILES, FIXTURES, golden, read, source
from quartet_server.importers import html_text, json_stream, lines, marks, times, typedstream
from quartet_server.importers.contract import Options
from quartet_server.importers.faults import Faults, UnfitError, WrongKindError
from quartet_server.importers.items import Event, Session
from quartet_server.importers.kinds import KINDS
from quartet_server.importers.text import cut, fit, fit_id


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_makes_of_its_fixture_what_it_should(kind: str, tmp_path: Path) -> None:
    made, expected = golden(kind, tmp_path)
    assert made.splitlines() == expected.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_finds_nothing_but_what_may_be_new(kind: str, tmp_path: Path) -> None:
    path, marked = source(kind, tmp_path), dict[str, str]()
    first, _ = read(kind, path, marked)
    again, _ = read(kind, path, marked)
    assert first
    if kind == "slack":  # the last day may have been exported in its middle
        assert 0 < len(again) < len(first)
    else:
        assert again == []


def test_a_log_that_grew_is_read_from_where_it_ended(tmp_path: Path) -> None:
    log, marked = tmp_path / "a.jsonl", dict[str, str]()
    log.write_bytes((FIXTURES / "nexus/2026-02-01.jsonl").read_bytes())
    read("nexus", log, marked)
    with log.open("a") as file:
        file.write('{"id": "new", "ts": 1769904009000, "session_id": "s-1"}\n{"id": "half", "ts": 17')
    items, faults = read("nexus", log, marked)
    assert [item.id for item in items] == ["nexus:new"]
    assert faults.bad == 0
    with log.open("a") as file:
        file.write('69904009001, "session_id": "s-1"}\nbroken\n')
    items, faults = read("nexus", log, marked)
    assert [item.id for item in items] == ["nexus:half"]
    assert [fault.where for fault in faults.first] == ["a.jsonl:9"]


def test_a_session_that_grew_is_told_whole_and_its_old_events_are_not(tmp_path: Path) -> None:
    log, marked = tmp_path / "s.jsonl", dict[str, str]()
    text = (FIXTURES / "claude/projects/-srv-shop/agent-a1b2c3d4.jsonl").read_text()
    log.write_text(text)
    before, _ = read("claude-code", log, marked)
    log.write_text(text + text.splitlines()[1].replace("000002", "000003") + "\n")
    after, _ = read("claude-code", log, marked)
    assert [type(item) for item in after] == [Event, Session]
    assert isinstance(before[-1], Session)
    assert isinstance(after[-1], Session)
    assert len(after[-1].turns[0].messages) == len(before[-1].turns[0].messages) + 1
    assert after[-1].fingerprint != before[-1].fingerprint


def test_a_database_is_read_behind_the_row_of_its_mark_unless_its_rows_are_others(tmp_path: Path) -> None:
    path, marked = foreign.chat_db(tmp_path / "chat.db"), dict[str, str]()
    read("imessage", path, marked)
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO message (ROWID, guid, text, date) VALUES (12, 'G-12', 'new', 1)")
    database.close()
    items, _ = read("imessage", path, marked)
    assert [item.id for item in items] == ["imessage:G-12"]
    with sqlite3.connect(path) as database:
        database.execute("UPDATE message SET guid = 'G-13' WHERE ROWID = 12")
    database.close()
    assert len(read("imessage", path, marked)[0]) == 11


def test_a_file_that_was_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"a" * 10_000)
    mark = marks.mark(file, 9_000)
    assert marks.resumed(file, mark) == 9_000
    file.write_bytes(b"a" * 8_999)
    assert marks.resumed(file, mark) == 0
    file.write_bytes(b"a" * 8_999 + b"b" * 9_000)
    assert marks.resumed(file, mark) == 0
    for other in ("", "x", "9000", "9000:a:b", "²:a:b", "9" * 30):
        assert marks.resumed(file, other) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", ["a missing file", "text", "another format", "an empty directory"])
def test_what_is_of_another_kind_is_refused_with_what_was_expected(kind: str, other: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if other == "text":
        path.write_text("Dear reader,\nthis is a letter.\n")
    elif other == "another format":
        shutil.copy(FIXTURES / ("mbox/mail.mbox" if kind != "mbox" else "nexus/2026-02-01.jsonl"), path)
    elif other == "an empty directory":
        path.mkdir()
    with pytest.raises((WrongKindError, OSError)) as raised:
        read(kind, path)
    if isinstance(raised.value, WrongKindError):
        assert str(path) in str(raised.value) or str(tmp_path) in str(raised.value)
        assert raised.value.hint.startswith("expected ")


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = foreign.aix_db(tmp_path / "aix.db")
    for kind in ("imessage", "cortex"):
        with pytest.raises(WrongKindError):
            list(KINDS[kind].open(path, Options(), Faults()))


def test_a_database_in_a_directory_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    path = foreign.chat_db(below / "chat.db")
    before = path.read_bytes()
    below.chmod(0o500)
    try:
        assert len(read("imessage", path)[0]) == 10
    finally:
        below.chmod(0o700)
    assert path.read_bytes() == before


def test_rows_that_only_the_wal_has_are_read_while_another_program_writes(tmp_path: Path) -> None:
    path = foreign.chat_db(tmp_path / "chat.db")
    writer = sqlite3.connect(path)
    writer.execute("INSERT INTO message (guid, text, date) VALUES ('G-W', 'in the WAL', 1)")
    writer.commit()
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert "imessage:G-W" in [item.id for item in read("imessage", path)[0] if isinstance(item, Event)]
    finally:
        writer.close()


def test_logs_may_be_compressed(tmp_path: Path) -> None:
    file = next((FIXTURES / "codex/sessions/2026").rglob("*.jsonl"))
    packed = tmp_path / f"{file.name}.zst"
    packed.write_bytes(zstandard.compress(file.read_bytes()))
    items, _ = read("codex", packed)
    assert [item.id for item in items] == [item.id for item in read("codex", file)[0]]
    packed.write_bytes(zstandard.compress(file.read_bytes() + b"\n" * 300_000) + b"no more")
    items, faults = read("codex", packed)
    assert [item.id for item in items] == [item.id for item in read("codex", file)[0]]
    assert faults.bad == 2
    assert "cannot be decompressed" in faults.first[-1].reason


def test_a_line_that_is_too_long_is_a_fault_and_the_next_is_read(tmp_path: Path) -> None:
    file, faults = tmp_path / "f", Faults()
    file.write_bytes(b"\xef\xbb\xbfone\n" + b"x" * 700_000 + b"\n\n  two  \nthree")
    found = list(lines.lines(file, faults, longest=1000))
    assert [(line.number, line.data, line.whole) for line in found] == [
        (1, b"one", True),
        (4, b"two", True),
        (5, b"three", False),
    ]
    assert [fault.where for fault in faults.first] == ["f:2"]
    assert file.read_bytes()[found[1].start : found[1].end] == b"  two  \n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        ("", []),
        (' [1, {"a": "]"} ,[2]]', [1, {"a": "]"}, [2]]),
        ('{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ("[" + ",".join(['"é\\n"'] * 5000) + "]", ["é\n"] * 5000),
        ("123 456", [123, 456]),
    ],
)
def test_values_of_a_file_come_one_by_one(text: str, expected: list[object], tmp_path: Path) -> None:
    (tmp_path / "f").write_text(text)
    with (tmp_path / "f").open("rb") as file:
        assert list(json_stream.values(file)) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[1, 2", "does not end"),
        (b"[1 2]", "no comma"),
        (b'{"a": nope}' + b" " * 100, "not JSON"),
        (b"[" * 200_000, "too deep"),
        (b'["\xff"]', "not UTF-8"),
        (b'"' + b"x" * 3_000_000, "longer than"),
        (b"[NaN]" + b" " * 100, "no JSON"),
    ],
)
def test_a_file_that_cannot_be_read_further_says_why(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with (tmp_path / "f").open("rb") as file, pytest.raises(UnfitError, match=reason):
        list(json_stream.values(file, largest=1_000_000))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_769_904_000, 1_769_904_000_000_000),
        (1_769_904_000_123, 1_769_904_000_123_000),
        (1_769_904_000_123_456, 1_769_904_000_123_456),
        (1_769_904_000_123_456_789, 1_769_904_000_123_456),
        (1_769_904_000.5, 1_769_904_000_500_000),
        ("1769904000123", 1_769_904_000_123_000),
        (0, 0),
        (-1, -1_000_000),
        (99_999_999_999, 99_999_999_999_000_000),
        (100_000_000_000, 100_000_000_000_000),
    ],
)
def test_the_unit_of_a_time_follows_from_its_size(value: object, expected: int) -> None:
    assert times.unix(value) == expected


@pytest.mark.parametrize("value", [None, "", "soon", True, float("nan"), 1e300, [], "9" * 50, 10**30])
def test_what_is_no_time_is_unfit(value: object) -> None:
    with pytest.raises(UnfitError):
        times.unix(value)


def test_times_of_apple_and_of_texts() -> None:
    assert times.apple(foreign.nanoseconds(1_769_904_000)) == times.apple(1_769_904_000 - foreign.APPLE)
    assert times.iso("2026-02-01T00:00:00Z") == times.iso("2026-02-01T01:00:00+01:00") == times.iso("2026-02-01")
    assert times.iso("2026-02-01T00:00:00.123456Z") == 1_769_904_000_123_456
    for text in ("yesterday", "", None, 5, "2026-13-01", "0001-01-01T00:00:00+23:00"):
        with pytest.raises(UnfitError):
            times.iso(text)


@pytest.mark.parametrize("text", ["", "a", "ä" * 64, "x" * 127, "x" * 128, "🚲" * 20_000])
def test_text_of_attributed_strings_of_every_length_is_found(text: str) -> None:
    for mutable in (False, True):
        blob = foreign.attributed(text, mutable=mutable)
        assert typedstream.text(blob) == text
        assert all(typedstream.text(blob[:size]) in (None, text) for size in range(0, min(len(blob), 300), 7))


def test_the_text_of_a_page_is_what_people_see() -> None:
    page = "<html><head><title>t</title><style>p</style></head><body>a &lt; b<br>c<!-- no --><p>d <b>e</b></p><script>x<y</script> 1 < 2"
    assert html_text.text(page) == "a < b\nc\nd e\n1 < 2"
    assert html_text.text("<script>never ends") == ""
    assert html_text.text("<" * 100_000)


def test_ids_and_values_are_made_fit_for_the_ledgers() -> None:
    assert fit_id("a:b c") == "a:b c"
    for unfit in ("", "x" * 381, "a\nb", "a\x00", "\ud800"):
        assert fit_id(unfit).startswith("sha256:")
    assert fit({"a": [1 << 60, float("inf"), "\x00\ud800"]}) == {"a": [str(1 << 60), "inf", "\ufffd\ufffd"]}
    deep: object = "bottom"
    for _ in range(50):
        deep = [deep]
    assert json.dumps(fit(deep)).count("[") < 70
    noted = dict[str, object]()
    assert cut("ä" * 600_000, noted) == "ä" * 350_000  # type: ignore[arg-type]
    assert noted == {"truncated_characters": 250_000}


def test_a_long_session_is_handed_on_in_parts(tmp_path: Path) -> None:
    log = tmp_path / "s.jsonl"
    base = {"sessionId": "s", "cwd": "/srv", "timestamp": "2026-10-02T09:00:00Z"}
    with log.open("w") as file:
        for n in range(1500):
            parent = f"u{n - 1}" if n else None
            role = "user" if n in (0, 100) else "assistant"
            content: object = f"line {n} " + "x" * 2000
            if n == 10:
                content = [{"type": "tool_use", "id": "toolu_late", "name": "Bash", "input": {"command": "sleep"}}]
            if n == 1499:
                role, content = "user", [{"type": "tool_result", "tool_use_id": "toolu_late", "content": "done"}]
            message = {
                "role": role,
                "content": content if isinstance(content, list) else [{"type": "text", "text": content}],
            }
            file.write(
                json.dumps({**base, "type": role, "uuid": f"u{n}", "parentUuid": parent, "message": message}) + "\n"
            )
    items, faults = read("claude-code", log)
    parts = [item for item in items if isinstance(item, Session)]
    assert faults.bad == 0
    assert len(parts) > 2
    assert [part.final for part in parts] == [False] * (len(parts) - 1) + [True]
    assert len({part.fingerprint for part in parts}) == len(parts)
    said = [said.id for part in parts for turn in part.turns for said in turn.messages]
    assert len(said) == len(set(said)) == 1498
    assert parts[-1].turns[-1].id == "claude-code:u100"
    calls = [call for part in parts for turn in part.turns for call in turn.calls]
    assert [(call.id, call.result) for call in calls][-1] == ("claude-code:toolu_late", "done")
    assert {turn.id for part in parts for turn in part.turns} == {"claude-code:u0", "claude-code:u100"}


def test_the_kinds_of_files_are_those_of_the_fixtures() -> None:
    assert set(FILES) <= set(KINDS)
    assert sys.getrecursionlimit() <= 10_000  # what is nested too deep is told by Python itself
