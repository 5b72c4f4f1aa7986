"""Counts of rows by status, in one statement each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from quartet.projects.v1 import plans_pb2 as pb
from quartet.projects.v1.feature_calls_pb2 import FeatureProgress, SubFeatureProgress
from quartet.projects.v1.project_calls_pb2 import ProjectSummary

from quartet_server.projects import schema
from quartet_server.records.contract import Session
from quartet_server.records.schema import Record

_AT_ONCE = 500  # ids in one statement


def by_status(session: Session, record: Record[Any], *where: sa.ColumnElement[bool]) -> dict[str, int]:
    """Return how many of the zone's rows that fulfil `where` have each status, as it is stored."""
    table = record.table
    chosen = sa.select(table.c.status, sa.func.count()).where(table.c.zone == session.zone, *where)
    return {row[0]: row[1] for row in session.connection.execute(chosen.group_by(table.c.status))}


def tasks_of(session: Session, column: str, ids: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """Return how many tasks of each status refer to each of `ids` in `column`."""
    table, found = schema.TASKS.table, defaultdict[str, dict[str, int]](dict)
    for start in range(0, len(ids), _AT_ONCE):
        chosen = (
            sa.select(table.c[column], table.c.status, sa.func.count())
            .where(table.c.zone == session.zone, table.c[column].in_(ids[start : start + _AT_ONCE]))
            .group_by(table.c[column], table.c.status)
        )
        for id_, status, count in session.connection.execute(chosen):
            found[id_][status] = count
    return found


def summaries(session: Session, projects: Sequence[pb.Project]) -> list[ProjectSummary]:
    """Return projects with counts of what is in them."""
    ids = [one.id for one in projects]
    tasks = tasks_of(session, "project_id", ids)
    features: dict[str, int] = {}
    table = schema.FEATURES.table
    for start in range(0, len(ids), _AT_ONCE):
        chosen = sa.select(table.c.project_id, sa.func.count()).where(
            table.c.zone == session.zone, table.c.project_id.in_(ids[start : start + _AT_ONCE])
        )
        features |= {row[0]: row[1] for row in session.connection.execute(chosen.group_by(table.c.project_id))}
    return [_summary(one, features.get(one.id, 0), tasks.get(one.id, {})) for one in projects]


def _summary(project: pb.Project, features: int, tasks: Mapping[str, int]) -> ProjectSummary:
    total = sum(tasks.values())
    return ProjectSummary(
        project=project,
        features=features,
        tasks=total,
        completed_tasks=tasks.get("completed", 0),
        failed_tasks=tasks.get("failed", 0),
        blocked_tasks=tasks.get("blocked", 0),
        active_tasks=tasks.get("in_progress", 0) + tasks.get("in_review", 0),
        percent=percent(tasks.get("completed", 0), total),
    )


def features(session: Session, found: Sequence[pb.Feature]) -> list[FeatureProgress]:
    """Return features with how far their tasks are."""
    tasks = tasks_of(session, "feature_id", [one.id for one in found])
    made = []
    for one in found:
        counts = tasks.get(one.id, {})
        total, done = sum(counts.values()), counts.get("completed", 0)
        made.append(
            FeatureProgress(
                feature=one,
                tasks=total,
                completed_tasks=done,
                percent=percent(done, max(total, one.estimated_tasks)),
            )
        )
    return made


def sub_features(session: Session, found: Sequence[pb.SubFeature]) -> list[SubFeatureProgress]:
    """Return sub-features with counts of their tasks."""
    tasks = tasks_of(session, "sub_feature_id", [one.id for one in found])
    made = []
    for one in found:
        counts = tasks.get(one.id, {})
        total, done = sum(counts.values()), counts.get("completed", 0)
        made.append(
            SubFeatureProgress(sub_feature=one, tasks=total, completed_tasks=done, percent=percent(done, total))
        )
    return made


def percent(done: int, total: int) -> float:
    """Return how much of `total` is done, 0 to 100, to a hundredth."""
    return round(100 * done / total, 2) if total else 0.0
