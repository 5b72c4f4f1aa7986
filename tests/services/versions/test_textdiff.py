"""Diffs: applied to the old text they give the new one, and no text makes them work for long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quartet_server.versions import textdiff
from quartet_server.versions.textdiff import unified

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n")
_NO_NEWLINE = b"\\ No newline at end of file\n"
_text = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n", b"\r\n", b"d"]), max_size=30).map(b"".join)


def lines(text: bytes) -> list[bytes]:
    """The lines of a text with their ends."""
    return re.findall(rb"[^\n]*\n|[^\n]+", text)


def patched(old: bytes, diff: bytes) -> bytes:
    """What `patch` makes of a text."""
    if not diff:
        return old
    before, told = lines(old), lines(diff)[2:]
    after: list[bytes] = []
    at = position = 0
    while position < len(told):
        header = _HUNK.fullmatch(told[position])
        assert header, told[position]
        start, length = int(header[1]), int(header[2] or 1)
        start -= length > 0
        after += before[at:start]
        at, position = start, position + 1
        assert len(after) == int(header[3]) - (int(header[4] or 1) > 0)
        while position < len(told) and not told[position].startswith(b"@@"):
            mark, line = told[position][:1], told[position][1:]
            position += 1
            if position < len(told) and told[position] == _NO_NEWLINE:
                line, position = line[:-1], position + 1
            if mark in b" -":
                assert before[at] == line
                at += 1
            if mark in b" +":
                after.append(line)
    return b"".join(after + before[at:])


@given(old=_text, new=_text, context=st.integers(0, 4))
def test_a_diff_leads_from_the_old_text_to_the_new_one(old: bytes, new: bytes, context: int) -> None:
    told = unified(old, new, "a", "b", context, 1 << 20)
    assert patched(old, told.text.encode()) == new
    assert bool(told.text) == (old != new)
    assert len(lines(new)) - len(lines(old)) == told.added - told.removed
    assert not told.truncated
    assert not told.coarse


@given(old=_text, new=_text)
def test_no_shorter_diff_is_there(old: bytes, new: bytes) -> None:
    told = unified(old, new, "a", "b", 3, 1 << 20)
    a, b = lines(old), lines(new)
    common = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            common[i + 1][j + 1] = common[i][j] + 1 if one == other else max(common[i][j + 1], common[i + 1][j])
    assert told.added + told.removed == len(a) + len(b) - 2 * common[-1][-1]


@pytest.mark.parametrize("count", [2_000, 25_000])
def test_too_many_changes_are_told_coarsely(count: int) -> None:
    old = b"".join(b"old %d\n" % number for number in range(count))
    new = b"".join(b"new %d\n" % number for number in range(count))
    told = unified(b"same\n" + old, b"same\n" + new, "a", "b", 3, 1 << 20)
    assert told.coarse
    assert (told.added, told.removed) == (count, count)
    if not told.truncated:
        assert patched(b"same\n" + old, told.text.encode()) == b"same\n" + new


def test_a_diff_that_is_too_long_ends_at_a_line() -> None:
    new = b"".join(b"line %d\n" % number for number in range(1000))
    told = unified(b"", new, "a", "b", 3, 500)
    assert told.truncated
    assert told.text.endswith("\n")
    assert len(told.text) < 600
    assert told.added == 1000


def test_work_is_bounded_by_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textdiff, "EDITS", 10)
    old = [b"%d\n" % number for number in range(100)]
    new = [line if at % 5 else b"x\n" for at, line in enumerate(old)]
    assert unified(b"".join(old), b"".join(new), "a", "b", 0, 1 << 20).coarse
    assert not unified(b"".join(old), b"".join(old[:50] + new[50:60] + old[60:]), "a", "b", 0, 1 << 20).coarse
