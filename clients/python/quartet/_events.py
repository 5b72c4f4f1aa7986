"""The event ledger, for synchronous callers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from quartet._errors import Unavailable
from quartet._retry import Backoff
from quartet._sending import Unanswered
from quartet._transport import Endpoint, Transport, Unary
from quartet.events.v1 import (
    appending_pb2,
    derived_pb2,
    documents_pb2,
    event_pb2,
    following_pb2,
    keeping_pb2,
    progress_pb2,
    reading_pb2,
    state_pb2,
)

R = TypeVar("R")
A = TypeVar("A")
Event = event_pb2.Event
Scope = reading_pb2.EventScope | None
PAGE = 1000
AHEAD_EVENTS, AHEAD_BATCHES = 2000, 8
"""Single events, and batches, that are sent ahead of the answers."""
RESUMPTIONS = 8
"""How often a stream is begun again that brings nothing."""


def new_request_id() -> str:
    """Draw an id for one logical request."""
    return uuid.uuid4().hex


def batches(events: Iterable[Event], size: int) -> Iterator[appending_pb2.AppendBatchesRequest]:
    """Yield events in batches of `size`."""
    source = iter(events)
    while group := list(islice(source, size)):
        yield appending_pb2.AppendBatchesRequest(events=group)


class Events:
    """What came in, went out or was seen, once and unchanged. All methods raise `quartet.CallError`.

    Events are known by `source` and `source_id`: appending one again changes nothing and is answered as a duplicate.
    """

    def __init__(self, transport: Transport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    def append(self, event: Event) -> appending_pb2.AppendResult:
        """Append an event."""
        return self._call(lambda at: at.events.Append, appending_pb2.AppendRequest(event=event))

    def append_batch(self, events: Sequence[Event]) -> appending_pb2.BatchAppendResponse:
        """Append at most 1,000 events, all or none."""
        return self._call(lambda at: at.events.BatchAppend, appending_pb2.BatchAppendRequest(events=events))

    def append_each(self, events: Iterable[Event]) -> Iterator[appending_pb2.AppendResult]:
        """Append events as they come; yield what became of each, in order. A lost node is replaced by another."""
        messages = (appending_pb2.AppendEachRequest(event=event) for event in events)
        yield from self._send(lambda at: at.events.AppendEach, messages, AHEAD_EVENTS, lambda one: len(one.results))

    def append_all(self, events: Iterable[Event], *, batch: int = 500) -> Iterator[appending_pb2.AppendResult]:
        """Append events in batches, which is the fastest way; yield what became of each, in order, as `append_each`."""
        yield from self._send(lambda at: at.events.AppendBatches, batches(events, batch), AHEAD_BATCHES, lambda _: 1)

    def record_outbound(self, request: appending_pb2.RecordOutboundRequest) -> appending_pb2.AppendResult:
        """Append what was sent, once, however many places record it."""
        return self._call(lambda at: at.events.RecordOutbound, request)

    def get(self, event_id: str) -> Event:
        """Return an event."""
        return self._call(lambda at: at.events.GetEvent, reading_pb2.GetEventRequest(id=event_id))

    def batch_get(self, event_ids: Sequence[str]) -> Sequence[Event]:
        """Return events in the order of their ids, at most 1,000."""
        return self._call(lambda at: at.events.BatchGetEvents, reading_pb2.BatchGetEventsRequest(ids=event_ids)).events

    def list(
        self,
        scope: Scope = None,
        *,
        filter: str = "",  # noqa: A002
        order_by: str = "",
        page_size: int = PAGE,
    ) -> Iterator[Event]:
        """Yield events, the newest first unless `order_by` says otherwise."""
        request = reading_pb2.ListEventsRequest(scope=scope, filter=filter, order_by=order_by, page_size=page_size)
        yield from self._pages(lambda at: at.events.ListEvents, request, lambda page: page.events)

    def page(
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
        return self._call(lambda at: at.events.ListEvents, request)

    def search(self, query: str, scope: Scope = None, *, page_size: int = 20) -> Iterator[reading_pb2.SearchHit]:
        """Yield events that match a query, the best first."""
        request = reading_pb2.SearchRequest(query=query, scope=scope, page_size=page_size)
        yield from self._pages(lambda at: at.events.Search, request, lambda page: page.hits)

    def search_page(
        self, query: str, scope: Scope = None, *, page_size: int = 0, page_token: str = ""
    ) -> reading_pb2.SearchResponse:
        """Return a page of hits."""
        request = reading_pb2.SearchRequest(query=query, scope=scope, page_size=page_size, page_token=page_token)
        return self._call(lambda at: at.events.Search, request)

    def tail(
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
    ) -> Iterator[reading_pb2.TailResponse]:
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
                for answer in self._transport.stream(lambda at: at.events.Tail, request):
                    tries, backoff = 0, Backoff()
                    request.after_position = answer.position
                    yield answer
                return
            except Unavailable as error:
                tries += 1
                if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS:
                    raise
                self._transport.rest(backoff.after(error))

    def erase(
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
        return self._call(lambda at: at.events.Erase, request)

    def rebuild(self, *, dry_run: bool = False) -> Iterator[keeping_pb2.RebuildResponse]:
        """Derive threads, participants and attachments again; yield how far it has come, at last with `done`."""
        request = keeping_pb2.RebuildRequest(dry_run=dry_run)
        yield from self._transport.stream(lambda at: at.events.Rebuild, request)

    def thread(self, thread_id: str) -> derived_pb2.Thread:
        """Return a thread."""
        return self._call(lambda at: at.events.GetThread, keeping_pb2.GetThreadRequest(id=thread_id))

    def threads(
        self,
        *,
        channel: str = "",
        source_adapter: str = "",
        filter: str = "",  # noqa: A002
        order_by: str = "",
        page_size: int = PAGE,
    ) -> Iterator[derived_pb2.Thread]:
        """Yield threads."""
        request = keeping_pb2.ListThreadsRequest(
            channel=channel, source_adapter=source_adapter, filter=filter, order_by=order_by, page_size=page_size
        )
        yield from self._pages(lambda at: at.events.ListThreads, request, lambda page: page.threads)

    def participants(
        self, *, event_id: str = "", channel: str = "", identifier: str = "", page_size: int = PAGE
    ) -> Iterator[derived_pb2.EventParticipant]:
        """Yield who has to do with an event, or with which events somebody has to do."""
        request = keeping_pb2.ListEventParticipantsRequest(
            event_id=event_id, channel=channel, identifier=identifier, page_size=page_size
        )
        yield from self._pages(
            lambda at: at.events.ListEventParticipants, request, lambda page: page.event_participants
        )

    def attachment(self, attachment_id: str) -> derived_pb2.Attachment:
        """Return the record of an attachment."""
        return self._call(lambda at: at.events.GetAttachment, keeping_pb2.GetAttachmentRequest(id=attachment_id))

    def attachments(
        self, *, event_id: str = "", mime_type: str = "", content_hash: str = "", page_size: int = PAGE
    ) -> Iterator[derived_pb2.Attachment]:
        """Yield records of attachments."""
        request = keeping_pb2.ListAttachmentsRequest(
            event_id=event_id, mime_type=mime_type, content_hash=content_hash, page_size=page_size
        )
        yield from self._pages(lambda at: at.events.ListAttachments, request, lambda page: page.attachments)

    def set_state(
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
        return self._call(lambda at: at.events.SetState, request)

    def state(self, event_id: str) -> state_pb2.EventState:
        """Return the state of an event; raises NotFound where nobody ever set one."""
        return self._call(lambda at: at.events.GetEventState, keeping_pb2.GetEventStateRequest(event_id=event_id))

    def state_log(self, event_id: str = "", *, page_size: int = PAGE) -> Iterator[state_pb2.EventStateLog]:
        """Yield changes of the states of an event, or of all."""
        request = keeping_pb2.ListEventStateLogsRequest(event_id=event_id, page_size=page_size)
        yield from self._pages(lambda at: at.events.ListEventStateLogs, request, lambda page: page.event_state_logs)

    def tag(
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
        return self._call(lambda at: at.events.Tag, request)

    def untag(
        self, event_ids: Sequence[str], names: Sequence[str] = (), *, source: str = "", request_id: str = ""
    ) -> int:
        """Take tags from events, all without `names`; return how many were taken."""
        request = keeping_pb2.UntagRequest(
            event_ids=event_ids, names=names, source=source, request_id=request_id or self._new_id()
        )
        return self._call(lambda at: at.events.Untag, request).removed

    def tags(self, *, filter: str = "", page_size: int = PAGE) -> Iterator[state_pb2.Tag]:  # noqa: A002
        """Yield tags."""
        request = keeping_pb2.ListTagsRequest(filter=filter, page_size=page_size)
        yield from self._pages(lambda at: at.events.ListTags, request, lambda page: page.tags)

    def event_tags(
        self, *, event_id: str = "", tag_id: str = "", page_size: int = PAGE
    ) -> Iterator[state_pb2.EventTag]:
        """Yield which tags hang on an event, or on which events a tag hangs."""
        request = keeping_pb2.ListEventTagsRequest(event_id=event_id, tag_id=tag_id, page_size=page_size)
        yield from self._pages(lambda at: at.events.ListEventTags, request, lambda page: page.event_tags)

    def upsert_document(
        self, document_head: documents_pb2.DocumentHead, *, request_id: str = ""
    ) -> documents_pb2.DocumentHead:
        """Say which event has the present state of a document."""
        request = keeping_pb2.UpsertDocumentHeadRequest(
            document_head=document_head, request_id=request_id or self._new_id()
        )
        return self._call(lambda at: at.events.UpsertDocumentHead, request)

    def document(self, doc_key: str) -> documents_pb2.DocumentHead:
        """Return the head of a document."""
        return self._call(lambda at: at.events.GetDocumentHead, keeping_pb2.GetDocumentHeadRequest(doc_key=doc_key))

    def documents(self, *, channel: str = "", page_size: int = PAGE) -> Iterator[documents_pb2.DocumentHead]:
        """Yield heads of documents."""
        request = keeping_pb2.ListDocumentHeadsRequest(channel=channel, page_size=page_size)
        yield from self._pages(lambda at: at.events.ListDocumentHeads, request, lambda page: page.document_heads)

    def log_retrieval(
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
        return self._call(lambda at: at.events.LogRetrieval, request)

    def retrievals(
        self, *, doc_key: str = "", event_id: str = "", page_size: int = PAGE
    ) -> Iterator[documents_pb2.RetrievalLog]:
        """Yield such notes."""
        request = keeping_pb2.ListRetrievalLogsRequest(doc_key=doc_key, event_id=event_id, page_size=page_size)
        yield from self._pages(lambda at: at.events.ListRetrievalLogs, request, lambda page: page.retrieval_logs)

    def watermark(self, adapter: str) -> progress_pb2.SyncWatermark:
        """Return up to where an adapter has brought events."""
        request = following_pb2.GetSyncWatermarkRequest(adapter=adapter)
        return self._call(lambda at: at.events.GetSyncWatermark, request)

    def set_watermark(
        self, watermark: progress_pb2.SyncWatermark, *, monotonic: bool = False, request_id: str = ""
    ) -> progress_pb2.SyncWatermark:
        """Say up to where that is; `monotonic` never goes back, and returns what holds then."""
        request = following_pb2.SetSyncWatermarkRequest(
            sync_watermark=watermark, monotonic=monotonic, request_id=request_id or self._new_id()
        )
        return self._call(lambda at: at.events.SetSyncWatermark, request)

    def watermarks(self, *, page_size: int = PAGE) -> Iterator[progress_pb2.SyncWatermark]:
        """Yield the watermarks of all adapters."""
        request = following_pb2.ListSyncWatermarksRequest(page_size=page_size)
        yield from self._pages(lambda at: at.events.ListSyncWatermarks, request, lambda page: page.sync_watermarks)

    def report_sync(self, job: progress_pb2.SyncJob, *, request_id: str = "") -> progress_pb2.SyncJob:
        """Report how the run of an adapter stands."""
        request = following_pb2.ReportSyncRequest(sync_job=job, request_id=request_id or self._new_id())
        return self._call(lambda at: at.events.ReportSync, request)

    def sync_status(self, adapter: str) -> following_pb2.SyncStatus:
        """Return all that is known of an adapter."""
        request = following_pb2.GetSyncStatusRequest(adapter=adapter)
        return self._call(lambda at: at.events.GetSyncStatus, request)

    def consumer(self, name: str) -> progress_pb2.Consumer:
        """Return a named reader of the tail."""
        return self._call(lambda at: at.events.GetConsumer, following_pb2.GetConsumerRequest(name=name))

    def consumers(self, *, page_size: int = PAGE) -> Iterator[progress_pb2.Consumer]:
        """Yield all named readers of the tail."""
        request = following_pb2.ListConsumersRequest(page_size=page_size)
        yield from self._pages(lambda at: at.events.ListConsumers, request, lambda page: page.consumers)

    def commit(
        self, consumer: str, position: int, *, rewind: bool = False, request_id: str = ""
    ) -> progress_pb2.Consumer:
        """Say that a consumer is done with everything up to a position."""
        request = following_pb2.CommitCursorRequest(
            consumer=consumer, position=position, rewind=rewind, request_id=request_id or self._new_id()
        )
        return self._call(lambda at: at.events.CommitCursor, request)

    def delete_consumer(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Forget a consumer."""
        request = following_pb2.DeleteConsumerRequest(name=name, etag=etag, request_id=request_id or self._new_id())
        self._call(lambda at: at.events.DeleteConsumer, request)

    def _call(self, method: Callable[[Endpoint], Unary[R, A]], request: R) -> A:
        return self._transport.call(method, request, safe=True)

    def _pages(
        self, method: Callable[[Endpoint], Unary[Any, Any]], request: Any, rows: Callable[[Any], Iterable[Any]]
    ) -> Iterator[Any]:
        while True:
            page = self._call(method, request)
            yield from rows(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _send(
        self,
        method: Callable[[Endpoint], Callable[..., Iterator[Any]]],
        messages: Iterable[Any],
        ahead: int,
        answers: Callable[[Any], int],
    ) -> Iterator[appending_pb2.AppendResult]:
        """Send messages over a stream, again if need be, and yield the results in the answers."""
        unanswered: Unanswered[Any] = Unanswered(messages, ahead)
        backoff, tries = Backoff(), 0
        try:
            while not unanswered.done:
                try:
                    for answer in self._transport.stream(method, unanswered.begin()):
                        tries, backoff = 0, Backoff()
                        unanswered.answered(answers(answer))
                        yield from answer.results
                except Unavailable as error:
                    tries += 1
                    if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS:
                        raise
                    self._transport.rest(backoff.after(error))
                if unanswered.error is not None:
                    raise unanswered.error
        finally:
            unanswered.close()
