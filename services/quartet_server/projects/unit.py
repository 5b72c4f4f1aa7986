"""What a transaction owes at its end: counts of features, the order of tasks, the positions of agents that changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from quartet_server.projects import graph
from quartet_server.projects.schema import AGENT_CHANGES, FEATURES, TASKS
from quartet_server.record_errors import RecordReferenced, ReferenceMissing
from quartet_server.records import documents, rows
from quartet_server.records.contract import Session

_AT_ONCE = 500  # ids in one statement


class Unit:
    """The writes of one transaction, which settle what they owe when `unit` ends.

    So that tasks of one batch may depend on each other in any order, and that what is counted is counted once.

    Attributes:
        session: The transaction.
    """

    def __init__(self, session: Session) -> None:
        """Use `unit`."""
        self.session = session
        self._new_tasks: set[str] = set()
        self._ordered: set[str] = set()
        self._gone_tasks: dict[str, str] = {}
        self._features: set[str] = set()
        self._agents: dict[str, bool] = {}

    def depends(self, task: str, *, new: bool) -> None:
        """See at the end that what `task` depends on is there, and that it does not depend on itself."""
        self._ordered.add(task)
        if new:
            self._new_tasks.add(task)

    def gone(self, task: str, project: str) -> None:
        """See at the end that nothing depends on `task`, which was deleted."""
        self._gone_tasks[task] = project

    def counts(self, feature: str) -> None:
        """Count the completed tasks of `feature` at the end."""
        if feature:
            self._features.add(feature)

    def agent(self, id_: str, *, deleted: bool = False) -> None:
        """Give the agent's change a position at the end, by which WatchAgents tells of it."""
        self._agents[id_] = deleted

    def settle(self) -> None:
        """Do what is owed. Raises ReferenceMissing, TaskCycle, RecordReferenced."""
        if self._ordered:
            self._check_order()
        if self._gone_tasks:
            self._check_gone()
        if self._features:
            self._count()
        if self._agents:
            self._place()

    def _check_order(self) -> None:
        found = graph.edges(self.session, sorted(self._ordered))
        tasks = {id_: project for id_, project, depends in found if depends}
        wanted = sorted({one for _, _, depends in found for one in depends})
        projects = graph.projects_of(self.session, wanted)
        for id_, project, depends in found:
            for one in depends:
                if projects.get(one) != project:
                    raise ReferenceMissing(
                        f"task {id_} depends on {one[:64]}, which is no task of project {project}",
                        database=TASKS.database,
                        table=TASKS.name,
                        id=one[:64],
                    )
        # Nothing depends on the only new task yet: it closes no cycle unless it names itself.
        alone = len(self._ordered) == 1 and self._ordered == self._new_tasks
        for project in sorted(set(tasks.values())):
            if alone:
                graph.check({id_: depends for id_, _, depends in found})
            else:
                graph.check(graph.of_project(self.session, project))

    def _check_gone(self) -> None:
        """Look for tasks that depend on deleted ones; what reads every task of the project, see DESIGN.md."""
        for gone, project in self._gone_tasks.items():
            text = documents.dump(gone)
            table = TASKS.table
            near = sa.select(table.c.id, table.c.depends_on).where(
                table.c.zone == self.session.zone,
                table.c.project_id == project,
                table.c.depends_on.contains(text, autoescape=True),
            )
            for id_, depends in self.session.connection.execute(near):
                if gone in json.loads(depends):
                    raise RecordReferenced(
                        f"task {id_} depends on {gone}", database=TASKS.database, table=TASKS.name, id=id_
                    )

    def _count(self) -> None:
        table = TASKS.table
        completed = (
            sa.select(sa.func.count())
            .where(
                table.c.zone == self.session.zone,
                table.c.feature_id == FEATURES.table.c.id,
                table.c.status == "completed",
            )
            .scalar_subquery()
        )
        for some in _pieces(sorted(self._features)):
            changed = sa.and_(FEATURES.table.c.id.in_(some), FEATURES.table.c.completed_tasks != completed)
            rows.change(self.session, FEATURES, changed, {"completed_tasks": completed})

    def _place(self) -> None:
        connection, zone, table = self.session.connection, self.session.zone, AGENT_CHANGES
        last = connection.execute(sa.select(sa.func.max(table.c.position)).where(table.c.zone == zone)).scalar() or 0
        for position, (id_, deleted) in enumerate(self._agents.items(), last + 1):
            values = {"position": position, "deleted": deleted}
            mine = sa.and_(table.c.zone == zone, table.c.agent_id == id_)
            if not connection.execute(table.update().where(mine).values(values)).rowcount:
                connection.execute(table.insert().values(zone=zone, agent_id=id_, **values))


@contextmanager
def unit(session: Session) -> Iterator[Unit]:
    """Settle what the writes inside owe, when they are done and nothing was raised."""
    writes = Unit(session)
    yield writes
    writes.settle()


def _pieces(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
