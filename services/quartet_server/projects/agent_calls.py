"""Calls about agents: how they begin and end, that they live, what they take."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.projects.v1 import agent_calls_pb2 as pb
from quartet.projects.v1 import agents_pb2, history_pb2, plans_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.project_errors import TransitionRefused
from quartet_server.projects import fields, metrics, schema, tasks, watching
from quartet_server.projects.calls import Calls, Context
from quartet_server.projects.unit import Unit
from quartet_server.projects.writers import AGENTS, METRICS
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session
from quartet_server.records.fields import numbers
from quartet_server.rpc.call import current_zone

_TYPES = numbers(agents_pb2.AgentType.DESCRIPTOR)
_BEGINS = ("id", "type", "model_provider", "model_name", "temperature", "max_tokens", "system_prompt", "worktree_path")
_TOKENS = 2**53
"""Most tokens added at once: what a metric, which is a double, can say exactly."""


class AgentCalls(Calls):
    """Calls about agents."""

    async def SpawnAgent(self, request: pb.SpawnAgentRequest, context: Context) -> agents_pb2.Agent:
        """Begin an agent."""

        def work(unit: Unit) -> agents_pb2.Agent:
            fresh = agents_pb2.Agent(tools=request.agent.tools, status=agents_pb2.AGENT_STATUS_IDLE)
            for name in (*_BEGINS, "branch_name"):
                field = fresh.DESCRIPTOR.fields_by_name[name]
                if not field.has_presence or request.agent.HasField(name):  # type: ignore[arg-type]
                    setattr(fresh, name, getattr(request.agent, name))
            return AGENTS.create(unit, fresh, "agent")

        return await self.write("SpawnAgent", request, agents_pb2.Agent, work)

    async def TerminateAgent(self, request: pb.TerminateAgentRequest, context: Context) -> pb.TerminateAgentResponse:
        """End an agent."""
        return await self.write(
            "TerminateAgent", request, pb.TerminateAgentResponse, lambda unit: terminate(unit, request)
        )

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> agents_pb2.Agent:
        """Note that an agent lives."""

        def work(unit: Unit) -> agents_pb2.Agent:
            agent = living(unit.session, request.id)
            beat = agents_pb2.Agent(id=agent.id, last_activity_at=stamp(unit.session.now), status=request.status)
            if request.status == agents_pb2.AGENT_STATUS_TERMINATED:
                raise FieldInvalid.of("status", "TerminateAgent ends an agent")
            names = ("last_activity_at", "status") if request.status else ("last_activity_at",)
            unit.agent(agent.id)
            return rows.update(unit.session, schema.AGENTS, beat, names)

        return await self.write("Heartbeat", request, agents_pb2.Agent, work)

    async def AddTokens(self, request: pb.AddTokensRequest, context: Context) -> agents_pb2.Agent:
        """Add to what an agent took."""

        def work(unit: Unit) -> agents_pb2.Agent:
            if not 0 <= request.tokens <= _TOKENS:
                raise FieldInvalid.of("tokens", f"0 to {_TOKENS} are taken")
            agent = rows.fetch(unit.session, schema.AGENTS, request.id)
            added = agents_pb2.Agent(
                id=agent.id,
                tokens_used=min(agent.tokens_used + request.tokens, 2**62),
                last_activity_at=stamp(unit.session.now),
            )
            if request.project_id:
                metric = history_pb2.Metric(
                    project_id=request.project_id, agent_id=agent.id, type="token_usage", value=request.tokens
                )
                if request.task_id:
                    metric.task_id = request.task_id
                METRICS.create(unit, metric, "metric")
            unit.agent(agent.id)
            return rows.update(unit.session, schema.AGENTS, added, ("tokens_used", "last_activity_at"))

        return await self.write("AddTokens", request, agents_pb2.Agent, work)

    async def AgentUsage(self, request: pb.AgentUsageRequest, context: Context) -> pb.AgentUsageResponse:
        """Tell what agents took."""
        return await self.read(lambda session: usage(session, request))

    async def WatchAgents(self, request: pb.WatchAgentsRequest, context: Context) -> None:
        """Tell of agents as they change."""
        async for answer in watching.watch(self.database, current_zone(), request):
            await context.write(answer)


def living(session: Session, id_: str) -> agents_pb2.Agent:
    """Return an agent that has not ended. Raises RecordNotFound, TransitionRefused."""
    agent = rows.fetch(session, schema.AGENTS, id_)
    if agent.status == agents_pb2.AGENT_STATUS_TERMINATED:
        raise TransitionRefused(
            f"agent {agent.id} has ended", table="agents", id=agent.id, status="terminated", wanted="working"
        )
    return agent


def terminate(unit: Unit, request: pb.TerminateAgentRequest) -> pb.TerminateAgentResponse:
    """End an agent, and give back its task. Raises RecordNotFound."""
    agent = rows.fetch(unit.session, schema.AGENTS, request.id)
    if agent.status == agents_pb2.AGENT_STATUS_TERMINATED:
        return pb.TerminateAgentResponse(agent=agent)
    ended = agents_pb2.Agent(id=agent.id, status=agents_pb2.AGENT_STATUS_TERMINATED)
    ended.terminated_at.CopyFrom(stamp(unit.session.now))
    ended.last_activity_at.CopyFrom(stamp(unit.session.now))
    if request.reason:
        ended.termination_reason = request.reason
    names = ("status", "terminated_at", "last_activity_at", "termination_reason", "current_task_id")
    made = pb.TerminateAgentResponse(agent=rows.update(unit.session, schema.AGENTS, ended, names))
    unit.agent(agent.id)
    if agent.current_task_id:
        task = rows.find(unit.session, schema.TASKS, agent.current_task_id)
        if task is not None and task.assigned_agent == agent.id and task.status in (tasks.IN_PROGRESS, tasks.IN_REVIEW):
            made.released_task.CopyFrom(tasks.move(unit, task, plans_pb2.TASK_STATUS_PENDING))
    return made


def usage(session: Session, request: pb.AgentUsageRequest) -> pb.AgentUsageResponse:
    """Return what agents took, those that took most first."""
    agents = schema.AGENTS.table
    limit = fields.limited(request.limit, 100)
    named = ("id", "type", "model_provider", "model_name", "tokens_used", "tasks_completed", "tasks_failed")
    chosen = sa.select(*(agents.c[name] for name in named)).where(agents.c.zone == session.zone)
    if request.agent_id:
        chosen = chosen.where(agents.c.id == rows.check_id(request.agent_id, "agent_id"))
    found = session.connection.execute(chosen.order_by(agents.c.tokens_used.desc(), agents.c.id).limit(limit)).all()
    tokens = metrics.tokens_by_agent(session, [row.id for row in found], request)
    made = pb.AgentUsageResponse()
    for row in found:
        made.agents.add(
            agent_id=row.id,
            type=_TYPES[row.type],
            model_provider=row.model_provider,
            model_name=row.model_name,
            tokens_used=row.tokens_used,
            metric_tokens=tokens[row.id].sum if row.id in tokens else 0,
            tasks_completed=row.tasks_completed,
            tasks_failed=row.tasks_failed,
        )
    return made
