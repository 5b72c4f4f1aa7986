"""What an update mask chooses, and what it refuses to."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from harness.shelf import BOOKS, pb
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet_server.record_errors import MaskInvalid
from quartet_server.records.masks import choose

OPEN = {name for name, field in BOOKS.fields.items() if not (field.key or field.output_only or field.immutable)}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("titel", "unknown"),
        ("", "unknown"),
        ("zone", "unknown"),
        ("revision", "unknown"),
        ("x" * 10_000, "unknown"),
        ("id", "key"),
        ("created_at", "output_only"),
        ("borrower", "output_only"),
        ("etag", "output_only"),
        ("shelf_id", "immutable"),
        ("isbn", "immutable"),
        ("metadata.a", "part"),
        ("place.room", "part"),
        ("title.", "part"),
    ],
)
def test_a_path_that_cannot_be_updated_is_refused_with_its_kind(path: str, kind: str) -> None:
    with pytest.raises(MaskInvalid) as caught:
        choose(BOOKS, FieldMask(paths=["title", path]), pb.Book(id="b"))
    assert caught.value.metadata == {"path": path[:128], "kind": kind}
    assert list(caught.value.violations) == ["update_mask"]


@pytest.mark.parametrize(
    ("paths", "kind"), [(["title", "*"], "star"), (["title", "title"], "twice"), (["*", "*"], "star"), ([], "empty")]
)
def test_a_mask_that_contradicts_itself_is_refused(paths: list[str], kind: str) -> None:
    with pytest.raises(MaskInvalid) as caught:
        choose(BOOKS, FieldMask(paths=paths), pb.Book(id="b", etag="1"))
    assert caught.value.metadata["kind"] == kind


@pytest.mark.parametrize(
    ("paths", "sent", "names", "fixed"),
    [
        (["title", "pages"], {}, {"title", "pages"}, set()),
        (["subtitle"], {"title": "x"}, {"subtitle"}, set()),
        (["*"], {"title": "x"}, OPEN, set()),
        (["*"], {"isbn": "1"}, OPEN, {"isbn"}),
        ([], {"title": "x", "pages": 0}, {"title"}, set()),
        ([], {"edition": 0, "subtitle": ""}, {"edition", "subtitle"}, set()),
        ([], {"title": "x", "shelf_id": "s", "borrower": "b", "etag": "1"}, {"title"}, {"shelf_id"}),
    ],
)
def test_a_mask_chooses_what_it_names_or_what_is_there(
    paths: list[str], sent: dict[str, Any], names: set[str], fixed: set[str]
) -> None:
    chosen = choose(BOOKS, FieldMask(paths=paths), pb.Book(id="b", **sent))
    assert (set(chosen.names), set(chosen.fixed)) == (names, fixed)


@settings(deadline=None)
@given(paths=st.lists(st.one_of(st.sampled_from([*BOOKS.fields, "*", "etag"]), st.text(max_size=12)), max_size=4))
def test_any_mask_chooses_what_may_be_updated_or_is_refused(paths: list[str]) -> None:
    try:
        chosen = choose(BOOKS, FieldMask(paths=paths), pb.Book(id="b", title="t"))
    except MaskInvalid:
        return
    assert set(chosen.names) == (set(paths) or {"title"} if paths != ["*"] else OPEN)
    assert set(chosen.names) <= OPEN
