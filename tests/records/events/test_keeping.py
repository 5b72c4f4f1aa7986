"""What is kept beside events: what was sent, states, tags, documents, watermarks."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from harness.failures import fails
from harness.ledger import EPOCH, Stub, append, event, whole
from harness.records import Clock
from harness.rpc import Failure
from quartet.events.v1 import (
    appending_pb2,
    documents_pb2,
    event_pb2,
    following_pb2,
    keeping_pb2,
    progress_pb2,
    reading_pb2,
    state_pb2,
)

CODE = grpc.StatusCode


def sent(**fields: Any) -> appending_pb2.RecordOutboundRequest:
    """Return what an agent has sent."""
    usual: dict[str, Any] = {"source": "nexus", "kind": "agent_send", "channel": "imessage", "content": "on my way"}
    usual["recipients"] = [event_pb2.Recipient(identifier="+41")]
    return appending_pb2.RecordOutboundRequest(**{**usual, **fields})


async def test_what_was_sent_is_an_event_with_what_is_known_of_the_sending(ledger: Stub, clock: Clock) -> None:
    """Seed 003: agent-tool send -> outbound event appears."""
    clock.now = EPOCH + 5
    request = sent(
        source_id="guid-1", session_key="s", agent_id="a", request_id="r", thread_id="t", from_identifier="me"
    )
    answer = await ledger.RecordOutbound(request)
    assert answer.outcome == appending_pb2.OUTCOME_CREATED
    found = await ledger.GetEvent(reading_pb2.GetEventRequest(id="nexus:guid-1"))
    assert (found.type, found.direction, found.content) == ("message", event_pb2.DIRECTION_OUTBOUND, "on my way")
    assert (found.from_channel, found.from_identifier, found.thread_id) == ("imessage", "me", "t")
    assert [(one.channel, one.identifier) for one in found.to_recipients] == [("", "+41")]
    assert found.timestamp.seconds == EPOCH + 5
    assert dict(found.metadata) == {"kind": "agent_send", "session_key": "s", "agent_id": "a", "request_id": "r"}


async def test_a_sending_that_is_noticed_twice_is_written_once(ledger: Stub) -> None:
    for first, second in (
        (sent(source_id="guid-1"), sent(source_id="guid-1", kind="delivery")),
        (sent(request_id="r-1"), sent(request_id="r-1", kind="delivery", agent_id="a")),
    ):
        created, duplicate = await ledger.RecordOutbound(first), await ledger.RecordOutbound(second)
        assert (created.outcome, duplicate.outcome) == (1, 2)
        assert (created.id, created.position) == (duplicate.id, duplicate.position)
    other = await ledger.RecordOutbound(sent(request_id="r-1", content="almost there"))
    assert other.outcome == appending_pb2.OUTCOME_CREATED, "another message of the same request is another event"
    assert len(await whole(ledger)) == 3


LACKING: Any = [
    ({"source": ""}, "source"),
    ({"kind": ""}, "kind"),
    ({"channel": ""}, "channel"),
    ({"recipients": []}, "recipients"),
    ({"source_id": "", "request_id": ""}, "source_id"),
]
"""What a sending lacks, and the field that is named."""


async def test_a_sending_needs_what_makes_it_one(ledger: Stub) -> None:
    for lacking, field in LACKING:
        with pytest.raises(aio.AioRpcError) as raised:
            await ledger.RecordOutbound(sent(**{"source_id": "x", **lacking}))
        assert list(Failure.of(raised.value).violations) == [field]


async def test_states_are_set_and_cleared_and_every_change_is_logged(ledger: Stub, clock: Clock) -> None:
    await append(ledger, [event(1)])
    for seconds, key, value in ((1, "viewed", 1), (2, "pinned", 1), (3, "viewed", 0), (4, "custom", 7)):
        clock.now = EPOCH + seconds
        number: Any = state_pb2.StateKey.Value(f"STATE_KEY_{key.upper()}")
        request = keeping_pb2.SetStateRequest(event_id="mail:1", state_key=number, value=value, changed_by="ann")
        state = await ledger.SetState(request)
    assert (state.is_viewed, state.is_pinned, state.HasField("viewed_at")) == (False, True, False)
    assert state.pinned_at.seconds == EPOCH + 2
    assert await ledger.GetEventState(keeping_pb2.GetEventStateRequest(event_id="mail:1")) == state
    log = await ledger.ListEventStateLogs(keeping_pb2.ListEventStateLogsRequest(event_id="mail:1"))
    assert [(one.state_key, one.state_value, one.changed_by) for one in log.event_state_logs] == [
        (state_pb2.STATE_KEY_VIEWED, 1, "ann"),
        (state_pb2.STATE_KEY_PINNED, 1, "ann"),
        (state_pb2.STATE_KEY_VIEWED, 0, "ann"),
        (state_pb2.STATE_KEY_CUSTOM, 7, "ann"),
    ]
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await ledger.SetState(
            keeping_pb2.SetStateRequest(event_id="mail:2", state_key=state_pb2.STATE_KEY_VIEWED, value=1)
        )
    refused: list[dict[str, Any]] = [{"state_key": 0}, {"state_key": 1, "value": 2}]
    for bad in refused:
        with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
            await ledger.SetState(keeping_pb2.SetStateRequest(event_id="mail:1", **bad))


async def test_a_repeated_request_changes_a_state_once(ledger: Stub) -> None:
    await append(ledger, [event(1)])
    request = keeping_pb2.SetStateRequest(
        event_id="mail:1", state_key=state_pb2.STATE_KEY_VIEWED, value=1, request_id="once"
    )
    assert await ledger.SetState(request) == await ledger.SetState(request)
    log = await ledger.ListEventStateLogs(keeping_pb2.ListEventStateLogsRequest())
    assert len(log.event_state_logs) == 1


async def test_tags_are_the_same_whatever_their_letters_and_hang_once(ledger: Stub) -> None:
    await append(ledger, [event(1), event(2)])
    answer = await ledger.Tag(keeping_pb2.TagRequest(event_ids=["mail:1"], names=["To Do", "Größe"], source="gmail"))
    assert ([one.name for one in answer.tags], answer.added) == (["To Do", "Größe"], 2)
    again = await ledger.Tag(keeping_pb2.TagRequest(event_ids=["mail:1", "mail:2"], names=["  to   DO "]))
    assert ([one.name for one in again.tags], again.added) == (["To Do"], 1)
    assert len((await ledger.ListTags(keeping_pb2.ListTagsRequest())).tags) == 2
    pairs = await ledger.ListEventTags(keeping_pb2.ListEventTagsRequest(tag_id=again.tags[0].id))
    assert [one.event_id for one in pairs.event_tags] == ["mail:1", "mail:2"]
    gone = await ledger.Untag(keeping_pb2.UntagRequest(event_ids=["mail:1", "mail:2"], source="gmail"))
    assert gone.removed == 2
    gone = await ledger.Untag(keeping_pb2.UntagRequest(event_ids=["mail:2"], names=["TO DO", "never was"]))
    assert gone.removed == 1
    with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
        await ledger.Tag(keeping_pb2.TagRequest(event_ids=["mail:1", "mail:3"], names=["x"]))
    assert len((await ledger.ListTags(keeping_pb2.ListTagsRequest())).tags) == 2, "nothing of a refused call stays"


async def test_documents_have_a_head_and_their_retrievals_are_counted(ledger: Stub) -> None:
    await append(ledger, [event(1, type="document"), event(2, type="document")])
    head = documents_pb2.DocumentHead(
        doc_key="skill:gog", channel="skills", current_event_id="mail:1", content_hash="a"
    )
    first = await ledger.UpsertDocumentHead(keeping_pb2.UpsertDocumentHeadRequest(document_head=head))
    asked = keeping_pb2.LogRetrievalRequest(doc_key="skill:gog", query_text="gmail", score=0.5)
    entry = await ledger.LogRetrieval(asked)
    assert (entry.event_id, entry.score) == ("mail:1", 0.5)
    head.current_event_id, head.content_hash, head.title = "mail:2", "b", "Gog"
    await ledger.UpsertDocumentHead(keeping_pb2.UpsertDocumentHeadRequest(document_head=head))
    found = await ledger.GetDocumentHead(keeping_pb2.GetDocumentHeadRequest(doc_key="skill:gog"))
    assert (found.current_event_id, found.title, found.retrieval_count) == ("mail:2", "Gog", 1)
    assert found.last_retrieved_at == entry.retrieved_at
    head.etag = first.etag
    with fails(CODE.ABORTED, "ETAG_STALE"):
        await ledger.UpsertDocumentHead(keeping_pb2.UpsertDocumentHeadRequest(document_head=head))
    head.etag, head.current_event_id = "", "mail:3"
    with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
        await ledger.UpsertDocumentHead(keeping_pb2.UpsertDocumentHeadRequest(document_head=head))
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await ledger.LogRetrieval(keeping_pb2.LogRetrievalRequest())
    await ledger.Erase(appending_pb2.EraseRequest(ids=["mail:2"]))
    assert not (await ledger.ListDocumentHeads(keeping_pb2.ListDocumentHeadsRequest())).document_heads
    assert not (await ledger.ListRetrievalLogs(keeping_pb2.ListRetrievalLogsRequest())).retrieval_logs


def watermark(seconds: int, **fields: Any) -> progress_pb2.SyncWatermark:
    """Return a watermark."""
    return progress_pb2.SyncWatermark(adapter="mail", last_sync_at=Timestamp(seconds=seconds), **fields)


async def test_a_watermark_goes_where_it_is_set_and_never_back_if_that_is_asked(ledger: Stub) -> None:
    async def put(mark: progress_pb2.SyncWatermark, *, monotonic: bool = False) -> int:
        request = following_pb2.SetSyncWatermarkRequest(sync_watermark=mark, monotonic=monotonic)
        return (await ledger.SetSyncWatermark(request)).last_sync_at.seconds

    assert await put(watermark(20, last_event_id="mail:1")) == 20
    assert await put(watermark(10), monotonic=True) == 20
    assert await put(watermark(30), monotonic=True) == 30
    assert await put(watermark(10)) == 10
    listed = await ledger.ListSyncWatermarks(following_pb2.ListSyncWatermarksRequest())
    assert [(one.adapter, one.last_sync_at.seconds) for one in listed.sync_watermarks] == [("mail", 10)]
    with fails(CODE.ABORTED, "ETAG_STALE"):
        await put(watermark(40, etag="1"))


async def test_the_status_of_an_adapter_is_its_watermark_and_its_last_run(ledger: Stub) -> None:
    asked = following_pb2.GetSyncStatusRequest(adapter="mail")
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await ledger.GetSyncStatus(asked)
    job = progress_pb2.SyncJob(adapter="mail", status=progress_pb2.SYNC_STATE_RUNNING, cursor="page 7")
    job.phase = progress_pb2.SYNC_PHASE_BACKFILL
    job.progress.update({"read": 100})
    await ledger.ReportSync(following_pb2.ReportSyncRequest(sync_job=job))
    job.status, job.last_error = progress_pb2.SYNC_STATE_FAILED, "no network"
    await ledger.ReportSync(following_pb2.ReportSyncRequest(sync_job=job))
    await ledger.SetSyncWatermark(following_pb2.SetSyncWatermarkRequest(sync_watermark=watermark(20)))
    status = await ledger.GetSyncStatus(asked)
    assert (status.job.status, status.job.last_error, dict(status.job.progress)) == (3, "no network", {"read": 100})
    assert status.watermark.last_sync_at.seconds == 20
