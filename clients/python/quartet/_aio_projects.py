"""Projects, tasks, agents and memory, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from quartet._aio_transport import AsyncTransport
from quartet._errors import Unavailable
from quartet._projects import RESUMPTIONS, M, field_of, listed, new_request_id, standard, struct
from quartet._retry import Backoff
from quartet.projects.v1 import (
    agent_calls_pb2,
    agents_pb2,
    batch_pb2,
    code_calls_pb2,
    continue_calls_pb2,
    episode_calls_pb2,
    history_calls_pb2,
    history_pb2,
    memory_pb2,
    metric_calls_pb2,
    plans_pb2,
    project_calls_pb2,
    requirement_calls_pb2,
    task_calls_pb2,
    views_pb2,
)


class AsyncProjects:
    """Projects with their features, tasks, history and memory, and the agents that work on them.

    Records are messages of `quartet.projects.v1`. All methods raise `quartet.CallError`.
    """

    def __init__(self, transport: AsyncTransport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    async def _call(self, method: str, request: Any) -> Any:
        return await self._transport.call(lambda at: getattr(at.projects, method), request, safe=True)

    async def _send(self, method: str, request: Any, request_id: str) -> Any:
        request.request_id = request_id or self._new_id()
        return await self._call(method, request)

    async def get(self, kind: type[M], id: str) -> M:  # noqa: A002 - the name of the field
        """Read a record: `get(plans_pb2.Task, "t-1")`. Reading an episode counts."""
        found: M = await self._call(*standard("Get", kind, id=id))
        return found

    async def list(self, kind: type[Message], *, page_size: int = 1000, **said: Any) -> AsyncIterator[Any]:
        """Yield records, fetching pages as needed: `list(plans_pb2.Task, project_id="p", filter="priority < 3")`.

        `said` are fields of the List request. Projects, features and sub-features come with counts (ProjectSummary,
        FeatureProgress, SubFeatureProgress), checkpoints, episodes and code chunks without what is large in them.
        """
        method, request = standard("List", kind, page_size=page_size, **said)
        while True:
            page = await self._call(method, request)
            for one in listed(page):
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def create(self, record: M, *, request_id: str = "") -> M:
        """Store a new record, and return it as it is."""
        made: M = await self._send(*standard("Create", record, **{field_of(record): record}), request_id)
        return made

    async def create_all(self, records: Sequence[M], *, request_id: str = "") -> Sequence[M]:
        """Store new records of one kind, all or none: features, sub-features, tasks, requirements, metrics, episodes."""
        if not records:
            return []
        field = field_of(records[0])
        requests = [standard("Create", one, **{field: one})[1] for one in records]
        return listed(await self._send(*standard("BatchCreate", records[0], requests=requests), request_id))

    async def update(self, record: M, *fields: str, request_id: str = "") -> M:
        """Set `fields` of a stored record, or those that are not empty; its etag says which version is meant."""
        mask = FieldMask(paths=fields)
        said = {field_of(record): record, "update_mask": mask}
        done: M = await self._send(*standard("Update", record, **said), request_id)
        return done

    async def delete(self, kind: type[Message], id: str, *, etag: str = "", request_id: str = "") -> None:  # noqa: A002
        """Delete a record."""
        await self._send(*standard("Delete", kind, id=id, etag=etag), request_id)

    async def delete_project(self, id: str, *, purge_code: bool = False, etag: str = "", request_id: str = "") -> None:  # noqa: A002
        """Delete a project with all that belongs to it, and its code if that is asked for."""
        request = project_calls_pb2.DeleteProjectRequest(id=id, purge_code=purge_code, etag=etag)
        await self._send("DeleteProject", request, request_id)

    async def names(
        self, *, status: plans_pb2.ProjectStatus.ValueType = plans_pb2.PROJECT_STATUS_UNSPECIFIED
    ) -> AsyncIterator[project_calls_pb2.ProjectName]:
        """Yield the ids and names of projects."""
        request = project_calls_pb2.ListProjectNamesRequest(status=status, page_size=1000)
        while True:
            page = await self._call("ListProjectNames", request)
            for one in page.projects:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def tree(self, project_id: str, *, without_tasks: bool = False) -> project_calls_pb2.ProjectTree:
        """Read a project with its features, sub-features and tasks."""
        request = project_calls_pb2.GetProjectTreeRequest(id=project_id, without_tasks=without_tasks)
        return await self._call("GetProjectTree", request)  # type: ignore[no-any-return]

    async def claim(
        self,
        agent_id: str,
        *,
        project_id: str = "",
        task_id: str = "",
        feature_id: str = "",
        type: plans_pb2.TaskType.ValueType = plans_pb2.TASK_TYPE_UNSPECIFIED,  # noqa: A002 - the name of the field
        request_id: str = "",
    ) -> plans_pb2.Task | None:
        """Get a task for an agent: a named one, or the first that is ready; None when none is."""
        request = task_calls_pb2.ClaimTaskRequest(
            agent_id=agent_id, project_id=project_id, task_id=task_id, feature_id=feature_id, type=type
        )
        answer = await self._send("ClaimTask", request, request_id)
        return answer.task if answer.HasField("task") else None

    async def set_status(
        self,
        task_id: str,
        status: plans_pb2.TaskStatus.ValueType,
        *,
        blocked_by: str = "",
        note: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> task_calls_pb2.SetTaskStatusResponse:
        """Say how far a task is."""
        request = task_calls_pb2.SetTaskStatusRequest(
            id=task_id, status=status, blocked_by=blocked_by, note=note, etag=etag
        )
        return await self._send("SetTaskStatus", request, request_id)  # type: ignore[no-any-return]

    async def bump(
        self, task_id: str, *, note: str = "", request_id: str = ""
    ) -> task_calls_pb2.BumpQaIterationResponse:
        """Count that quality assurance sent a task back."""
        request = task_calls_pb2.BumpQaIterationRequest(id=task_id, note=note)
        return await self._send("BumpQaIteration", request, request_id)  # type: ignore[no-any-return]

    async def graph(self, project_id: str, *, feature_id: str = "") -> Sequence[task_calls_pb2.TaskNode]:
        """Read tasks in an order in which they can be done."""
        request = task_calls_pb2.TaskGraphRequest(project_id=project_id, feature_id=feature_id)
        return (await self._call("TaskGraph", request)).nodes  # type: ignore[no-any-return]

    async def board(
        self, project_id: str, *, feature_id: str = "", assigned_agent: str = "", column_size: int = 0
    ) -> Sequence[task_calls_pb2.BoardColumn]:
        """Read tasks by status."""
        request = task_calls_pb2.BoardRequest(
            project_id=project_id, feature_id=feature_id, assigned_agent=assigned_agent, column_size=column_size
        )
        return (await self._call("Board", request)).columns  # type: ignore[no-any-return]

    async def spawn(self, agent: agents_pb2.Agent, *, request_id: str = "") -> agents_pb2.Agent:
        """Begin an agent."""
        return await self._send("SpawnAgent", agent_calls_pb2.SpawnAgentRequest(agent=agent), request_id)  # type: ignore[no-any-return]

    async def terminate(
        self, agent_id: str, *, reason: str = "", request_id: str = ""
    ) -> agent_calls_pb2.TerminateAgentResponse:
        """End an agent; its task is given back."""
        request = agent_calls_pb2.TerminateAgentRequest(id=agent_id, reason=reason)
        return await self._send("TerminateAgent", request, request_id)  # type: ignore[no-any-return]

    async def heartbeat(
        self, agent_id: str, *, status: agents_pb2.AgentStatus.ValueType = agents_pb2.AGENT_STATUS_UNSPECIFIED
    ) -> agents_pb2.Agent:
        """Tell that an agent lives, and what it does."""
        return await self._call("Heartbeat", agent_calls_pb2.HeartbeatRequest(id=agent_id, status=status))  # type: ignore[no-any-return]

    async def add_tokens(
        self, agent_id: str, tokens: int, *, project_id: str = "", task_id: str = "", request_id: str = ""
    ) -> agents_pb2.Agent:
        """Add to what an agent took; with a project it becomes a metric, too."""
        request = agent_calls_pb2.AddTokensRequest(id=agent_id, tokens=tokens, project_id=project_id, task_id=task_id)
        return await self._send("AddTokens", request, request_id)  # type: ignore[no-any-return]

    async def usage(self, **said: Any) -> Sequence[agent_calls_pb2.AgentUsageEntry]:
        """Tell what agents took; `said` are fields of AgentUsageRequest."""
        return (await self._call("AgentUsage", agent_calls_pb2.AgentUsageRequest(**said))).agents  # type: ignore[no-any-return]

    async def watch(
        self,
        *,
        position: int = 0,
        type: agents_pb2.AgentType.ValueType = agents_pb2.AGENT_TYPE_UNSPECIFIED,  # noqa: A002 - the name of the field
    ) -> AsyncGenerator[agent_calls_pb2.WatchAgentsResponse, None]:
        """Yield what happens to agents after `position`, 0 for all there are; when a node fails, another goes on."""
        request = agent_calls_pb2.WatchAgentsRequest(position=position, type=type)
        backoff, tries = Backoff(), 0
        while True:
            try:
                async for answer in self._transport.stream(lambda at: at.projects.WatchAgents, request):
                    tries, backoff = 0, Backoff()
                    request.position = answer.position
                    yield answer
                return
            except Unavailable as error:
                tries += 1
                if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS:
                    raise
                await self._transport.rest(backoff.after(error))

    async def checkpoint(
        self, project_id: str, *, name: str = "", reason: str = "", git_commit: str = "", request_id: str = ""
    ) -> history_pb2.Checkpoint:
        """Keep a project as it is now."""
        kept = history_pb2.Checkpoint(
            project_id=project_id, name=name or None, reason=reason or None, git_commit=git_commit or None
        )
        return await self.create(kept, request_id=request_id)

    async def restore(
        self, checkpoint_id: str, *, project_id: str = "", dry_run: bool = False, request_id: str = ""
    ) -> history_calls_pb2.RestoreCheckpointResponse:
        """Make a project what it was, or tell what that would change."""
        request = history_calls_pb2.RestoreCheckpointRequest(id=checkpoint_id, project_id=project_id, dry_run=dry_run)
        return await self._send("RestoreCheckpoint", request, request_id)  # type: ignore[no-any-return]

    async def start_session(self, session: history_pb2.Session, *, request_id: str = "") -> history_pb2.Session:
        """Begin a session."""
        request = history_calls_pb2.StartSessionRequest(session=session)
        return await self._send("StartSession", request, request_id)  # type: ignore[no-any-return]

    async def save_session(
        self,
        session_id: str,
        *,
        data: Mapping[str, Any] | None = None,
        status: history_pb2.SessionStatus.ValueType = history_pb2.SESSION_STATUS_UNSPECIFIED,
        etag: str = "",
        request_id: str = "",
    ) -> history_pb2.Session:
        """Keep what a session has come to, and pause or resume it."""
        request = history_calls_pb2.SaveSessionRequest(id=session_id, data=struct(data), status=status, etag=etag)
        return await self._send("SaveSession", request, request_id)  # type: ignore[no-any-return]

    async def end_session(
        self,
        session_id: str,
        *,
        status: history_pb2.SessionStatus.ValueType = history_pb2.SESSION_STATUS_UNSPECIFIED,
        data: Mapping[str, Any] | None = None,
        request_id: str = "",
    ) -> history_pb2.Session:
        """End a session."""
        request = history_calls_pb2.EndSessionRequest(id=session_id, status=status, data=struct(data))
        return await self._send("EndSession", request, request_id)  # type: ignore[no-any-return]

    async def save_point(self, point: history_pb2.ContinuePoint, *, request_id: str = "") -> history_pb2.ContinuePoint:
        """Keep where work on a task stopped."""
        request = continue_calls_pb2.SaveContinuePointRequest(continue_point=point)
        return await self._send("SaveContinuePoint", request, request_id)  # type: ignore[no-any-return]

    async def latest_point(self, task_id: str) -> history_pb2.ContinuePoint:
        """Read where work on a task stopped last."""
        request = continue_calls_pb2.LatestContinuePointRequest(task_id=task_id)
        return await self._call("LatestContinuePoint", request)  # type: ignore[no-any-return]

    async def clear_points(
        self, *, task_id: str = "", project_id: str = "", keep: int = 0, request_id: str = ""
    ) -> int:
        """Delete continue points but the newest `keep` of each task; return how many."""
        request = continue_calls_pb2.ClearContinuePointsRequest(task_id=task_id, project_id=project_id, keep=keep)
        return int((await self._send("ClearContinuePoints", request, request_id)).cleared)

    async def validate(
        self, requirement_id: str, *, validated: bool = True, confidence: float | None = None, request_id: str = ""
    ) -> history_pb2.Requirement:
        """Say whether a person confirmed a requirement."""
        request = requirement_calls_pb2.ValidateRequirementRequest(
            id=requirement_id, validated=validated, confidence=confidence
        )
        return await self._send("ValidateRequirement", request, request_id)  # type: ignore[no-any-return]

    async def link(
        self, requirement_id: str, *feature_ids: str, unlink: Iterable[str] = (), request_id: str = ""
    ) -> history_pb2.Requirement:
        """Say which features meet a requirement."""
        request = requirement_calls_pb2.LinkRequirementRequest(
            id=requirement_id, feature_ids=feature_ids, unlink_feature_ids=unlink
        )
        return await self._send("LinkRequirement", request, request_id)  # type: ignore[no-any-return]

    async def record(self, metric: history_pb2.Metric, *, request_id: str = "") -> history_pb2.Metric:
        """Store a measurement."""
        return await self._send("RecordMetric", metric_calls_pb2.RecordMetricRequest(metric=metric), request_id)  # type: ignore[no-any-return]

    async def measurements(
        self, selection: metric_calls_pb2.MetricSelection, *, newest_first: bool = False
    ) -> AsyncIterator[history_pb2.Metric]:
        """Yield measurements in the order of time."""
        request = metric_calls_pb2.QueryMetricsRequest(selection=selection, newest_first=newest_first, page_size=1000)
        while True:
            page = await self._call("QueryMetrics", request)
            for one in page.metrics:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def aggregate(
        self,
        selection: metric_calls_pb2.MetricSelection,
        *,
        group_by: Iterable[metric_calls_pb2.MetricDimension.ValueType] = (),
        bucket_seconds: int = 0,
    ) -> Sequence[metric_calls_pb2.MetricGroup]:
        """Add measurements up."""
        request = metric_calls_pb2.AggregateMetricsRequest(
            selection=selection, group_by=group_by, bucket_seconds=bucket_seconds
        )
        return (await self._call("AggregateMetrics", request)).groups  # type: ignore[no-any-return]

    async def search_episodes(self, project_id: str, **said: Any) -> Sequence[episode_calls_pb2.EpisodeMatch]:
        """Find episodes; `said` are fields of SearchEpisodesRequest, as `vector=[...]`."""
        request = episode_calls_pb2.SearchEpisodesRequest(project_id=project_id, **said)
        return (await self._call("SearchEpisodes", request)).matches  # type: ignore[no-any-return]

    async def prune_episodes(
        self,
        project_id: str,
        *,
        keep: int = 0,
        below_importance: float | None = None,
        dry_run: bool = False,
        request_id: str = "",
    ) -> episode_calls_pb2.PruneEpisodesResponse:
        """Forget the least important episodes of a project, or tell how many that would be."""
        request = episode_calls_pb2.PruneEpisodesRequest(
            project_id=project_id, keep=keep, below_importance=below_importance, dry_run=dry_run
        )
        return await self._send("PruneEpisodes", request, request_id)  # type: ignore[no-any-return]

    async def index(
        self,
        project_id: str,
        chunks: Iterable[memory_pb2.CodeChunk],
        *,
        replace_files: bool = False,
        request_id: str = "",
    ) -> code_calls_pb2.IndexCodeChunksResponse:
        """Store at most 1,000 chunks of code, except those that are there."""
        request = code_calls_pb2.IndexCodeChunksRequest(
            project_id=project_id, chunks=chunks, replace_files=replace_files
        )
        return await self._send("IndexCodeChunks", request, request_id)  # type: ignore[no-any-return]

    async def search_code(self, project_id: str, **said: Any) -> Sequence[code_calls_pb2.CodeMatch]:
        """Find code; `said` are fields of SearchCodeRequest, as `vector=[...]`."""
        request = code_calls_pb2.SearchCodeRequest(project_id=project_id, **said)
        return (await self._call("SearchCode", request)).matches  # type: ignore[no-any-return]

    async def find_symbol(
        self, project_id: str, symbol: str, *, prefix: bool = False, limit: int = 0
    ) -> Sequence[memory_pb2.CodeChunk]:
        """Find where something is defined."""
        request = code_calls_pb2.FindSymbolRequest(project_id=project_id, symbol=symbol, prefix=prefix, limit=limit)
        return (await self._call("FindSymbol", request)).chunks  # type: ignore[no-any-return]

    async def delete_file_chunks(self, project_id: str, file: str, *, request_id: str = "") -> int:
        """Delete all chunks of a file; return how many."""
        request = code_calls_pb2.DeleteFileChunksRequest(project_id=project_id, file=file)
        return int((await self._send("DeleteFileChunks", request, request_id)).deleted)

    async def repo_map(self, project_id: str, *, file_prefix: str = "") -> AsyncIterator[code_calls_pb2.FileMap]:
        """Yield files and what is defined in them, by path."""
        request = code_calls_pb2.RepoMapRequest(project_id=project_id, file_prefix=file_prefix, limit=1000)
        while True:
            page = await self._call("RepoMap", request)
            for one in page.files:
                yield one
            if not page.more or not page.files:
                return
            request.after_file = page.files[-1].file

    async def batch(
        self, operations: Iterable[batch_pb2.BatchOperation], *, request_id: str = ""
    ) -> Sequence[batch_pb2.AnyRecord]:
        """Do at most 1,000 writes to any of the tables, all or none."""
        return (await self._send("Batch", batch_pb2.BatchRequest(operations=operations), request_id)).results  # type: ignore[no-any-return]

    async def dashboard(self, project_id: str = "", *, limit: int = 0) -> views_pb2.DashboardResponse:
        """Read projects, tasks, metrics and agents at a glance."""
        return await self._call("Dashboard", views_pb2.DashboardRequest(project_id=project_id, limit=limit))  # type: ignore[no-any-return]

    async def agent_overview(self, agent_id: str = "", *, limit: int = 0) -> Sequence[views_pb2.AgentCard]:
        """Read agents with what they do and took."""
        request = views_pb2.AgentOverviewRequest(agent_id=agent_id, limit=limit)
        return (await self._call("AgentOverview", request)).agents  # type: ignore[no-any-return]

    async def execution(self, project_id: str, *, limit: int = 0) -> views_pb2.ExecutionViewResponse:
        """Read how far the work on a project is."""
        return await self._call("ExecutionView", views_pb2.ExecutionViewRequest(project_id=project_id, limit=limit))  # type: ignore[no-any-return]
