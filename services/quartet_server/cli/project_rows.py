"""How records of projects are shown by commands."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from quartet.projects.v1 import agents_pb2, metric_calls_pb2, plans_pb2, project_calls_pb2


def _spellings(enum: Any, prefix: str) -> dict[int, str]:
    """Return how each value of an enum is spelled in the database."""
    return {number: name.removeprefix(prefix).lower() for name, number in enum.items()}


PROJECTS = _spellings(plans_pb2.ProjectStatus, "PROJECT_STATUS_")
TASKS = _spellings(plans_pb2.TaskStatus, "TASK_STATUS_")
AGENTS = _spellings(agents_pb2.AgentStatus, "AGENT_STATUS_")


def spelled(enum: Any, text: str) -> Any:
    """Return the value of an enum that is spelled `text`."""
    return next(number for name, number in enum.items() if name.lower().endswith(f"_{text}"))


def document(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it, with the names of its fields; times as in RFC 3339."""
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def summary_row(one: project_calls_pb2.ProjectSummary) -> dict[str, Any]:
    """Show a project with its counts."""
    return {
        "id": one.project.id,
        "status": PROJECTS[one.project.status],
        "name": one.project.name,
        "root_path": one.project.root_path,
        "features": one.features,
        "tasks": one.tasks,
        "completed": one.completed_tasks,
        "failed": one.failed_tasks,
        "blocked": one.blocked_tasks,
        "active": one.active_tasks,
        "percent": one.percent,
    }


def task_row(one: plans_pb2.Task) -> dict[str, Any]:
    """Show a task."""
    return {
        "id": one.id,
        "status": TASKS[one.status],
        "priority": one.priority,
        "name": one.name,
        "assigned_agent": one.assigned_agent or None,
        "depends_on": ", ".join(one.depends_on) or None,
    }


def group_row(one: metric_calls_pb2.MetricGroup) -> dict[str, Any]:
    """Show what measurements come to."""
    return {
        "bucket_time": one.bucket_time.ToJsonString() if one.HasField("bucket_time") else None,
        "type": one.type or None,
        "agent_id": one.agent_id or None,
        "task_id": one.task_id or None,
        "project_id": one.project_id or None,
        "count": one.count,
        "sum": one.sum,
        "avg": one.avg,
        "min": one.min,
        "max": one.max,
    }
