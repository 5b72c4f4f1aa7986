"""The event ledger, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from quartet._aio_sending import AsyncUnanswered, each
from quartet._aio_transport import AsyncTransport, Endpoint, Unary
from quartet._errors import Unavailable
from quartet._events import AHEAD_BATCHES, AHEAD_EVENTS, PAGE, RESUMPTIONS, Event, Scope, new_request_id
from quartet._retry import Backoff
from quartet.events.v1 import (
    appending_pb2,
    derived_pb2,
    documents_pb2,
    following_pb2,
    keeping_pb2,
    progress_pb2,
    reading_pb2,
    state_pb2,
)

R = TypeVar("R")
A = TypeVar("A")


async def batches(
    events: Iterable[Event] | AsyncIterable[Event], size: int
) -> AsyncIterator[appending_pb2.AppendBatchesRequest]:
    """Yield events in batches of `size`."""
    group: list[Event] = []
    async for one in each(events):
        group.append(one)
        if len(group) == size:
            yield appending_pb2.AppendBatchesRequest(events=group)
            group = []
    if group:
        yield appending_pb2.AppendBatchesRequest(events=group)


class AsyncEvents:
    """What came in, went out or was seen, once and unchanged. All methods raise `quartet.CallError`.

    Events are known by `source` and `source_id`: appending one again changes nothing and is answered as a duplicate.
    """

    def __init__(self, transport: AsyncTransport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    async def append(self, event: Event) -> appending_pb2.AppendResult:
        """Append an event."""
        return await self._call(lambda at: at.events.Append, appending_pb2.AppendRequest(event=event))

    async def append_batch(self, events: Sequence[Event]) -> appending_pb2.BatchAppendResponse:
        """Append at most 1,000 events, all or none."""
        return await self._call(lambda at: at.events.BatchAppend, appending_pb2.BatchAppendRequest(events=events))

    async def append_each(
        self, events: Iterable[Event] | AsyncIterable[Event]
    ) -> AsyncIterator[appending_pb2.AppendResult]:
        """Append events as they come; yield what became of each, in order. A lost node is replaced by another."""
        messages = (appending_pb2.AppendEachRequest(event=event) async for event in each(events))
        async for one in self._send(
            lambda at: at.events.AppendEach, messages, AHEAD_EVENTS, lambda one: len(one.results)
        ):
            yield one

    async def append_all(
        self, events: Iterable[Event] | AsyncIterable[Event], *, batch: int = 500
    ) -> AsyncIterator[appending_pb2.AppendResult]:
        """Append events in batches, which is the fastest way; yield what became of each, in order, as `append_each`."""
        async for one in self._send(
            lambda at: at.events.AppendBatches, batches(events, batch), AHEAD_BATCHES, lambda _: 1
        ):
            yield one

    async def record_outbound(self, request: appending_pb2.RecordOutboundRequest) -> appending_pb2.AppendResult:
        """Append what was sent, once, however many places record it."""
        return await self._call(lambda at: at.events.RecordOutbound, request)

    async def get(self, event_id: str) -> Event:
        """Return an event."""
        return await self._call(lambda at: at.events.GetEvent, reading_pb2.GetEventRequest(id=event_id))

    async def batch_get(self, event_ids: Sequence[str]) -> Sequence[Event]:
        """Return events in the order of their ids, at most 1,000."""
        return (
            await self._call(lambda at: at.events.BatchGetEvents, reading_pb2.BatchGetEventsRequest(ids=event_ids))
        ).events

    async def list(
        self,
        scope: Scope = None,
        *,
        filter: str = "",  # noqa: A002
        order_by: str = "",
        page_size: int = PAGE,
    ) -> AsyncIterator[Event]:
        """Yield events, the newest first unless `order_by` says otherwise."""
        request = reading_pb2.ListEventsRequest(scope=scope, filter=filter, order_by=order_by, page_size=page_size)
        async for one in self._pages(lambda at: at.events.ListEvents, request, lambda page: page.events):
            yield one

    async def page(
        self,
        scope: Scope = None,
        *,
        filter: str = "",  # noqa: A002
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> reading_pb2.ListEventsResponse:
        """Return a page of events."""
        request = reading_pb2.ListEventsRequest(
            scope=scope, filter=filter, order_by=order_by, page_size=page_size, page_token=page_token
        )
        return await self._call(lambda at: at.events.ListEvents, request)

    async def search(
        self, query: str, scope: Scope = None, *, page_size: int = 20
    ) -> AsyncIterator[reading_pb2.SearchHit]:
        """Yield events that match a query, the best first."""
        request = reading_pb2.SearchRequest(query=query, scope=scope, page_size=page_size)
        async for one in self._pages(lambda at: at.events.Search, request, lambda page: page.hits):
            yield one

    async def search_page(
        self, query: str, scope: Scope = None, *, page_size: int = 0, page_token: str = ""
    ) -> reading_pb2.SearchResponse:
        """Return a page of hits."""
        request = reading_pb2.SearchRequest(query=query, scope=scope, page_size=page_size, page_token=page_token)
        return await self._call(lambda at: at.events.Search, request)

    async def tail(
        self,
        after_position: int | None = None,
        *,
        consumer: str = "",
        source: str = "",
        channel: str = "",
        thread_id: str = "",
        type: str = "",  # noqa: A002
        batch_size: int = 0,
        once: bool = False,
    ) -> AsyncIterator[reading_pb2.TailResponse]:
        """Yield what is behind a position and what comes, none missing and none twice: a lost node is replaced by another.

        Without a position it begins where `consumer` has committed; without that, with what is new.
        """
        request = reading_pb2.TailRequest(
            after_position=after_position,
            consumer=consumer,
            source=source,
            channel=channel,
            thread_id=thread_id,
            type=type,
            batch_size=batch_size,
            once=once,
        )
        backoff, tries = Backoff(), 0
        while True:
            try:
                async for answer in self._transport.stream(lambda at: at.events.Tail, request):
                    tries, backoff = 0, Backoff()
                    request.after_position = answer.position
                    yield answer
                return
            except Unavailable as error:
                tries += 1
                if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS:
                    raise
                await self._transport.rest(backoff.after(error))

    async def erase(
        self,
        event_ids: Sequence[str] = (),
        *,
        thread_id: str = "",
        participant: appending_pb2.Participant | None = None,
        limit: int = 0,
        request_id: str = "",
    ) -> appending_pb2.EraseResponse:
        """Erase events, at most 1,000: those of the ids, of a thread, or that somebody has to do with."""
        request = appending_pb2.EraseRequest(
            ids=event_ids,
            thread_id=thread_id,
            participant=participant,
            limit=limit,
            request_id=request_id or self._new_id(),
        )
        return await self._call(lambda at: at.events.Erase, request)

    async def rebuild(self, *, dry_run: bool = False) -> AsyncIterator[keeping_pb2.RebuildResponse]:
        """Derive threads, participants and attachments again; yield how far it has come, at last with `done`."""
        request = keeping_pb2.RebuildRequest(dry_run=dry_run)
        async for answer in self._transport.stream(lambda at: at.events.Rebuild, request):
            yield answer

    async def thread(self, thread_id: str) -> derived_pb2.Thread:
        """Return a thread."""
        return await self._call(lambda at: at.events.GetThread, keeping_pb2.GetThreadRequest(id=thread_id))

    async def threads(
        self,
        *,
        channel: str = "",
        source_adapter: str = "",
        filter: str = "",  # noqa: A002
        order_by: str = "",
        page_size: int = PAGE,
    ) -> AsyncIterator[derived_pb2.Thread]:
        """Yield threads."""
        request = keeping_pb2.ListThreadsRequest(
            channel=channel, source_adapter=source_adapter, filter=filter, order_by=order_by, page_size=page_size
        )
        async for one in self._pages(lambda at: at.events.ListThreads, request, lambda page: page.threads):
            yield one

    async def participants(
        self, *, event_id: str = "", channel: str = "", identifier: str = "", page_size: int = PAGE
    ) -> AsyncIterator[derived_pb2.EventParticipant]:
        """Yield who has to do with an event, or with which events somebody has to do."""
        request = keeping_pb2.ListEventParticipantsRequest(
            event_id=event_id, channel=channel, identifier=identifier, page_size=page_size
        )
        async for one in self._pages(
            lambda at: at.events.ListEventParticipants, request, lambda page: page.event_participants
        ):
            yield one

    async def attachment(self, attachment_id: str) -> derived_pb2.Attachment:
        """Return the record of an attachment."""
        return await self._call(lambda at: at.events.GetAttachment, keeping_pb2.GetAttachmentRequest(id=attachment_id))

    async def attachments(
        self, *, event_id: str = "", mime_type: str = "", content_hash: str = "", page_size: int = PAGE
    ) -> AsyncIterator[derived_pb2.Attachment]:
        """Yield records of attachments."""
        request = keeping_pb2.ListAttachmentsRequest(
            event_id=event_id, mime_type=mime_type, content_hash=content_hash, page_size=page_size
        )
        async for one in self._pages(lambda at: at.events.ListAttachments, request, lambda page: page.attachments):
            yield one

    async def set_state(
        self,
        event_id: str,
        state_key: state_pb2.StateKey.ValueType,
        value: int = 1,
        *,
        changed_by: str = "",
        source: str = "",
        metadata: Mapping[str, Any] | None = None,
        request_id: str = "",
    ) -> state_pb2.EventState:
        """Set (1) or clear (0) a state of an event."""
        request = keeping_pb2.SetStateRequest(
            event_id=event_id,
            state_key=state_key,
            value=value,
            changed_by=changed_by,
            source=source,
            request_id=request_id or self._new_id(),
        )
        if metadata is not None:
            request.metadata.update(metadata)
        return await self._call(lambda at: at.events.SetState, request)

    async def state(self, event_id: str) -> state_pb2.EventState:
        """Return the state of an event; raises NotFound where nobody ever set one."""
        return await self._call(lambda at: at.events.GetEventState, keeping_pb2.GetEventStateRequest(event_id=event_id))

    async def state_log(self, event_id: str = "", *, page_size: int = PAGE) -> AsyncIterator[state_pb2.EventStateLog]:
        """Yield changes of the states of an event, or of all."""
        request = keeping_pb2.ListEventStateLogsRequest(event_id=event_id, page_size=page_size)
        async for one in self._pages(
            lambda at: at.events.ListEventStateLogs, request, lambda page: page.event_state_logs
        ):
            yield one

    async def tag(
        self,
        event_ids: Sequence[str],
        names: Sequence[str],
        *,
        tagged_by: str = "",
        source: str = "",
        request_id: str = "",
    ) -> keeping_pb2.TagResponse:
        """Hang tags on events."""
        request = keeping_pb2.TagRequest(
            event_ids=event_ids,
            names=names,
            tagged_by=tagged_by,
            source=source,
            request_id=request_id or self._new_id(),
        )
        return await self._call(lambda at: at.events.Tag, request)

    async def untag(
        self, event_ids: Sequence[str], names: Sequence[str] = (), *, source: str = "", request_id: str = ""
    ) -> int:
        """Take tags from events, all without `names`; return how many were taken."""
        request = keeping_pb2.UntagRequest(
            event_ids=event_ids, names=names, source=source, request_id=request_id or self._new_id()
        )
        return (await self._call(lambda at: at.events.Untag, request)).removed

    async def tags(self, *, filter: str = "", page_size: int = PAGE) -> AsyncIterator[state_pb2.Tag]:  # noqa: A002
        """Yield tags."""
        request = keeping_pb2.ListTagsRequest(filter=filter, page_size=page_size)
        async for one in self._pages(lambda at: at.events.ListTags, request, lambda page: page.tags):
            yield one

    async def event_tags(
        self, *, event_id: str = "", tag_id: str = "", page_size: int = PAGE
    ) -> AsyncIterator[state_pb2.EventTag]:
        """Yield which tags hang on an event, or on which events a tag hangs."""
        request = keeping_pb2.ListEventTagsRequest(event_id=event_id, tag_id=tag_id, page_size=page_size)
        async for one in self._pages(lambda at: at.events.ListEventTags, request, lambda page: page.event_tags):
            yield one

    async def upsert_document(
        self, document_head: documents_pb2.DocumentHead, *, request_id: str = ""
    ) -> documents_pb2.DocumentHead:
        """Say which event has the present state of a document."""
        request = keeping_pb2.UpsertDocumentHeadRequest(
            document_head=document_head, request_id=request_id or self._new_id()
        )
        return await self._call(lambda at: at.events.UpsertDocumentHead, request)

    async def document(self, doc_key: str) -> documents_pb2.DocumentHead:
        """Return the head of a document."""
        return await self._call(
            lambda at: at.events.GetDocumentHead, keeping_pb2.GetDocumentHeadRequest(doc_key=doc_key)
        )

    async def documents(self, *, channel: str = "", page_size: int = PAGE) -> AsyncIterator[documents_pb2.DocumentHead]:
        """Yield heads of documents."""
        request = keeping_pb2.ListDocumentHeadsRequest(channel=channel, page_size=page_size)
        async for one in self._pages(lambda at: at.events.ListDocumentHeads, request, lambda page: page.document_heads):
            yield one

    async def log_retrieval(
        self,
        *,
        doc_key: str = "",
        event_id: str = "",
        query_text: str = "",
        score: float | None = None,
        retrieved_at: Timestamp | None = None,
        request_id: str = "",
    ) -> documents_pb2.RetrievalLog:
        """Note that a document or an event was found and used; now, unless it says when."""
        request = keeping_pb2.LogRetrievalRequest(
            doc_key=doc_key,
            event_id=event_id,
            query_text=query_text,
            score=score,
            retrieved_at=retrieved_at,
            request_id=request_id or self._new_id(),
        )
        return await self._call(lambda at: at.events.LogRetrieval, request)

    async def retrievals(
        self, *, doc_key: str = "", event_id: str = "", page_size: int = PAGE
    ) -> AsyncIterator[documents_pb2.RetrievalLog]:
        """Yield such notes."""
        request = keeping_pb2.ListRetrievalLogsRequest(doc_key=doc_key, event_id=event_id, page_size=page_size)
        async for one in self._pages(lambda at: at.events.ListRetrievalLogs, request, lambda page: page.retrieval_logs):
            yield one

    async def watermark(self, adapter: str) -> progress_pb2.SyncWatermark:
        """Return up to where an adapter has brought events."""
        request = following_pb2.GetSyncWatermarkRequest(adapter=adapter)
        return await self._call(lambda at: at.events.GetSyncWatermark, request)

    async def set_watermark(
        self, watermark: progress_pb2.SyncWatermark, *, monotonic: bool = False, request_id: str = ""
    ) -> progress_pb2.SyncWatermark:
        """Say up to where that is; `monotonic` never goes back, and returns what holds then."""
        request = following_pb2.SetSyncWatermarkRequest(
            sync_watermark=watermark, monotonic=monotonic, request_id=request_id or self._new_id()
        )
        return await self._call(lambda at: at.events.SetSyncWatermark, request)

    async def watermarks(self, *, page_size: int = PAGE) -> AsyncIterator[progress_pb2.SyncWatermark]:
        """Yield the watermarks of all adapters."""
        request = following_pb2.ListSyncWatermarksRequest(page_size=page_size)
        async for one in self._pages(
            lambda at: at.events.ListSyncWatermarks, request, lambda page: page.sync_watermarks
        ):
            yield one

    async def report_sync(self, job: progress_pb2.SyncJob, *, request_id: str = "") -> progress_pb2.SyncJob:
        """Report how the run of an adapter stands."""
        request = following_pb2.ReportSyncRequest(sync_job=job, request_id=request_id or self._new_id())
        return await self._call(lambda at: at.events.ReportSync, request)

    async def sync_status(self, adapter: str) -> following_pb2.SyncStatus:
        """Return all that is known of an adapter."""
        request = following_pb2.GetSyncStatusRequest(adapter=adapter)
        return await self._call(lambda at: at.events.GetSyncStatus, request)

    async def consumer(self, name: str) -> progress_pb2.Consumer:
        """Return a named reader of the tail."""
        return await self._call(lambda at: at.events.GetConsumer, following_pb2.GetConsumerRequest(name=name))

    async def consumers(self, *, page_size: int = PAGE) -> AsyncIterator[progress_pb2.Consumer]:
        """Yield all named readers of the tail."""
        request = following_pb2.ListConsumersRequest(page_size=page_size)
        async for one in self._pages(lambda at: at.events.ListConsumers, request, lambda page: page.consumers):
            yield one

    async def commit(
        self, consumer: str, position: int, *, rewind: bool = False, request_id: str = ""
    ) -> progress_pb2.Consumer:
        """Say that a consumer is done with everything up to a position."""
        request = following_pb2.CommitCursorRequest(
            consumer=consumer, position=position, rewind=rewind, request_id=request_id or self._new_id()
        )
        return await self._call(lambda at: at.events.CommitCursor, request)

    async def delete_consumer(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Forget a consumer."""
        request = following_pb2.DeleteConsumerRequest(name=name, etag=etag, request_id=request_id or self._new_id())
        await self._call(lambda at: at.events.DeleteConsumer, request)

    async def _call(self, method: Callable[[Endpoint], Unary[R, A]], request: R) -> A:
        return await self._transport.call(method, request, safe=True)

    async def _pages(
        self, method: Callable[[Endpoint], Unary[Any, Any]], request: Any, rows: Callable[[Any], Iterable[Any]]
    ) -> AsyncIterator[Any]:
        while True:
            page = await self._call(method, request)
            for row in rows(page):
                yield row
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _send(
        self,
        method: Callable[[Endpoint], Any],
        messages: AsyncIterable[Any],
        ahead: int,
        answers: Callable[[Any], int],
    ) -> AsyncIterator[appending_pb2.AppendResult]:
        """Send messages over a stream, again if need be, and yield the results in the answers."""
        unanswered: AsyncUnanswered[Any] = AsyncUnanswered(messages, ahead)
        backoff, tries = Backoff(), 0
        try:
            while not unanswered.done:
                try:
                    async for answer in self._transport.stream(method, await unanswered.begin()):
                        tries, backoff = 0, Backoff()
                        await unanswered.answered(answers(answer))
                        for one in answer.results:
                            yield one
                except Unavailable as error:
                    tries += 1
                    if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS:
                        raise
                    await self._transport.rest(backoff.after(error))
                if unanswered.error is not None:
                    raise unanswered.error
        finally:
            await unanswered.close()
