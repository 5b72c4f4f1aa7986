"""The twelve tables through the API: what is stored, what its defaults are, what goes with what."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from harness.failures import fails, reason_of
from harness.planning import Planning, code_of, task
from quartet.projects.v1 import agents_pb2, history_pb2, memory_pb2
from quartet.projects.v1 import plans_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode
OF_PROJECT: dict[str, Any] = {"project_id": "p"}
GENESIS = pb.PROJECT_MODE_GENESIS
ODD: Any = 77
RECORDS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "projects": ("Project", pb.Project(name="n", mode=GENESIS, root_path="/"), {"status": "PROJECT_STATUS_CREATED"}),
    "features": (
        "Feature",
        pb.Feature(name="n", **OF_PROJECT),
        {"priority": "FEATURE_PRIORITY_SHOULD", "status": "backlog", "complexity": "FEATURE_COMPLEXITY_SIMPLE"},
    ),
    "sub_features": ("SubFeature", pb.SubFeature(name="n", feature_id="f"), {"status": "backlog"}),
    "tasks": (
        "Task",
        pb.Task(name="n", **OF_PROJECT),
        {
            "type": "TASK_TYPE_AUTO",
            "status": "TASK_STATUS_PENDING",
            "size": "TASK_SIZE_SMALL",
            "priority": 5,
            "maxIterations": 50,
            "estimatedMinutes": 15,
        },
    ),
    "agents": (
        "Agent",
        agents_pb2.Agent(type=agents_pb2.AGENT_TYPE_CODER),
        {
            "status": "AGENT_STATUS_IDLE",
            "modelProvider": "anthropic",
            "modelName": "claude-sonnet-4",
            "temperature": 0.3,
            "maxTokens": 8000,
        },
    ),
    "checkpoints": ("Checkpoint", history_pb2.Checkpoint(**OF_PROJECT), {}),
    "requirements": (
        "Requirement",
        history_pb2.Requirement(category="functional", description="d", **OF_PROJECT),
        {"priority": "medium", "confidence": 1.0},
    ),
    "metrics": ("Metric", history_pb2.Metric(type="token_usage", value=1.5, **OF_PROJECT), {"value": 1.5}),
    "sessions": (
        "Session",
        history_pb2.Session(type=history_pb2.SESSION_TYPE_INTERVIEW, **OF_PROJECT),
        {"status": "SESSION_STATUS_ACTIVE"},
    ),
    "episodes": (
        "Episode",
        memory_pb2.Episode(type=memory_pb2.EPISODE_TYPE_DECISION, content="c", **OF_PROJECT),
        {"importance": 1.0},
    ),
    "continue_points": ("ContinuePoint", history_pb2.ContinuePoint(task_id="t", last_action="a", **OF_PROJECT), {}),
    "code_chunks": (
        "CodeChunk",
        memory_pb2.CodeChunk(file="a.py", content="x", chunk_type="block", language="python", **OF_PROJECT),
        {"hash": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
    ),
}
"""Of each table: its message, the least a record needs, and what the rest is then."""
CHANGED = {
    "agents": ("branch_name", "other"),
    "requirements": ("source", "other"),
    "metrics": ("value", 2.5),
    "sessions": ("status", history_pb2.SESSION_STATUS_PAUSED),
    "episodes": ("summary", "other"),
    "continue_points": ("file", "other"),
    "code_chunks": ("language", "other"),
}
"""Of each table without a name: what the test changes."""
MANDATORY = [
    ("Project", pb.Project(mode=GENESIS, root_path="/"), "name"),
    ("Project", pb.Project(name="n", root_path="/"), "mode"),
    ("Feature", pb.Feature(name="n"), "project_id"),
    ("Task", pb.Task(project_id="p"), "name"),
    ("Agent", agents_pb2.Agent(), "type"),
    ("Session", history_pb2.Session(project_id="p"), "type"),
    ("Metric", history_pb2.Metric(project_id="p", value=1), "type"),
    ("CodeChunk", memory_pb2.CodeChunk(project_id="p", file="f", content="c", language="x"), "chunk_type"),
]
UNKNOWN = [
    ("Project", pb.Project(name="n", mode=ODD, root_path="/")),
    ("Feature", pb.Feature(name="n", project_id="p", priority=ODD)),
    ("Task", pb.Task(name="n", project_id="p", status=ODD)),
    ("Agent", agents_pb2.Agent(type=ODD)),
    ("Session", history_pb2.Session(project_id="p", type=history_pb2.SESSION_TYPE_INTERVIEW, status=ODD)),
    ("Episode", memory_pb2.Episode(project_id="p", content="c", type=ODD)),
]
"""Records with values that their enums do not have."""


def snake(name: str) -> str:
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in name).lstrip("_")


async def family(planning: Planning) -> None:
    await planning.project()
    await planning.feature()
    await planning.part()


@pytest.mark.parametrize("table", RECORDS)
async def test_a_record_gets_its_defaults_and_can_be_read_listed_changed_and_deleted(
    planning: Planning, table: str
) -> None:
    await family(planning)
    name, given, defaults = RECORDS[table]
    field = snake(name)
    made = await getattr(planning, f"Create{name}")(**{field: given})
    shown = MessageToDict(made)
    assert {key: shown.get(key) for key in defaults} == defaults
    assert (made.id[14], made.etag) == ("7", "1")  # a UUIDv7
    read = await getattr(planning, f"Get{name}")(id=made.id)
    if name not in ("Checkpoint", "Episode"):  # the one has its state now, the other was read
        assert read == made
    many = "".join(part.title() for part in table.split("_"))
    listed = await getattr(planning, f"List{many}")(filter=f'id = "{made.id}"')
    assert len(listed.ListFields()[0][1]) == 1
    changed = type(made)(id=made.id, etag=made.etag)
    text, value = CHANGED.get(table, ("name", "other"))
    setattr(changed, text, value)
    mask = FieldMask(paths=[text])
    after = await getattr(planning, f"Update{name}")(**{field: changed, "update_mask": mask})
    assert (getattr(after, text), after.etag) == (value, "2")
    with fails(CODE.ABORTED, "ETAG_STALE"):
        await getattr(planning, f"Update{name}")(**{field: changed, "update_mask": mask})
    with fails(CODE.ABORTED, "ETAG_STALE"):
        await getattr(planning, f"Delete{name}")(id=made.id, etag="1")
    await getattr(planning, f"Delete{name}")(id=made.id, etag="2")
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await getattr(planning, f"Get{name}")(id=made.id)


@pytest.mark.parametrize(("name", "given", "lacking"), MANDATORY)
async def test_a_record_without_what_it_needs_is_refused_by_the_name_of_that_field(
    planning: Planning, name: str, given: Any, lacking: str
) -> None:
    await planning.project()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(planning, f"Create{name}")(**{snake(name): given})
    assert (caught.value.code(), reason_of(caught.value)) == (CODE.INVALID_ARGUMENT, "FIELD_INVALID")
    assert f"{snake(name)}.{lacking}" in str(caught.value.details())


@pytest.mark.parametrize(("name", "given"), UNKNOWN)
async def test_a_value_that_an_enum_does_not_have_is_refused(planning: Planning, name: str, given: Any) -> None:
    await planning.project()
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await getattr(planning, f"Create{name}")(**{snake(name): given})


async def test_deleting_a_project_takes_along_all_that_belongs_to_it_and_leaves_agents_and_code(
    planning: Planning,
) -> None:
    await family(planning)
    await planning.task(feature_id="f", sub_feature_id="s")
    ids = {}
    for table, (name, given, _) in RECORDS.items():
        if table != "projects":
            ids[name] = (await getattr(planning, f"Create{name}")(**{snake(name): given})).id
    await planning.project("q")
    other = await planning.task("u", "q")
    await planning.DeleteProject(id="p")
    codes = {name: await code_of(getattr(planning, f"Get{name}")(id=id_)) for name, id_ in ids.items()}
    assert [name for name, code in codes.items() if code is CODE.OK] == ["Agent", "CodeChunk"]
    assert set(codes.values()) == {CODE.OK, CODE.NOT_FOUND}
    assert await planning.GetTask(id="u") == other


async def test_code_goes_with_its_project_when_it_is_to_be_purged(planning: Planning) -> None:
    await planning.project()
    await planning.project("q")
    chunk = memory_pb2.CodeChunk(file="a.py", content="x", chunk_type="block", language="python")
    for project in ("p", "q"):
        await planning.IndexCodeChunks(project_id=project, chunks=[chunk])
    await planning.DeleteProject(id="p", purge_code=True)
    left = (await planning.ListCodeChunks()).code_chunks
    assert [one.project_id for one in left] == ["q"]


async def test_a_feature_or_a_part_of_one_cannot_be_deleted_while_it_has_tasks(planning: Planning) -> None:
    await family(planning)
    await planning.task(sub_feature_id="s")  # its feature is that of the sub-feature
    assert (await planning.GetTask(id="t")).feature_id == "f"
    for delete, id_ in ((planning.DeleteFeature, "f"), (planning.DeleteSubFeature, "s")):
        with fails(CODE.FAILED_PRECONDITION, "RECORD_REFERENCED"):
            await delete(id=id_)
    await planning.DeleteTask(id="t")
    await planning.DeleteFeature(id="f")
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await planning.GetSubFeature(id="s")


async def test_a_task_is_of_features_of_its_own_project_only(planning: Planning) -> None:
    await family(planning)
    await planning.project("q")
    await planning.feature("g", "q")
    for said in ({"feature_id": "g"}, {"feature_id": "none"}, {"sub_feature_id": "none"}):
        with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
            await planning.task(**said)
    await planning.task()
    with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
        await planning.UpdateTask(task=pb.Task(id="t", feature_id="g"))
    with fails(CODE.INVALID_ARGUMENT, "MASK_INVALID"):
        await planning.UpdateTask(task=pb.Task(id="t", project_id="q", name="n"))


async def test_what_one_zone_has_another_does_not_see_or_refer_to(planning: Planning) -> None:
    await family(planning)
    other = planning.elsewhere()
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await other.GetProject(id="p")
    with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
        await other.feature("g", "p")
    await other.project()  # the same id, another project
    await other.DeleteProject(id="p")
    assert (await planning.GetProject(id="p")).id == "p"


async def test_lists_tell_how_far_projects_features_and_parts_are(planning: Planning) -> None:
    await family(planning)
    await planning.UpdateFeature(feature=pb.Feature(id="f", estimated_tasks=8))
    for id_, status in (("a", "completed"), ("b", "completed"), ("c", "in_progress"), ("d", "blocked"), ("e", "")):
        await planning.task(id_, feature_id="f", sub_feature_id="s" if id_ < "d" else None)
        if status:
            await planning.set_status(id_, status)
    (project,) = (await planning.ListProjects()).projects
    assert (project.features, project.tasks, project.completed_tasks, project.blocked_tasks) == (1, 5, 2, 1)
    assert (project.active_tasks, project.failed_tasks, project.percent) == (1, 0, 40.0)
    (feature,) = (await planning.ListFeatures(project_id="p")).features
    assert (feature.tasks, feature.completed_tasks, feature.percent) == (5, 2, 25.0)
    assert feature.feature.completed_tasks == 2
    (part,) = (await planning.ListSubFeatures(feature_id="f")).sub_features
    assert (part.tasks, part.completed_tasks, part.percent) == (3, 2, 66.67)
    names = await planning.ListProjectNames(page_size=1)
    assert [(one.id, one.name, one.status) for one in names.projects] == [("p", "p", pb.PROJECT_STATUS_CREATED)]


async def test_the_tree_of_a_project_has_everything_at_its_place(planning: Planning) -> None:
    await family(planning)
    await planning.feature("must", priority=pb.FEATURE_PRIORITY_MUST)
    await planning.task("of-project")
    await planning.task("of-feature", feature_id="f", priority=1)
    await planning.task("of-part", sub_feature_id="s")
    tree = await planning.GetProjectTree(id="p")
    assert [one.id for one in tree.tasks] == ["of-project"]
    assert [one.feature.id for one in tree.features] == ["must", "f"]
    branch = tree.features[1]
    assert [one.id for one in branch.tasks] == ["of-feature"]
    assert [(one.sub_feature.id, [t.id for t in one.tasks]) for one in branch.sub_features] == [("s", ["of-part"])]
    bare = await planning.GetProjectTree(id="p", without_tasks=True)
    assert not bare.tasks
    assert [one.feature.id for one in bare.features] == ["must", "f"]
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await planning.GetProjectTree(id="none")


async def test_a_project_says_when_it_was_completed_until_it_goes_on(planning: Planning) -> None:
    await planning.project()
    done = await planning.UpdateProject(project=pb.Project(id="p", status=pb.PROJECT_STATUS_COMPLETED))
    assert done.HasField("completed_at")
    again = await planning.UpdateProject(project=pb.Project(id="p", status=pb.PROJECT_STATUS_IN_PROGRESS))
    assert not again.HasField("completed_at")


async def test_a_request_id_makes_a_second_call_the_first(planning: Planning) -> None:
    await planning.project()
    first = await planning.CreateTask(task=task("", name="n"), request_id="r")
    assert await planning.CreateTask(task=task("", name="n"), request_id="r") == first
    assert len((await planning.ListTasks(project_id="p")).tasks) == 1
    with fails(CODE.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await planning.CreateTask(task=task("other"), request_id="r")
