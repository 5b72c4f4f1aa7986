"""EventService: the event ledger over gRPC."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpc import aio
from quartet.events.v1 import (
    appending_pb2,
    documents_pb2,
    events_pb2,
    events_pb2_grpc,
    following_pb2,
    keeping_pb2,
    progress_pb2,
    reading_pb2,
    state_pb2,
)

from quartet_server.domain import Resources
from quartet_server.errors import FieldInvalid
from quartet_server.events import documents, erasing, incoming, progress, rebuilding, searching, states, tailing
from quartet_server.events.intake import Intake
from quartet_server.events.listing import list_events
from quartet_server.events.outbound import outbound_event
from quartet_server.events.schema import SCHEMA
from quartet_server.records.contract import Database, Session
from quartet_server.records.requests import once
from quartet_server.records.standard import servicer
from quartet_server.rpc.call import current_zone

Context = aio.ServicerContext[Any, Any]
A = TypeVar("A", bound=Message)
R = TypeVar("R", bound=Message)

_SERVICE = events_pb2.DESCRIPTOR.services_by_name["EventService"]


async def start(resources: Resources) -> EventDomain:
    """Serve the ledger from the node's database `events`."""
    assert resources.records is not None, "the composition root opens the databases when this service is on"
    return EventDomain(resources.records.database(SCHEMA.database), resources.clock)


class EventDomain:
    """The ledger of a running node; see `Domain`."""

    names = (_SERVICE.full_name,)

    def __init__(
        self, database: Database, clock: Callable[[], float], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep events in `database`. `clock` tells the seconds since 1970, `monotonic` those that never go back."""
        self._intake = Intake(database)
        verbs = Verbs(database, self._intake, clock, monotonic)
        base = events_pb2_grpc.EventServiceServicer
        self._servicer = servicer(base, database, SCHEMA, verbs)  # type: ignore[type-abstract]

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        events_pb2_grpc.add_EventServiceServicer_to_server(self._servicer, server)

    async def stop(self) -> None:
        """Wait until what was taken in is answered."""
        await self._intake.close()


class Verbs:
    """The calls of `quartet.events.v1.EventService` that are no standard methods.

    Each takes the zone from the call and hands over to the module that knows the operation. Errors are those of
    `quartet_server.errors`.
    """

    def __init__(
        self, database: Database, intake: Intake, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        """Read and write `database`, single events through `intake`."""
        self._database = database
        self._intake = intake
        self._clock = clock
        self._monotonic = monotonic

    async def Append(self, request: appending_pb2.AppendRequest, _: Context) -> appending_pb2.AppendResult:
        """Append an event."""
        if not request.HasField("event"):
            raise FieldInvalid.of("event", "is empty")
        return await incoming.append_one(self._intake, current_zone(), request.event)

    async def AppendEach(
        self, requests: AsyncIterator[appending_pb2.AppendEachRequest], _: Context
    ) -> AsyncIterator[appending_pb2.AppendEachResponse]:
        """Append single events as they come."""
        async with aclosing(incoming.append_each(self._intake, current_zone(), requests)) as answers:
            async for answer in answers:
                yield answer

    async def AppendBatches(
        self, requests: AsyncIterator[appending_pb2.AppendBatchesRequest], _: Context
    ) -> AsyncIterator[appending_pb2.BatchAppendResponse]:
        """Append batch after batch."""
        async with aclosing(incoming.append_batches(self._database, current_zone(), requests)) as answers:
            async for answer in answers:
                yield answer

    async def BatchAppend(
        self, request: appending_pb2.BatchAppendRequest, _: Context
    ) -> appending_pb2.BatchAppendResponse:
        """Append a batch."""
        return await incoming.append_batch(self._database, current_zone(), request.events)

    async def RecordOutbound(
        self, request: appending_pb2.RecordOutboundRequest, _: Context
    ) -> appending_pb2.AppendResult:
        """Append what was sent."""
        event = outbound_event(request, int(self._clock() * 1_000_000))
        return await incoming.append_one(self._intake, current_zone(), event)

    async def ListEvents(self, request: reading_pb2.ListEventsRequest, _: Context) -> reading_pb2.ListEventsResponse:
        """Read a page of events."""
        return await self._read(list_events, request)

    async def Search(self, request: reading_pb2.SearchRequest, _: Context) -> reading_pb2.SearchResponse:
        """Find events by their words."""
        return await self._read(searching.search, request)

    async def Tail(self, request: reading_pb2.TailRequest, _: Context) -> AsyncIterator[reading_pb2.TailResponse]:
        """Send events as they come."""
        stream = tailing.tail(self._database, current_zone(), request, self._monotonic)
        async with aclosing(stream) as answers:
            async for answer in answers:
                yield answer

    async def Erase(self, request: appending_pb2.EraseRequest, _: Context) -> appending_pb2.EraseResponse:
        """Erase events."""
        return await self._once("Erase", erasing.erase, request, appending_pb2.EraseResponse)

    async def Rebuild(
        self, request: keeping_pb2.RebuildRequest, _: Context
    ) -> AsyncIterator[keeping_pb2.RebuildResponse]:
        """Derive again what is derived."""
        stream = rebuilding.rebuild(self._database, current_zone(), dry_run=request.dry_run)
        async with aclosing(stream) as answers:
            async for answer in answers:
                yield answer

    async def SetState(self, request: keeping_pb2.SetStateRequest, _: Context) -> state_pb2.EventState:
        """Change the state of an event."""
        return await self._once("SetState", states.set_state, request, state_pb2.EventState)

    async def Tag(self, request: keeping_pb2.TagRequest, _: Context) -> keeping_pb2.TagResponse:
        """Hang tags on events."""
        return await self._once("Tag", states.tag, request, keeping_pb2.TagResponse)

    async def Untag(self, request: keeping_pb2.UntagRequest, _: Context) -> keeping_pb2.UntagResponse:
        """Take tags from events."""
        return await self._once("Untag", states.untag, request, keeping_pb2.UntagResponse)

    async def UpsertDocumentHead(
        self, request: keeping_pb2.UpsertDocumentHeadRequest, _: Context
    ) -> documents_pb2.DocumentHead:
        """Say what the present state of a document is."""
        return await self._once("UpsertDocumentHead", documents.upsert_head, request, documents_pb2.DocumentHead)

    async def LogRetrieval(self, request: keeping_pb2.LogRetrievalRequest, _: Context) -> documents_pb2.RetrievalLog:
        """Note that something was found."""
        return await self._once("LogRetrieval", documents.log_retrieval, request, documents_pb2.RetrievalLog)

    async def SetSyncWatermark(
        self, request: following_pb2.SetSyncWatermarkRequest, _: Context
    ) -> progress_pb2.SyncWatermark:
        """Say up to where an adapter has brought events."""
        return await self._once("SetSyncWatermark", progress.set_watermark, request, progress_pb2.SyncWatermark)

    async def ReportSync(self, request: following_pb2.ReportSyncRequest, _: Context) -> progress_pb2.SyncJob:
        """Take an adapter's report."""
        return await self._once("ReportSync", progress.report_sync, request, progress_pb2.SyncJob)

    async def GetSyncStatus(self, request: following_pb2.GetSyncStatusRequest, _: Context) -> following_pb2.SyncStatus:
        """Tell all that is known of an adapter."""
        return await self._read(progress.sync_status, request)

    async def CommitCursor(self, request: following_pb2.CommitCursorRequest, _: Context) -> progress_pb2.Consumer:
        """Say how far a consumer has come."""
        return await self._once("CommitCursor", progress.commit_cursor, request, progress_pb2.Consumer)

    async def _read(self, work: Callable[[Session, R], A], request: R) -> A:
        return await self._database.read(current_zone(), lambda session: work(session, request))

    async def _once(self, name: str, work: Callable[[Session, R], A], request: R, answer: type[A]) -> A:
        return await once(
            self._database,
            current_zone(),
            method=f"/{_SERVICE.full_name}/{name}",
            request_id=request.request_id,  # type: ignore[attr-defined]
            request=request,
            answer=answer,
            work=lambda session: work(session, request),
        )
