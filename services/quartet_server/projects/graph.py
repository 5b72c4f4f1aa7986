"""The order of tasks: what depends on what, which has no cycles."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from quartet_server.project_errors import TaskCycle
from quartet_server.projects.schema import TASKS
from quartet_server.records.contract import Session

_AT_ONCE = 500  # ids in one statement
_SHOWN = 20  # tasks of a cycle that an error names

Graph = Mapping[str, Collection[str]]
"""What each task depends on, by id; what it depends on need not be a key."""


def edges(session: Session, ids: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """Return (id, project, what it depends on) of those of the tasks that are there."""
    table, found = TASKS.table, []
    for start in range(0, len(ids), _AT_ONCE):
        chosen = sa.select(table.c.id, table.c.project_id, table.c.depends_on).where(
            table.c.zone == session.zone, table.c.id.in_(ids[start : start + _AT_ONCE])
        )
        found += [(id_, project, listed(text)) for id_, project, text in session.connection.execute(chosen)]
    return found


def projects_of(session: Session, ids: Sequence[str]) -> dict[str, str]:
    """Return the project of each of the tasks that is there, by id."""
    return {id_: project for id_, project, _ in edges(session, ids)}


def of_project(session: Session, project: str) -> dict[str, list[str]]:
    """Return what the tasks of a project depend on, of those that depend on any."""
    table = TASKS.table
    chosen = (
        sa.select(table.c.id, table.c.depends_on)
        .where(table.c.zone == session.zone, table.c.project_id == project, table.c.depends_on.is_not(None))
        .order_by(table.c.id)  # so that of several cycles the same one is named
    )
    return {id_: listed(text) for id_, text in session.connection.execute(chosen)}


def listed(text: str | None) -> list[str]:
    """Return the ids in a stored list."""
    return json.loads(text) if text else []


def check(graph: Graph) -> None:
    """Let pass a graph without cycles. Raises TaskCycle, which names one."""
    if cycle := find_cycle(graph):
        shown = [one[:64] for one in cycle[:_SHOWN]]
        told = " -> ".join(shown) + (" -> ..." if len(cycle) > _SHOWN else "")
        raise TaskCycle(f"tasks would depend on each other: {told}", cycle=",".join(shown), length=len(cycle) - 1)


def find_cycle(graph: Graph) -> list[str]:
    """Return tasks each of which depends on the next, the last being the first again; empty where there are none."""
    done: set[str] = set()
    for start in graph:
        if start in done:
            continue
        way: dict[str, Any] = {start: iter(graph[start])}  # in the order in which they were entered
        while way:
            here = next(reversed(way))
            for there in way[here]:
                if there in way:
                    ids = list(way)
                    return [*ids[ids.index(there) :], there]
                if there not in done and there in graph:
                    way[there] = iter(graph[there])
                    break
            else:
                done.add(here)
                del way[here]
    return []


def ordered(graph: Graph, rank: Callable[[str], Any]) -> tuple[list[str], dict[str, int]]:
    """Return the keys of a graph without cycles, each behind all it depends on, and how deep each is.

    Of those that may come next the one of the lowest `rank` does; what is no key is taken as done.
    """
    left = {id_: sum(1 for one in set(depends) if one in graph) for id_, depends in graph.items()}
    after: dict[str, list[str]] = {}
    for id_, depends in graph.items():
        for one in set(depends):
            after.setdefault(one, []).append(id_)
    ready = [(rank(id_), id_) for id_, count in left.items() if not count]
    heapq.heapify(ready)
    depth = {id_: 0 for _, id_ in ready}
    order: list[str] = []
    while ready:
        _, id_ = heapq.heappop(ready)
        order.append(id_)
        for one in after.get(id_, ()):
            left[one] -= 1
            depth[one] = max(depth.get(one, 0), depth[id_] + 1)
            if not left[one]:
                heapq.heappush(ready, (rank(one), one))
    return order, depth
