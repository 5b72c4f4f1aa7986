"""States of checkpoints are read without trust, and the order of tasks is right whatever they depend on."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from harness.states import PROJECT, TASK, USABLE
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet_server.project_errors import CheckpointUnusable, TaskCycle
from quartet_server.projects import graph, state

UNUSABLE: list[Any] = [
    "",
    "{",
    "[]",
    "1e999",
    {"format": 2},
    {**USABLE, "project": None},
    {**USABLE, "project": {**PROJECT, "name": None}},
    {**USABLE, "project": {**PROJECT, "created_at": 2**62}},
    {**USABLE, "project": {**PROJECT, "settings": {"n": float("inf")}}},
    {**USABLE, "project": {**PROJECT, "settings": {"n": 10**400}}},
    {**USABLE, "project": {**PROJECT, "settings": {"\ud800": 1}}},
    {**USABLE, "tasks": 1},
    {**USABLE, "tasks": [1]},
    {**USABLE, "tasks": [TASK, TASK]},
    {**USABLE, "tasks": [{**TASK, "id": ""}]},
    {**USABLE, "tasks": [{**TASK, "id": "a\nb"}]},
    {**USABLE, "tasks": [{**TASK, "name": "\0"}]},
    {**USABLE, "tasks": [{**TASK, "status": "other"}]},
    {**USABLE, "tasks": [{**TASK, "priority": 2**31}]},
    {**USABLE, "tasks": [{**TASK, "priority": True}]},
    {**USABLE, "tasks": [{**TASK, "tags": "x"}]},
    {**USABLE, "tasks": [{**TASK, "tags": [1]}]},
    {**USABLE, "tasks": [{**TASK, "project_id": "q"}]},
    {**USABLE, "tasks": [{**TASK, "feature_id": "none"}]},
    {**USABLE, "tasks": [{**TASK, "depends_on": ["none"]}]},
    {**USABLE, "tasks": [{**TASK, "zone": "other"}]},
    {**USABLE, "sub_features": [{"id": "s", "feature_id": "none", "name": "s", "created_at": 1}]},
]


@pytest.mark.parametrize("wrong", UNUSABLE, ids=str)
def test_what_is_no_state_is_refused(wrong: Any) -> None:
    with pytest.raises(CheckpointUnusable):
        state.parse(wrong if isinstance(wrong, str) else json.dumps(wrong))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
columns = st.sampled_from(sorted({"settings", "mode", "status", *TASK, "tags", "depends_on", "priority", "blocked_by"}))


@given(
    project=st.dictionaries(columns, json_values, max_size=3), task=st.dictionaries(columns, json_values, max_size=3)
)
@settings(max_examples=60, deadline=None)
def test_any_document_is_read_or_refused_and_never_an_accident(project: dict[str, Any], task: dict[str, Any]) -> None:
    document = {**USABLE, "project": {**PROJECT, **project}, "tasks": [{**TASK, **task}]}
    try:
        found = state.parse(json.dumps(document))
    except CheckpointUnusable:
        return
    for rows in ([found.project], *(part.values() for part in found.parts.values())):
        for row in rows:
            json.dumps(row, ensure_ascii=False).encode()


names = st.sampled_from("abcdefgh")
graphs = st.dictionaries(names, st.lists(names, max_size=4))


def reaches(tasks: dict[str, list[str]], start: str) -> bool:
    """Tell, without cleverness, whether a task depends on itself."""
    seen: set[str] = set()
    left = list(tasks.get(start, ()))
    while left:
        one = left.pop()
        if one == start:
            return True
        if one not in seen:
            seen.add(one)
            left += tasks.get(one, ())
    return False


@given(tasks=graphs)
@settings(max_examples=150, deadline=None)
def test_a_cycle_is_found_exactly_where_there_is_one(tasks: dict[str, list[str]]) -> None:
    cycle = graph.find_cycle(tasks)
    assert bool(cycle) is any(reaches(tasks, one) for one in tasks)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(after in tasks[before] for before, after in pairwise(cycle))
        with pytest.raises(TaskCycle):
            graph.check(tasks)
        return
    order, depth = graph.ordered(tasks, ord)
    assert sorted(order) == sorted(tasks)
    for one in tasks:
        inside = [other for other in tasks[one] if other in tasks]
        assert all(order.index(other) < order.index(one) for other in inside)
        assert depth[one] == max((depth[other] + 1 for other in inside), default=0)


def test_a_long_chain_of_tasks_is_no_matter() -> None:
    chain = {str(number): [str(number + 1)] for number in range(20_000)}
    assert graph.find_cycle(chain) == []
    assert len(graph.find_cycle({**chain, "20000": ["0"]})) == 20_002
