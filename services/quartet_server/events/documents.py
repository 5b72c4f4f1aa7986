"""Documents: which event has their present state, and when they were looked up."""

from __future__ import annotations

from quartet.events.v1 import documents_pb2, keeping_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.events.schema import DOCUMENTS, EVENTS, RETRIEVALS
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session

_SAID = ("channel", "current_event_id", "content_hash", "title", "description", "metadata")


def upsert_head(session: Session, request: keeping_pb2.UpsertDocumentHeadRequest) -> documents_pb2.DocumentHead:
    """Say what the present state of a document is. Raises FieldInvalid, ReferenceMissing, EtagStale."""
    if not request.HasField("document_head"):
        raise FieldInvalid.of("document_head", "is empty")
    head = request.document_head
    for name in ("channel", "current_event_id", "content_hash"):
        if not getattr(head, name):
            raise FieldInvalid.of(f"document_head.{name}", "is empty")
    rows.check_id(head.doc_key, "document_head.doc_key")
    rows.check_id(head.current_event_id, "document_head.current_event_id")
    fresh = documents_pb2.DocumentHead()
    fresh.CopyFrom(head)
    if rows.find(session, DOCUMENTS, head.doc_key) is not None:
        return rows.update(session, DOCUMENTS, fresh, _SAID, etag=head.etag)
    if head.etag:
        raise rows.absent(DOCUMENTS, (head.doc_key,))
    fresh.ClearField("retrieval_count")
    fresh.ClearField("last_retrieved_at")
    return rows.insert(session, DOCUMENTS, fresh)


def log_retrieval(session: Session, request: keeping_pb2.LogRetrievalRequest) -> documents_pb2.RetrievalLog:
    """Note that a document or an event was found and used. Raises FieldInvalid, RecordNotFound."""
    if not (request.doc_key or request.event_id):
        raise FieldInvalid.of("doc_key", "is empty, and so is event_id: nothing says what was found")
    entry = documents_pb2.RetrievalLog(
        retrieved_at=request.retrieved_at if request.HasField("retrieved_at") else stamp(session.now),
        query_text=request.query_text or None,
        event_id=request.event_id or None,
    )
    if request.HasField("score"):
        entry.score = request.score
    if request.event_id:
        rows.fetch(session, EVENTS, request.event_id)
    if request.doc_key:
        head = rows.fetch(session, DOCUMENTS, request.doc_key)
        entry.doc_key = head.doc_key
        if not request.event_id:
            entry.event_id = head.current_event_id
        head.retrieval_count += 1
        if not head.HasField("last_retrieved_at") or _later(entry, head):
            head.last_retrieved_at.CopyFrom(entry.retrieved_at)
        rows.update(session, DOCUMENTS, head, ("retrieval_count", "last_retrieved_at"))
    return rows.insert(session, RETRIEVALS, entry)


def _later(entry: documents_pb2.RetrievalLog, head: documents_pb2.DocumentHead) -> bool:
    one, other = entry.retrieved_at, head.last_retrieved_at
    return (one.seconds, one.nanos) > (other.seconds, other.nanos)
