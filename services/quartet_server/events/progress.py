"""How far adapters and consumers have come: watermarks, runs, cursors."""

from __future__ import annotations

from quartet.events.v1 import following_pb2, progress_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.events.encoding import moment
from quartet_server.events.schema import CONSUMERS, JOBS, WATERMARKS
from quartet_server.events.tailing import check_reached, end
from quartet_server.records import rows
from quartet_server.records.contract import Session

_JOB = ("status", "phase", "cursor", "started_at", "last_error", "progress")


def set_watermark(session: Session, request: following_pb2.SetSyncWatermarkRequest) -> progress_pb2.SyncWatermark:
    """Say up to where an adapter has brought events. Raises FieldInvalid, EtagStale."""
    given = request.sync_watermark
    rows.check_id(given.adapter, "sync_watermark.adapter")
    if not given.HasField("last_sync_at"):
        raise FieldInvalid.of("sync_watermark.last_sync_at", "is empty")
    at = moment(given.last_sync_at, "sync_watermark.last_sync_at")
    if given.HasField("last_event_id"):
        rows.check_id(given.last_event_id, "sync_watermark.last_event_id")
    known = rows.find(session, WATERMARKS, given.adapter)
    if known is None:
        if given.etag:
            raise rows.absent(WATERMARKS, (given.adapter,))
        return rows.insert(session, WATERMARKS, given)
    if request.monotonic and at < moment(known.last_sync_at, "last_sync_at"):
        rows.check_etag(WATERMARKS, given.etag, int(known.etag))
        return known
    return rows.update(session, WATERMARKS, given, ("last_sync_at", "last_event_id"), etag=given.etag)


def report_sync(session: Session, request: following_pb2.ReportSyncRequest) -> progress_pb2.SyncJob:
    """Take what an adapter says of its run. Raises FieldInvalid, EtagStale."""
    job = request.sync_job
    rows.check_id(job.adapter, "sync_job.adapter")
    if not job.status:
        raise FieldInvalid.of("sync_job.status", "is not said")
    if rows.find(session, JOBS, job.adapter) is None:
        if job.etag:
            raise rows.absent(JOBS, (job.adapter,))
        return rows.insert(session, JOBS, job)
    return rows.update(session, JOBS, job, _JOB, etag=job.etag)


def sync_status(session: Session, request: following_pb2.GetSyncStatusRequest) -> following_pb2.SyncStatus:
    """Tell all that is known of an adapter. Raises FieldInvalid, RecordNotFound where nothing is."""
    watermark = rows.find(session, WATERMARKS, rows.check_id(request.adapter, "adapter"))
    job = rows.find(session, JOBS, request.adapter)
    if watermark is None and job is None:
        raise rows.absent(WATERMARKS, (request.adapter,))
    return following_pb2.SyncStatus(adapter=request.adapter, watermark=watermark, job=job)


def commit_cursor(session: Session, request: following_pb2.CommitCursorRequest) -> progress_pb2.Consumer:
    """Say how far a consumer has come. Raises FieldInvalid, CursorAhead."""
    rows.check_id(request.consumer, "consumer")
    if request.position < 0:
        raise FieldInvalid.of("position", "is negative")
    check_reached(request.position, end(session))
    consumer = progress_pb2.Consumer(name=request.consumer, position=request.position)
    known = rows.find(session, CONSUMERS, request.consumer)
    if known is None:
        return rows.insert(session, CONSUMERS, consumer)
    if request.position == known.position or (request.position < known.position and not request.rewind):
        return known
    return rows.update(session, CONSUMERS, consumer, ("position",))
