"""Recording what was sent: the event of a sending, the same one wherever it is noticed."""

from __future__ import annotations

import hashlib

from quartet.events.v1 import appending_pb2 as pb
from quartet.events.v1 import event_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.events.encoding import recipients_json


def outbound_event(request: pb.RecordOutboundRequest, now: int) -> event_pb2.Event:
    """Return the event of a sending; `now`, in microseconds since 1970, is when it was if nobody said.

    Raises FieldInvalid. What the event lacks beyond that, appending it tells.
    """
    for name in ("source", "kind", "channel"):
        if not getattr(request, name):
            raise FieldInvalid.of(name, "is empty")
    if not request.recipients:
        raise FieldInvalid.of("recipients", "is empty")
    event = event_pb2.Event(
        source=request.source,
        source_id=request.source_id or _drawn(request),
        type="message",
        direction=event_pb2.DIRECTION_OUTBOUND,
        content=request.content,
        content_type=request.content_type,
        attachments=request.attachments,
        from_channel=request.channel,
        from_identifier=request.from_identifier,
        to_recipients=request.recipients,
        timestamp=request.timestamp,
        metadata=request.metadata,
    )
    if request.HasField("thread_id"):
        event.thread_id = request.thread_id
    if request.HasField("reply_to"):
        event.reply_to = request.reply_to
    if not request.HasField("timestamp"):
        event.timestamp.FromMicroseconds(now)
    fields = event.metadata.fields
    for name in ("kind", "session_key", "agent_id", "request_id"):
        if value := getattr(request, name):
            fields[name].string_value = value
    return event


def _drawn(request: pb.RecordOutboundRequest) -> str:
    """Return a source id that is the same for every record of one sending, and of no other of the same request."""
    if not request.request_id:
        raise FieldInvalid.of("source_id", "is empty, and so is request_id: nothing tells this sending from another")
    if len(request.request_id.encode()) > 256:
        raise FieldInvalid.of("request_id", "is longer than 256 bytes")
    sent = "\0".join((request.channel, recipients_json(request.recipients), request.content))
    return f"{request.request_id}:{hashlib.sha256(sent.encode()).hexdigest()[:16]}"
