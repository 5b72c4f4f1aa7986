"""What readers yield, in the messages of the ledgers."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.agents.v1 import contents_pb2, import_calls_pb2, messages_pb2, sessions_pb2, turns_pb2
from quartet.events.v1 import event_pb2

from quartet_server.importers.faults import UnfitError
from quartet_server.importers.items import Attached, Called, Event, Json, Said, Session, Turn
from quartet_server.importers.text import NAME, clean, fit_id, name

LARGEST = 1_000_000
"""Bytes of an event that the ledger takes."""
SOURCE = "quartet"
"""Who imports, in the agents ledger."""
_DIRECTIONS = {
    "inbound": event_pb2.DIRECTION_INBOUND,
    "outbound": event_pb2.DIRECTION_OUTBOUND,
    "observed": event_pb2.DIRECTION_OBSERVED,
}
_ROLES = {
    "user": messages_pb2.MESSAGE_ROLE_USER,
    "assistant": messages_pb2.MESSAGE_ROLE_ASSISTANT,
    "system": messages_pb2.MESSAGE_ROLE_SYSTEM,
    "tool": messages_pb2.MESSAGE_ROLE_TOOL,
}
_SOURCES = {"human": messages_pb2.MESSAGE_SOURCE_HUMAN, "agent": messages_pb2.MESSAGE_SOURCE_AGENT}
_TRIGGERS = {
    "auto": turns_pb2.COMPACTION_TRIGGER_CONTEXT_LIMIT,
    "manual": turns_pb2.COMPACTION_TRIGGER_MANUAL,
}


def stamp(micros: int) -> Timestamp:
    """Return the time that many microseconds after 1970."""
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def struct(values: Mapping[str, Json]) -> Struct:
    """Return a JSON object as a Struct."""
    made = Struct()
    made.update(dict(values))
    return made


def event(item: Event) -> event_pb2.Event:
    """Return an event as the ledger takes it. Raises UnfitError when it is too large."""
    made = event_pb2.Event(
        id=item.given_id,
        source=name(item.source, 128),
        source_id=item.source_id,
        type=name(item.type, 128),
        direction=_DIRECTIONS[item.direction],
        content=item.content,
        content_type=item.content_type,
        from_channel=name(item.from_channel),
        from_identifier=name(item.from_identifier),
        attachments=[_attached(one) for one in item.attachments[:1000]],
        timestamp=stamp(item.timestamp),
        received_at=stamp(item.timestamp if item.received_at is None else item.received_at),
        metadata=struct(item.metadata),
    )
    for one in item.to[:10_000]:
        if identifier := name(one.identifier):
            made.to_recipients.add(channel=name(one.channel), identifier=identifier, role=one.role)
    if item.thread_id:
        made.thread_id = item.thread_id
    if item.reply_to:
        made.reply_to = fit_id(item.reply_to, NAME)
    if made.ByteSize() > LARGEST and item.metadata:  # what was said counts more than what surrounds it
        short = {"metadata_dropped_bytes": made.metadata.ByteSize(), "thread_name": item.metadata.get("thread_name")}
        made.metadata.CopyFrom(struct({key: value for key, value in short.items() if value is not None}))
    if (size := made.ByteSize()) > LARGEST:
        raise UnfitError(f"the event is {size:,} bytes long, more than {LARGEST:,}")
    return made


def _attached(one: Attached) -> event_pb2.InlineAttachment:
    metadata = dict(one.metadata) | ({"content_hash": one.digest} if one.digest else {})
    made = event_pb2.InlineAttachment(
        id=fit_id(one.id, NAME) if one.id else "",
        type=name(one.mime),
        filename=clean(one.filename)[:1024],
        url=clean(one.url)[:4096],
        local_path=clean(one.path)[:4096],
        metadata=struct(metadata),
    )
    if one.size is not None:
        made.size = one.size
    return made


def session(item: Session) -> import_calls_pb2.ImportItem:
    """Return a session, or a part of one, as the agents ledger takes it."""
    made = sessions_pb2.Session(
        label=fit_id(item.label, NAME),
        origin=item.origin,
        origin_session_id=item.id,
        created_at=stamp(item.created_at),
        updated_at=stamp(item.updated_at),
        is_subagent=bool(item.task),
    )
    if item.parent:
        made.parent_session_label = fit_id(item.parent, NAME)
    if item.task:
        made.task_description = item.task
    return import_calls_pb2.ImportItem(
        source_provider=item.origin,
        source_session_id=item.id,
        source_session_fingerprint=item.fingerprint,
        session=made,
        turns=[_turn(one, item.provider) for one in item.turns],
    )


def _turn(turn: Turn, provider: str) -> contents_pb2.TurnContents:
    compacts = turn.compaction is not None and bool(turn.parent_id)
    made = turns_pb2.Turn(
        id=turn.id,
        turn_type=turns_pb2.TURN_TYPE_COMPACTION if compacts else turns_pb2.TURN_TYPE_NORMAL,
        status=turns_pb2.TURN_STATUS_COMPLETED,
        parent_turn_id=turn.parent_id,  # empty: it begins a tree
        started_at=stamp(turn.started_at),
        completed_at=stamp(max(turn.started_at, turn.completed_at or 0)),
        provider=provider,
    )
    if turn.model:
        made.model = turn.model
    if turn.workspace:
        made.workspace_path = turn.workspace
    used = turn.used
    if used.input or used.output or used.cached_input or used.cache_write:
        made.input_tokens, made.output_tokens = used.input, used.output
        made.cached_input_tokens, made.cache_write_tokens = used.cached_input, used.cache_write
        made.reasoning_tokens = used.reasoning
    contents = contents_pb2.TurnContents(
        turn=made,
        messages=[contents_pb2.MessageContents(message=_said(one)) for one in turn.messages],
        tool_calls=[_called(one) for one in turn.calls],
    )
    if compacts:
        contents.compaction.summary = turn.compaction or ""
        contents.compaction.model = turn.model or "unknown"
        contents.compaction.trigger = _TRIGGERS.get(turn.trigger, turns_pb2.COMPACTION_TRIGGER_UNSPECIFIED)
        if turn.tokens_before:
            contents.compaction.tokens_before = turn.tokens_before
    return contents


def _said(said: Said) -> messages_pb2.Message:
    made = messages_pb2.Message(
        id=said.id, role=_ROLES[said.role], content=said.content, created_at=stamp(said.created_at)
    )
    if said.source:
        made.source = _SOURCES[said.source]
    if said.thinking:
        made.thinking = said.thinking
    if said.metadata:
        made.metadata.CopyFrom(struct(said.metadata))
    return made


def _called(called: Called) -> messages_pb2.ToolCall:
    made = messages_pb2.ToolCall(
        id=called.id,
        tool_name=called.tool_name,
        params=struct(called.params if isinstance(called.params, dict) else {}),
        status=messages_pb2.TOOL_CALL_STATUS_FAILED if called.failed else messages_pb2.TOOL_CALL_STATUS_COMPLETED,
        started_at=stamp(called.started_at),
    )
    if called.message_id:
        made.message_id = called.message_id
    if not called.failed:
        made.result.string_value = called.result
    if called.failed:
        made.error = called.error or "it failed"
    if called.completed_at is not None:
        made.completed_at.CopyFrom(stamp(called.completed_at))
    if called.spawned_session:
        made.spawned_session_label = called.spawned_session
    return made
