"""The project database through both clients and the commands, against a node in this process."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from quartet import AsyncClient, Client, FailedPrecondition, NotFound
from quartet._memory import MemoryNode
from quartet.projects.v1 import agents_pb2, batch_pb2, history_pb2, memory_pb2, plans_pb2
from quartet.projects.v1.metric_calls_pb2 import METRIC_DIMENSION_TYPE, MetricSelection
from quartet_server.cli import create


@pytest.fixture(scope="module")
def node() -> Iterator[MemoryNode]:
    """One node for all tests of this file."""
    memory = MemoryNode()
    yield memory
    memory.close()


def project(id_: str) -> plans_pb2.Project:
    return plans_pb2.Project(id=id_, name=id_.upper(), mode=plans_pb2.PROJECT_MODE_GENESIS, root_path="/")


def task(id_: str, **said: Any) -> plans_pb2.Task:
    return plans_pb2.Task(**{"id": id_, "project_id": "p", "name": id_, **said})


def test_the_client_plans_works_measures_remembers_and_goes_back(node: MemoryNode) -> None:
    with Client(node.address, zone="sync") as client:
        projects = client.projects
        projects.create(project("p"))
        projects.create(plans_pb2.Feature(id="f", project_id="p", name="F"))
        projects.create_all([task("a", feature_id="f"), task("b", depends_on=["a"])])
        assert projects.create_all([]) == []
        assert [one.id for one in projects.list(plans_pb2.Task, project_id="p", page_size=1)] == ["a", "b"]
        assert [one.name for one in projects.names()] == ["P"]
        kept = projects.checkpoint("p", name="begin")
        agent = projects.spawn(agents_pb2.Agent(type=agents_pb2.AGENT_TYPE_CODER))
        got = projects.claim(agent.id, project_id="p")
        assert got is not None
        assert got.id == "a"
        assert projects.claim(agent.id, project_id="p") is None
        assert projects.bump("a", note="again").task.qa_iterations == 1
        assert projects.set_status("a", plans_pb2.TASK_STATUS_COMPLETED).task.HasField("completed_at")
        assert [(one.id, one.ready) for one in projects.graph("p")] == [("a", False), ("b", True)]
        assert [one.count for one in projects.board("p") if one.count] == [1, 1]
        assert projects.heartbeat(agent.id).last_activity_at.seconds
        assert projects.add_tokens(agent.id, 9, project_id="p").tokens_used == 9
        assert [one.metric_tokens for one in projects.usage(agent_id=agent.id)] == [9]
        (group,) = projects.aggregate(MetricSelection(project_id="p"), group_by=[METRIC_DIMENSION_TYPE])
        assert (group.type, group.sum) == ("token_usage", 9)
        projects.record(history_pb2.Metric(project_id="p", type="task_duration", value=1))
        assert len(list(projects.measurements(MetricSelection(project_id="p")))) == 2
        watch = projects.watch()
        assert [one.id for one in next(watch).agents] == [agent.id]
        watch.close()
        assert projects.terminate(agent.id, reason="done").agent.termination_reason == "done"
        assert len(projects.agent_overview(agent.id)) == len(projects.dashboard().projects) == 1
        assert [one.id for one in projects.execution("p").checkpoints] == [kept.id]
        session = projects.start_session(history_pb2.Session(project_id="p", type=history_pb2.SESSION_TYPE_PLANNING))
        assert projects.save_session(session.id, data={"x": 1}).data["x"] == 1
        assert projects.end_session(session.id).status == history_pb2.SESSION_STATUS_COMPLETED
        point = projects.save_point(history_pb2.ContinuePoint(project_id="p", task_id="b", last_action="read"))
        assert projects.latest_point("b") == point
        assert projects.clear_points(task_id="b") == 1
        made = projects.create(history_pb2.Requirement(project_id="p", category="c", description="d"))
        assert projects.validate(made.id).validated
        assert list(projects.link(made.id, "f").linked_features) == ["f"]
        projects.create(
            memory_pb2.Episode(project_id="p", type=memory_pb2.EPISODE_TYPE_DECISION, content="c", embedding=[1, 0])
        )
        assert [round(one.score) for one in projects.search_episodes("p", vector=[1, 0])] == [1]
        assert projects.prune_episodes("p", keep=1, dry_run=True).pruned == 0
        chunk = memory_pb2.CodeChunk(file="a.py", content="x", chunk_type="block", language="python", symbols=["X"])
        assert projects.index("p", [chunk]).created == 1
        assert len(projects.search_code("p")) == len(projects.find_symbol("p", "X")) == 1
        assert [one.file for one in projects.repo_map("p")] == ["a.py"]
        assert projects.delete_file_chunks("p", "a.py") == 1
        done = projects.batch([batch_pb2.BatchOperation(create=batch_pb2.AnyRecord(task=task("c")))])
        assert done[0].task.id == "c"
        renamed = projects.update(plans_pb2.Task(id="c", name="C"), "name")
        assert (renamed.name, projects.get(plans_pb2.Task, "c")) == ("C", renamed)
        projects.delete(plans_pb2.Task, "c", etag=renamed.etag)
        assert projects.restore(kept.id, dry_run=True).tables[3].updated == 1
        assert len(projects.tree("p").tasks) == 1
        with pytest.raises(FailedPrecondition, match="depend on each other"):
            projects.update(task("a", depends_on=["b"]))
        projects.delete_project("p", purge_code=True)
        with pytest.raises(NotFound):
            projects.get(plans_pb2.Project, "p")
        with pytest.raises(TypeError):
            projects.get(batch_pb2.BatchDelete, "p")


async def test_the_asynchronous_client_does_the_same(node: MemoryNode) -> None:
    async with AsyncClient(node.address, zone="aio") as client:
        projects = client.projects
        await projects.create(project("p"))
        await projects.create_all([task("a"), task("b", depends_on=["a"])])
        assert [one.id async for one in projects.list(plans_pb2.Task, project_id="p", page_size=1)] == ["a", "b"]
        kept = await projects.checkpoint("p")
        agent = await projects.spawn(agents_pb2.Agent(type=agents_pb2.AGENT_TYPE_CODER))
        got = await projects.claim(agent.id, project_id="p")
        assert got is not None
        assert (await projects.set_status(got.id, plans_pb2.TASK_STATUS_COMPLETED)).task.id == "a"
        watch = projects.watch()
        assert [one.id for one in (await anext(watch)).agents] == [agent.id]
        await watch.aclose()
        assert [one.id for one in await projects.graph("p")] == ["a", "b"]
        assert [one.count for one in await projects.board("p") if one.count] == [1, 1]
        assert [one.name async for one in projects.names()] == ["P"]
        assert [one.file async for one in projects.repo_map("p")] == []
        assert await projects.clear_points(task_id="b") == 0
        assert (await projects.restore(kept.id)).tables[3].updated == 1
        await projects.delete_project("p")
        with pytest.raises(NotFound):
            await projects.tree("p")


@pytest.fixture
def quartet(node: MemoryNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command line and returns what it printed; as an object when it asks for JSON."""
    monkeypatch.setenv("QUARTET_CLIENT_ENDPOINTS", node.address)

    def run(*arguments: str) -> Any:
        create({})(["projects", *arguments, "--zone", "cli"])
        printed = capsys.readouterr().out
        return json.loads(printed) if "json" in arguments else printed

    return run


def test_the_commands_show_what_is_planned_and_how_far_it_is(quartet: Any, node: MemoryNode) -> None:
    made = quartet("create", "Search", "/src", "--id", "p", "-o", "json")
    assert (made["id"], made["status"]) == ("p", "PROJECT_STATUS_CREATED")
    with Client(node.address, zone="cli") as client:
        client.projects.create(plans_pb2.Feature(id="f", project_id="p", name="F"))
        client.projects.create(plans_pb2.SubFeature(id="s", feature_id="f", name="S"))
        client.projects.create_all([task("a"), task("b", sub_feature_id="s", depends_on=["a"], priority=1)])
        client.projects.spawn(agents_pb2.Agent(id="x", type=agents_pb2.AGENT_TYPE_CODER))
        client.projects.claim("x", project_id="p")
        client.projects.add_tokens("x", 5, project_id="p")
    assert [(one["id"], one["tasks"]) for one in quartet("list", "-o", "json")] == [("p", 2)]
    assert [line.split() for line in quartet("show", "p").splitlines()[1:]] == [
        ["project", "p", "created", "Search"],
        ["task", "a", "in_progress", "a"],
        ["feature", "f", "backlog", "F"],
        ["sub-feature", "s", "backlog", "S"],
        ["task", "b", "pending", "b"],
    ]
    assert [one["id"] for one in quartet("tasks", "p", "-o", "json")] == ["b", "a"]
    assert quartet("tasks", "p", "--status", "in_progress").splitlines()[1].split() == [
        "a",
        "in_progress",
        "5",
        "a",
        "x",
        "-",
    ]
    columns = {one["status"]: one["count"] for one in quartet("board", "p", "-o", "json")}
    assert (len(columns), columns["in_progress"]) == (7, 1)
    assert "in_progress (1)" in quartet("board", "p")
    assert [(one["id"], one["depends_on"]) for one in quartet("graph", "p", "-o", "json")] == [("a", []), ("b", ["a"])]
    assert quartet("dashboard", "-o", "json")["projects"][0]["tasks"] == "2"
    assert "token_usage (sum 5)" in quartet("dashboard", "p")
    assert " ".join(quartet("agents").splitlines()[1].split()) == "x coder working claude-sonnet-4 a 5 0 0"
    exported = list(csv.DictReader(io.StringIO(quartet("metrics", "p", "--by", "agent", "--csv"))))
    assert [(one["agent_id"], one["sum"]) for one in exported] == [("x", "5.0")]
    assert quartet("metrics", "p", "-o", "json")[0]["type"] == "token_usage"
    kept = quartet("checkpoint", "p", "--name", "now").strip()
    assert quartet("checkpoints", "p", "-o", "json")[0]["id"] == kept
    restored = quartet("restore", kept, "--project", "p", "--dry-run", "-o", "json")
    assert [one["unchanged"] for one in restored["tables"]] == [1, 1, 1, 2, 0]
    assert quartet("delete", "p", "--purge-code", "-o", "json") == {"id": "p"}
    assert quartet("list", "-o", "json") == []
