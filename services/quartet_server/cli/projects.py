"""`quartet projects ...`: what is planned, how far it is, who works on it, what it took."""

from __future__ import annotations

import csv
import sys
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from quartet.projects.v1 import agents_pb2, history_pb2, plans_pb2
from quartet.projects.v1 import metric_calls_pb2 as metrics_pb2

from quartet_server.cli.connection import Endpoints, Zone, connected
from quartet_server.cli.output import Output, print_json, print_table
from quartet_server.cli.project_rows import AGENTS, PROJECTS, TASKS, document, group_row, spelled, summary_row, task_row

Project = Annotated[str, Parameter(help="Id of the project.")]
Status = Literal["", "pending", "queued", "in_progress", "in_review", "completed", "failed", "blocked"]
Dimension = Literal["type", "agent", "task", "project"]
_DIMENSIONS = {
    "type": metrics_pb2.METRIC_DIMENSION_TYPE,
    "agent": metrics_pb2.METRIC_DIMENSION_AGENT,
    "task": metrics_pb2.METRIC_DIMENSION_TASK,
    "project": metrics_pb2.METRIC_DIMENSION_PROJECT,
}
_GROUPS = ("bucket_time", "type", "agent_id", "task_id", "project_id", "count", "sum", "avg", "min", "max")
_TASK_COLUMNS = ("id", "status", "priority", "name", "assigned_agent", "depends_on")


def register(app: App) -> None:
    """Add the commands to `app`."""
    projects = App(name="projects", help="Projects, their tasks, and the agents that work on them.")
    app.command(projects)

    @projects.command(name="list")
    def list_(*, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """List projects with how far they are.

        **Example**: `quartet projects list -o json`
        """
        with connected(endpoints, zone) as client:
            rows = [summary_row(one) for one in client.projects.list(plans_pb2.Project)]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("id", "status", "name", "features", "tasks", "completed", "percent"))

    @projects.command
    def create(
        name: Annotated[str, Parameter(help="Name that people see.")],
        root_path: Annotated[str, Parameter(help="Where it lies in a file system.")],
        /,
        *,
        id_: Annotated[str, Parameter(name="--id", help="Its id; drawn without one.")] = "",
        mode: Annotated[Literal["genesis", "evolution"], Parameter(help="From nothing, or from code.")] = "genesis",
        description: Annotated[str, Parameter(help="What it is about.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Create a project, and print its id.

        **Example**: `quartet projects create "Search" ~/src/search --mode evolution`
        """
        made = plans_pb2.Project(
            id=id_,
            name=name,
            root_path=root_path,
            mode=spelled(plans_pb2.ProjectMode, mode),
            description=description or None,
        )
        with connected(endpoints, zone) as client:
            made = client.projects.create(made)
        if output == "json":
            print_json(document(made))
        else:
            print(made.id)

    @projects.command
    def show(project: Project, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show a project with its features, sub-features and tasks.

        **Example**: `quartet projects show p-1`
        """
        with connected(endpoints, zone) as client:
            tree = client.projects.tree(project)
        if output == "json":
            print_json(document(tree))
            return
        rows: list[dict[str, Any]] = [
            {
                "what": "project",
                "id": tree.project.id,
                "status": PROJECTS[tree.project.status],
                "name": tree.project.name,
            }
        ]

        def add(depth: int, what: str, id_: str, status: str, name: str) -> None:
            rows.append({"what": "  " * depth + what, "id": id_, "status": status, "name": name})

        def tasks(depth: int, found: Any) -> None:
            for task in found:
                add(depth, "task", task.id, TASKS[task.status], task.name)

        tasks(1, tree.tasks)
        for feature in tree.features:
            add(1, "feature", feature.feature.id, feature.feature.status, feature.feature.name)
            tasks(2, feature.tasks)
            for part in feature.sub_features:
                add(2, "sub-feature", part.sub_feature.id, part.sub_feature.status, part.sub_feature.name)
                tasks(3, part.tasks)
        print_table(rows, ("what", "id", "status", "name"))

    @projects.command
    def delete(
        project: Project,
        /,
        *,
        purge_code: Annotated[bool, Parameter(negative="", help="Delete its code chunks, too.")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Delete a project with everything that belongs to it.

        **Example**: `quartet projects delete p-1 --purge-code`
        """
        with connected(endpoints, zone) as client:
            client.projects.delete_project(project, purge_code=purge_code)
        if output == "json":
            print_json({"id": project})

    @projects.command
    def tasks(
        project: Project,
        /,
        *,
        status: Annotated[Status, Parameter(help="Only tasks of this status.")] = "",
        filter_: Annotated[str, Parameter(name="--filter", help='AIP-160, as `priority < 3 AND name = "fix*"`.')] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """List the tasks of a project, the highest priority first.

        **Example**: `quartet projects tasks p-1 --status blocked`
        """
        wanted = spelled(plans_pb2.TaskStatus, status) if status else None
        with connected(endpoints, zone) as client:
            found = client.projects.list(
                plans_pb2.Task, project_id=project, status=wanted, filter=filter_, order_by="priority"
            )
            rows = [document(one) if output == "json" else task_row(one) for one in found]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, _TASK_COLUMNS)

    @projects.command
    def board(project: Project, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show the tasks of a project by status.

        **Example**: `quartet projects board p-1`
        """
        with connected(endpoints, zone) as client:
            columns = client.projects.board(project)
        if output == "json":
            print_json([{**document(one), "status": TASKS[one.status], "count": one.count} for one in columns])
            return
        rows = [
            {**task_row(task), "column": f"{TASKS[one.status]} ({one.count})" if not place else ""}
            for one in columns
            for place, task in enumerate(one.tasks)
        ]
        print_table(rows, ("column", "id", "priority", "name", "assigned_agent"))

    @projects.command
    def graph(project: Project, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """List tasks in an order in which they can be done, and which are ready.

        **Example**: `quartet projects graph p-1`
        """
        with connected(endpoints, zone) as client:
            nodes = client.projects.graph(project)
        rows = [
            {
                "id": one.id,
                "status": TASKS[one.status],
                "depth": one.depth,
                "ready": one.ready,
                "name": one.name,
                "depends_on": list(one.depends_on) if output == "json" else ", ".join(one.depends_on) or None,
            }
            for one in nodes
        ]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("id", "status", "depth", "ready", "name", "depends_on"))

    @projects.command
    def dashboard(
        project: Annotated[str, Parameter(help="Only this project.")] = "",
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show projects, tasks, metrics and agents at a glance.

        **Example**: `quartet projects dashboard`
        """
        with connected(endpoints, zone) as client:
            shown = client.projects.dashboard(project)
        if output == "json":
            print_json(document(shown))
            return
        rows = [{"what": "project", "name": one.project.name, "count": one.tasks} for one in shown.projects]
        rows += [{"what": "tasks", "name": TASKS[one.status], "count": one.count} for one in shown.tasks_by_status]
        rows += [{"what": "agents", "name": AGENTS[one.status], "count": one.count} for one in shown.agents_by_status]
        rows += [
            {"what": "metric", "name": f"{one.type} (sum {one.sum:g})", "count": one.count} for one in shown.metrics
        ]
        print_table(rows, ("what", "name", "count"))

    @projects.command
    def agents(*, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """List agents with what they do and took.

        **Example**: `quartet projects agents`
        """
        with connected(endpoints, zone) as client:
            found = list(client.projects.list(agents_pb2.Agent))
        if output == "json":
            print_json([document(one) for one in found])
            return
        rows = [
            {
                "id": one.id,
                "type": agents_pb2.AgentType.Name(one.type).removeprefix("AGENT_TYPE_").lower(),
                "status": AGENTS[one.status],
                "model": one.model_name,
                "task": one.current_task_id or None,
                "tokens": one.tokens_used,
                "completed": one.tasks_completed,
                "failed": one.tasks_failed,
            }
            for one in found
        ]
        print_table(rows, ("id", "type", "status", "model", "task", "tokens", "completed", "failed"))

    @projects.command
    def checkpoints(
        project: Project, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table"
    ) -> None:
        """List the checkpoints of a project, the newest first.

        **Example**: `quartet projects checkpoints p-1`
        """
        with connected(endpoints, zone) as client:
            found = client.projects.list(history_pb2.Checkpoint, project_id=project, order_by="created_at desc")
            rows = [document(one) for one in found]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("id", "created_at", "name", "reason", "git_commit"))

    @projects.command
    def checkpoint(
        project: Project,
        /,
        *,
        name: Annotated[str, Parameter(help="What it is called.")] = "",
        git_commit: Annotated[str, Parameter(help="The git commit that belongs to it.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Keep a project as it is now, and print the id of the checkpoint.

        **Example**: `quartet projects checkpoint p-1 --name "before the rewrite"`
        """
        with connected(endpoints, zone) as client:
            made = client.projects.checkpoint(project, name=name, reason="human_request", git_commit=git_commit)
        if output == "json":
            print_json(document(made))
        else:
            print(made.id)

    @projects.command
    def restore(
        checkpoint: Annotated[str, Parameter(help="Id of the checkpoint.")],
        /,
        *,
        project: Annotated[str, Parameter(help="The project it must be of.")] = "",
        dry_run: Annotated[bool, Parameter(negative="", help="Tell what would change, and change nothing.")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make a project what it was at a checkpoint.

        **Example**: `quartet projects restore CHECKPOINT --dry-run`
        """
        with connected(endpoints, zone) as client:
            done = client.projects.restore(checkpoint, project_id=project, dry_run=dry_run)
        names = ("table", "created", "updated", "deleted", "unchanged")
        rows = [{name: getattr(one, name) for name in names} for one in done.tables]
        if output == "json":
            print_json({"project": done.project.id, "git_commit": done.git_commit, "dry_run": dry_run, "tables": rows})
        else:
            print_table(rows, names)

    @projects.command
    def metrics(
        project: Annotated[str, Parameter(help="Only this project.")] = "",
        /,
        *,
        by: Annotated[list[Dimension] | None, Parameter(negative="", help="Told apart by; may be repeated.")] = None,
        bucket: Annotated[int, Parameter(help="Told apart by stretches of so many seconds; 0 for none.")] = 0,
        type_: Annotated[str, Parameter(name="--type", help="Only this type, as token_usage.")] = "",
        csv_: Annotated[bool, Parameter(name="--csv", negative="", help="Print CSV with a header.")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Add measurements up, and export that as CSV or JSON.

        **Example**: `quartet projects metrics p-1 --by agent --bucket 86400 --csv > tokens.csv`
        """
        selection = metrics_pb2.MetricSelection(project_id=project, type=type_)
        dimensions = [_DIMENSIONS[one] for one in (["type"] if by is None else by)]
        with connected(endpoints, zone) as client:
            found = client.projects.aggregate(selection, group_by=dimensions, bucket_seconds=bucket)
        rows = [group_row(one) for one in found]
        if csv_:
            writer = csv.DictWriter(sys.stdout, _GROUPS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        elif output == "json":
            print_json(rows)
        else:
            print_table(rows, [one for one in _GROUPS if any(row[one] is not None for row in rows)] or _GROUPS)
