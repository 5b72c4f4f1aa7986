"""AgentService: the agents ledger over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from quartet.agents.v1 import agents_pb2, agents_pb2_grpc, import_calls_pb2, session_calls_pb2

from quartet_server.agents import (
    artifacts,
    chunks,
    importing,
    paths,
    queues,
    sessions,
    streaming,
    turns,
    watching,
)
from quartet_server.agents.schema import SCHEMA
from quartet_server.domain import Resources
from quartet_server.records.contract import Database
from quartet_server.records.contract import Session as Transaction
from quartet_server.records.requests import once
from quartet_server.records.standard import servicer
from quartet_server.rpc.call import current_zone

Context = aio.ServicerContext[Any, Any]
Verb = Callable[[Transaction, Any], Any]
M = TypeVar("M", bound=Message)

_SERVICE = agents_pb2.DESCRIPTOR.services_by_name["AgentService"]

READS: Mapping[str, Verb] = {
    "GetSession": sessions.get,
    "GetTurn": paths.get_turn,
    "GetThread": paths.get_thread,
    "GetContext": paths.get_context,
    "GetMessage": paths.get_message,
    "GetToolCall": paths.get_tool_call,
    "ListMessages": paths.list_messages,
    "ListToolCalls": paths.list_tool_calls,
    "GetQueueSettings": queues.get_settings,
}
"""What is done in one transaction that only reads."""

WRITES: Mapping[str, Verb] = {
    "CreateSession": sessions.create_session,
    "OpenSession": sessions.open_session,
    "UpdateSession": sessions.update,
    "MoveHead": sessions.move_head,
    "ForkSession": sessions.fork,
    "AddAlias": sessions.add_alias,
    "RemoveAlias": sessions.remove_alias,
    "AppendTurn": turns.append,
    "StartTurn": turns.start,
    "CompactSession": turns.compact,
    "AppendMessage": streaming.append_message,
    "RecordToolCall": streaming.record_tool_call,
    "FinishToolCall": streaming.finish_tool_call,
    "CompleteTurn": streaming.complete,
    "FailTurn": streaming.fail,
    "Enqueue": queues.enqueue,
    "ClaimQueueItems": queues.claim,
    "DeliverQueueItem": queues.deliver,
    "FailQueueItem": queues.fail,
    "UpdateQueueSettings": queues.update_settings,
    "PutArtifact": artifacts.put,
    "LinkArtifact": artifacts.link,
}
"""What is done once in one transaction, whose answer a repetition of the request gets."""


async def start(resources: Resources) -> AgentDomain:
    """Serve the ledger from the node's database `agents`."""
    assert resources.records is not None, "the composition root opens the databases when this service is on"
    return AgentDomain(resources.records.database(SCHEMA.database))


class AgentDomain:
    """The ledger of a running node; see `Domain`."""

    names = (_SERVICE.full_name,)

    def __init__(self, database: Database) -> None:
        """Keep the ledger in `database`."""
        base: type[Any] = agents_pb2_grpc.AgentServiceServicer
        self._servicer: agents_pb2_grpc.AgentServiceServicer = servicer(base, database, SCHEMA, verbs(database))

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        agents_pb2_grpc.add_AgentServiceServicer_to_server(self._servicer, server)

    async def stop(self) -> None:
        """End nothing: streams end with the server."""


def verbs(database: Database) -> SimpleNamespace:
    """Return the calls of AgentService that are no standard methods, each under its name, on `database`."""
    uploads = Uploads(database)
    made = {name: _read(database, verb) for name, verb in READS.items()}
    made |= {name: _write(database, name, verb) for name, verb in WRITES.items()}
    return SimpleNamespace(
        **made,
        WatchSession=_watch(database),
        ImportSessions=uploads.sessions,
        ImportSessionChunk=uploads.chunk,
    )


def _read(database: Database, verb: Verb) -> Callable[[Message, Context], Awaitable[Message]]:
    async def call(request: Message, _: Context) -> Message:
        answer: Message = await database.read(current_zone(), lambda at: verb(at, request))
        return answer

    return call


def _write(database: Database, name: str, verb: Verb) -> Callable[[Any, Context], Awaitable[Message]]:
    method = f"/{_SERVICE.full_name}/{name}"
    answer = GetMessageClass(_SERVICE.methods_by_name[name].output_type)

    async def call(request: Any, _: Context) -> Message:
        done: Message = await once(
            database,
            current_zone(),
            method=method,
            request_id=request.request_id,
            request=request,
            answer=answer,
            work=lambda at: verb(at, request),
        )
        return done

    return call


def _watch(
    database: Database,
) -> Callable[[session_calls_pb2.WatchSessionRequest, Context], AsyncIterator[session_calls_pb2.WatchSessionResponse]]:
    async def call(
        request: session_calls_pb2.WatchSessionRequest, _: Context
    ) -> AsyncIterator[session_calls_pb2.WatchSessionResponse]:
        async with aclosing(watching.watch(database, current_zone(), request)) as answers:
            async for answer in answers:
                yield answer

    return call


class Uploads:
    """The calls by which sessions are imported: their keys are what makes a repetition harmless."""

    def __init__(self, database: Database) -> None:
        """Import into `database`."""
        self._database = database

    async def sessions(
        self, request: import_calls_pb2.ImportSessionsRequest, _: Context
    ) -> import_calls_pb2.ImportSessionsResponse:
        """Import sessions."""
        importing.check(request)
        return await self._database.write(current_zone(), lambda at: importing.import_sessions(at, request))

    async def chunk(
        self, request: import_calls_pb2.ImportSessionChunkRequest, _: Context
    ) -> import_calls_pb2.ImportSessionChunkResponse:
        """Take a part of a session; with the last one, unpack and import it."""
        chunks.check(request)
        zone = current_zone()
        answer = await self._database.write(zone, lambda at: chunks.stage(at, request))
        if answer.received < answer.total or answer.status == import_calls_pb2.CHUNK_STATUS_COMPLETED:
            return answer
        payloads = await self._database.read(zone, lambda at: chunks.parts(at, request.source, request.upload_id))
        item = await asyncio.to_thread(chunks.unpack, request, payloads)
        return await self._database.write(zone, lambda at: chunks.finish(at, request, item))
