from __future__ import annotations

import random
import shutil
import zipfile
from pathlib import Path

import pytest
from harness.importing import DATABASES, FILES, FIXTURES, read, source
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet_server.importers import archives, html_text, typedstream
from quartet_server.importers.faults import WrongKindError
from quartet_server.importers.items import Event
from quartet_server.importers.mime import decoded

ROUNDS = 40


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Bytes with a few mistakes in them: flipped, cut out, doubled, exchanged for what parsers dislike."""
    bad = [
        b"\x00",
        b"\xff\xfe",
        b'"',
        b"{",
        b"[" * 2000,
        b"\\ud800",
        b"null",
        b"-1e999",
        b"\n\nFrom x@y Sun Feb 06 10:00:00 2022\n",
        b"=?x?q?=ff?=",
    ]
    out = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        at, size = draw.randrange(len(out) + 1), draw.randint(1, 40)
        match draw.randrange(5):
            case 0 if at < len(out):
                out[at] ^= 1 << draw.randrange(8)
            case 1:
                del out[at : at + size]
            case 2:
                out[at:at] = out[at : at + size]
            case 3:
                out[at:at] = draw.choice(bad)
            case _:
                out[at : at + size] = draw.randbytes(draw.randint(0, size))
    return bytes(out)


def fit(items: list[object]) -> bool:
    """Whether events are such as any ledger takes: text that is text, ids of bounded length, times within time."""
    return all(
        isinstance(item, Event) is False
        or (
            0 < len(item.source_id.encode()) <= 380  # type: ignore[attr-defined]
            and "\x00" not in item.content.encode().decode()  # type: ignore[attr-defined]
            and len(item.content.encode()) <= 700_000  # type: ignore[attr-defined]
            and abs(item.timestamp) < 253_402_300_800_000_000  # type: ignore[attr-defined]
            and len(item.thread_id.encode()) <= 512  # type: ignore[attr-defined]
        )
        for item in items
    )


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_read_as_far_as_it_goes(kind: str, tmp_path: Path) -> None:
    draw = random.Random(kind)
    files = sorted(one for one in (FIXTURES / FILES[kind]).rglob("*") if one.is_file())
    for number in range(ROUNDS):
        tree = tmp_path / str(number)
        shutil.copytree(FIXTURES / FILES[kind], tree)
        victim = tree / draw.choice(files).relative_to(FIXTURES / FILES[kind])
        victim.write_bytes(damaged(victim.read_bytes(), draw))
        try:
            items, faults = read(kind, tree)
        except WrongKindError:
            continue
        assert fit(list(items))
        assert len(faults.first) == min(faults.bad, 20)
        shutil.rmtree(tree)


@pytest.mark.parametrize("kind", DATABASES)
def test_a_damaged_database_is_read_as_far_as_it_goes(kind: str, tmp_path: Path) -> None:
    draw = random.Random(kind)
    whole = source(kind, tmp_path).read_bytes()
    for number in range(ROUNDS // 2):
        path = tmp_path / f"{number}.db"
        data = bytearray(whole)
        for _ in range(draw.choice((1, 20, 300))):
            data[draw.randrange(100 if draw.random() < 0.9 else 16, len(data))] = draw.randrange(256)
        path.write_bytes(data if draw.random() < 0.8 else data[: draw.randrange(len(data))])
        try:
            items, _ = read(kind, path)
        except WrongKindError:
            continue
        assert fit(list(items))


def zipped(path: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in names.items():
            file.writestr(name, data)
    return path


def export(top: str = "") -> dict[str, bytes]:
    root = FIXTURES / "slack"
    return {top + one.relative_to(root).as_posix(): one.read_bytes() for one in root.rglob("*.json")}


@pytest.mark.parametrize("top", ["", "Export of Mar 1/"])
def test_an_export_of_slack_may_be_a_zip_file(top: str, tmp_path: Path) -> None:
    items, _ = read("slack", zipped(tmp_path / "e.zip", export(top)))
    assert [item.id for item in items] == [item.id for item in read("slack", FIXTURES / "slack")[0]]


def test_a_zip_file_that_unpacks_to_too_much_is_a_fault_and_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGEST", 2 << 20)
    bomb = export() | {"general/2026-03-03.json": b"[" + b" " * (3 << 20)}
    items, faults = read("slack", zipped(tmp_path / "e.zip", bomb))
    assert len(items) == len(read("slack", FIXTURES / "slack")[0])
    assert [fault.where for fault in faults.first] == ["general/2026-03-01.json:4", "general/2026-03-03.json"]


def test_a_damaged_zip_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    draw = random.Random("zip")
    whole = zipped(tmp_path / "whole.zip", export()).read_bytes()
    for _ in range(ROUNDS):
        path = tmp_path / "e.zip"
        path.write_bytes(damaged(whole, draw))
        try:
            items, _ = read("slack", path)
        except WrongKindError:
            continue
        assert fit(list(items))


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_no_bytes_make_the_reader_of_attributed_strings_fail(data: bytes) -> None:
    for blob in (data, b"NSString\x01\x94\x84\x01+" + data):
        found = typedstream.text(blob)
        assert found is None or len(found) <= len(blob)


@given(st.text(max_size=300), st.sampled_from(["{}", "<p>{}", "<script>{}</script>x", "=?utf-8?b?{}?=", "=?{}?q?a?="]))
@settings(max_examples=100, deadline=None)
def test_no_text_makes_pages_and_headers_fail(text: str, form: str) -> None:
    made = form.replace("{}", text)
    assert isinstance(html_text.text(made), str)
    assert "\x00" not in decoded(made)
