"""LoadConfig: what a document declares is made true, once, and told."""

from __future__ import annotations

import json

import grpc
import pytest
from harness.failures import fails
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2
from quartet.workspaces.v1 import workspaces_pb2 as pb
from quartet_server.errors import FieldInvalid
from quartet_server.workspaces.document import LONGEST, parse

from .conftest import Served

ADDED, CHANGED = pb.CONFIG_OUTCOME_ADDED, pb.CONFIG_OUTCOME_CHANGED
UNCHANGED, FAILED = pb.CONFIG_OUTCOME_UNCHANGED, pb.CONFIG_OUTCOME_FAILED
JSON = pb.CONFIG_FORMAT_JSON
DOCUMENT = """
[[workspaces]]
name = "reports"
path = "/team/reports"
labels = { team = "red" }
create = true

[[memories]]
name = "ada"
path = "/agents/ada"
description = "what Ada knows"
"""


async def load(at: Served, document: str, **rest: object) -> list[tuple[str, int, str]]:
    """Load a document; return what became of each declaration."""
    answer = await at.workspaces.LoadConfig(pb.LoadConfigRequest(document=document, **rest))  # type: ignore[arg-type]
    outcomes = [one.outcome for one in answer.results]
    counted = (answer.added, answer.changed, answer.unchanged, answer.failed)
    assert counted == tuple(outcomes.count(one) for one in (ADDED, CHANGED, UNCHANGED, FAILED))
    return [(one.name, one.outcome, one.reason) for one in answer.results]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_document_is_made_true_once_and_what_cannot_be_is_told(at: Served) -> None:
    await at.mkdir("/other")
    await at.workspaces.Register(pb.RegisterRequest(path="/other", name="kept"))
    foreseen = await load(at, DOCUMENT, dry_run=True)
    assert (await at.workspaces.List(pb.ListRequest())).workspaces[0].name == "kept"
    with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
        await at.files.Stat(files_pb2.StatRequest(path="/team"))
    first = await load(at, DOCUMENT, request_id="r")
    assert foreseen == first == [("reports", ADDED, ""), ("ada", FAILED, "FILE_NOT_FOUND")]
    await at.mkdir("/agents/ada")
    assert await load(at, DOCUMENT) == [("reports", UNCHANGED, ""), ("ada", ADDED, "")]
    revision = (await at.workspaces.List(pb.ListRequest())).revision
    assert await load(at, DOCUMENT) == [("reports", UNCHANGED, ""), ("ada", UNCHANGED, "")]
    assert (await at.workspaces.List(pb.ListRequest())).revision == revision
    assert (await load(at, DOCUMENT, request_id="r"))[0] == first[0]  # a repetition is told what the first one did
    changed = DOCUMENT.replace('"red"', '"blue"').replace("/agents/ada", "/other")
    assert await load(at, changed) == [("reports", CHANGED, ""), ("ada", FAILED, "WORKSPACE_EXISTS")]
    found = {one.name: one for one in (await at.workspaces.List(pb.ListRequest())).workspaces}
    assert found.keys() == {"ada", "kept", "reports"}
    assert dict(found["reports"].labels) == {"team": "blue"}
    assert (found["ada"].kind, found["ada"].description) == (pb.WORKSPACE_KIND_MEMORY, "what Ada knows")


@pytest.mark.asyncio(loop_scope="session")
async def test_a_directory_that_was_moved_is_declared_where_it_is_or_made_anew(at: Served) -> None:
    await load(at, DOCUMENT)
    await at.files.Rename(files_pb2.RenameRequest(source="/team", destination="/crew"))
    assert (await load(at, DOCUMENT.replace("/team", "/crew")))[0] == ("reports", UNCHANGED, "")
    assert (await load(at, DOCUMENT))[0] == ("reports", CHANGED, "")
    assert (await at.workspaces.Get(pb.GetRequest(name="reports"))).path == "/team/reports"


def test_both_languages_say_the_same() -> None:
    said = {
        "workspaces": [{"name": "reports", "path": "/team/reports", "labels": {"team": "red"}, "create": True}],
        "memories": [{"name": "ada", "path": "/agents/ada", "description": "what Ada knows"}],
    }
    assert parse(json.dumps(said), JSON) == parse(DOCUMENT, pb.CONFIG_FORMAT_UNSPECIFIED)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("[[workspaces]\n", "document"),
        ("[[workspace]]\n", "document"),
        ("workspaces = 3", "document.workspaces"),
        ("workspaces = [3]", "document.workspaces[0]"),
        ("[[workspaces]]\nname = 3", "document.workspaces[0].name"),
        ("[[workspaces]]\npath = '/a'", "document.workspaces[0].name"),
        ("[[memories]]\nname = 'a'\nkind = 'x'", "document.memories[0]"),
        ("[[memories]]\nname = 'a'\nlabels = []", "document.memories[0].labels"),
        ("[[memories]]\nname = 'a'\nlabels = {x = 1}", "document.memories[0].labels.x"),
        ("[[memories]]\nname = 'a'\ncreate = 'yes'", "document.memories[0].create"),
        ("[[workspaces]]\nname = 'a'\n[[memories]]\nname = 'a'", "document"),
        ("x = " + "[" * 100_000, "document"),
        ("#" * (LONGEST + 1), "document"),
        ("".join(f"[[workspaces]]\nname = 'n{i}'\n" for i in range(1001)), "document"),
    ],
)
def test_the_place_of_a_mistake_is_named(document: str, place: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        parse(document, pb.CONFIG_FORMAT_TOML)
    assert list(caught.value.violations) == [place]


@pytest.mark.parametrize("document", ["[" * 100_000, "[]", '{"workspaces": [{"name": "\\ud800"}]}', "NaN", ""])
def test_json_that_is_no_declaration_is_refused(document: str) -> None:
    with pytest.raises(FieldInvalid):
        parse(document, JSON)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
_items = st.dictionaries(
    st.sampled_from(["name", "path", "labels", "create", "description", "created_by", "x"]), _values, max_size=7
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(max_size=200)
    | st.fixed_dictionaries({}, optional={"workspaces": st.lists(_items, max_size=3), "memories": _values}).map(
        json.dumps
    ),
    st.sampled_from([0, 1, 2, 7]),
)
def test_any_document_is_declarations_that_hold_or_a_mistake_with_a_place(document: str, form: int) -> None:
    try:
        declared = parse(document, form)  # type: ignore[arg-type]
    except FieldInvalid as error:
        if not error.violations:
            raise
        return
    for one in declared:
        one.check()
