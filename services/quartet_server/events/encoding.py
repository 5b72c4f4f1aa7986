"""Events to rows, by hand: this is what every event of a million passes through, so each is read once and field by field."""

from __future__ import annotations

import math
from json.encoder import encode_basestring as quote
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.events.v1 import event_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.records.codec import MAX_TEXT, check_text, micros

COLUMNS = (
    "zone",
    "id",
    "source",
    "source_id",
    "type",
    "direction",
    "thread_id",
    "reply_to",
    "content",
    "content_type",
    "attachments",
    "from_channel",
    "from_identifier",
    "to_recipients",
    "timestamp",
    "received_at",
    "metadata",
    "platform",
    "account_id",
    "space_id",
    "container_kind",
    "container_id",
    "receiver_id",
    "position",
)
"""Columns of a row as `encode` makes it. Zone, time of receipt and position are its last touches, in the transaction."""
ZONE, ID, SOURCE, SOURCE_ID, THREAD, RECEIVED, POSITION = (
    COLUMNS.index(name) for name in ("zone", "id", "source", "source_id", "thread_id", "received_at", "position")
)

_LARGE = tuple(COLUMNS.index(name) for name in ("content", "attachments", "to_recipients", "metadata"))

MAX_BYTES = 1_000_000
"""Longest event as a message; what is larger belongs into the ObjectStore, with an attachment that says where."""
MAX_RECIPIENTS = 10_000
MAX_ATTACHMENTS = 1_000
ROLES = ("recipient", "cc", "bcc", "member", "mentioned", "observer")
"""What a recipient may be to an event."""
_EXACT = 2**53
_DIRECTIONS = {0: "inbound", 1: "inbound", 2: "outbound", 3: "observed"}


def encode(event: pb.Event, path: str = "event") -> list[Any]:
    """Return the row of an event, in the order of COLUMNS. Raises FieldInvalid, its fields below `path`."""
    try:
        return _row(event)
    except FieldInvalid as error:
        violations = {f"{path}.{name}": what for name, what in error.violations.items()}
        raise FieldInvalid(f"{path}.{error.message}", violations=violations) from None


def _row(event: pb.Event) -> list[Any]:
    source, source_id, kind, channel = event.source, event.source_id, event.type, event.from_channel
    if not (source and source_id and kind and channel and event.HasField("timestamp")):
        raise _missing(event)
    given, content = event.id, event.content
    identity = given or f"{source}:{source_id}"
    if given or len(identity) > 128 or not identity.isprintable():
        check_id(source, "source", 128)
        check_id(source_id, "source_id", 384)
        check_id(identity, "id", 512)
    elif len(source) > 32:
        check_id(source, "source", 128)
    if len(content) > MAX_TEXT or "\0" in content:
        check_text(content, "content")
    direction = _DIRECTIONS.get(event.direction)
    if direction is None:
        raise FieldInvalid.of("direction", "is not one of inbound, outbound, observed")
    row: list[Any] = [
        "",
        identity,
        source,
        source_id,
        short(kind, "type", 128),
        direction,
        short(event.thread_id, "thread_id") or None,
        short(event.reply_to, "reply_to") or None,
        content,
        short(event.content_type, "content_type", 128) or "text",
        attachments_json(event.attachments) if event.attachments else None,
        short(channel, "from_channel"),
        short(event.from_identifier, "from_identifier"),
        recipients_json(event.to_recipients) if event.to_recipients else None,
        moment(event.timestamp, "timestamp"),
        moment(event.received_at, "received_at") if event.HasField("received_at") else None,
        check_text(struct_json(event.metadata, "metadata"), "metadata") if event.HasField("metadata") else None,
        short(event.platform, "platform") or None,
        short(event.account_id, "account_id") or None,
        short(event.space_id, "space_id") or None,
        short(event.container_kind, "container_kind") or None,
        short(event.container_id, "container_id") or None,
        short(event.receiver_id, "receiver_id") or None,
        0,
    ]
    if sum([len(row[place]) for place in _LARGE if row[place] is not None]) > MAX_BYTES // 16:
        size = event.ByteSize()
        if size > MAX_BYTES:
            raise FieldInvalid.of("content", f"makes the event {size} bytes long, more than {MAX_BYTES}")
    return row


def struct_json(value: struct_pb2.Struct, path: str) -> str:
    """Return a Struct as canonical JSON, as `records.documents` has it. Raises FieldInvalid."""
    fields = value.fields
    if "\0" in "".join(fields):
        raise FieldInvalid.of(path, "has a NUL character")
    return "{" + ",".join([f"{quote(key)}:{_value(fields[key], path)}" for key in sorted(fields)]) + "}"


def recipients_json(recipients: Any) -> str:
    """Return recipients as canonical JSON. Raises FieldInvalid."""
    if len(recipients) > MAX_RECIPIENTS:
        raise FieldInvalid.of("to_recipients", f"has {len(recipients)} recipients, more than {MAX_RECIPIENTS}")
    parts = []
    for place, one in enumerate(recipients):
        channel, identifier, role = one.channel, one.identifier, one.role
        if not identifier:
            raise FieldInvalid.of(f"to_recipients[{place}].identifier", "is empty")
        if role and role not in ROLES:
            raise FieldInvalid.of(f"to_recipients[{place}].role", f"is not one of {', '.join(ROLES)}")
        if len(channel) > 128 or len(identifier) > 128 or "\0" in identifier or "\0" in channel:
            short(channel, f"to_recipients[{place}].channel", 512)
            short(identifier, f"to_recipients[{place}].identifier", 512)
        text = f'"channel":{quote(channel)},' if channel else ""
        text += f'"identifier":{quote(identifier)}'
        parts.append(f'{{{text},"role":{quote(role)}}}' if role else f"{{{text}}}")
    return f"[{','.join(parts)}]"


def attachments_json(attachments: Any) -> str:
    """Return attachments as canonical JSON. Raises FieldInvalid."""
    if len(attachments) > MAX_ATTACHMENTS:
        raise FieldInvalid.of("attachments", f"has {len(attachments)} attachments, more than {MAX_ATTACHMENTS}")
    parts = []
    for place, one in enumerate(attachments):
        where = f"attachments[{place}]"
        short(one.id, f"{where}.id", 512)
        if one.HasField("size") and one.size < 0:
            raise FieldInvalid.of(f"{where}.size", "is negative")
        fields = _texts(one, ("filename", "id", "local_path"), where)
        if one.HasField("metadata"):
            fields.append(f'"metadata":{struct_json(one.metadata, f"{where}.metadata")}')
        if one.HasField("size"):
            fields.append(f'"size":{one.size}')
        fields += _texts(one, ("type", "url"), where)
        parts.append(f"{{{','.join(fields)}}}")
    return check_text(f"[{','.join(parts)}]", "attachments")


def _texts(message: pb.InlineAttachment, names: tuple[str, ...], path: str) -> list[str]:
    """Return the members of a JSON object that are texts, without those that are empty."""
    texts = ((name, getattr(message, name)) for name in names)
    return [f'"{name}":{quote(check_text(text, f"{path}.{name}"))}' for name, text in texts if text]


def _value(value: struct_pb2.Value, path: str) -> str:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        if "\0" in text:
            raise FieldInvalid.of(path, "has a NUL character")
        return quote(text)
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise FieldInvalid.of(path, f"has {number}, no finite number")
        return repr(int(number) if number.is_integer() and abs(number) <= _EXACT else number)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "struct_value":
        return struct_json(value.struct_value, path)
    if kind == "list_value":
        return f"[{','.join([_value(one, path) for one in value.list_value.values])}]"
    return "null"


def short(value: str, path: str, limit: int = 512) -> str:
    """Return a text of at most `limit` bytes. Raises FieldInvalid."""
    if (len(value) * 4 > limit and len(value.encode()) > limit) or "\0" in value:
        raise FieldInvalid.of(path, "has a NUL character" if "\0" in value else f"is longer than {limit} bytes")
    return value


def check_id(value: str, path: str, limit: int) -> str:
    """Return an id of at most `limit` bytes, without control characters. Raises FieldInvalid."""
    short(value, path, limit)
    if any(ord(one) < 32 or ord(one) == 127 for one in value):
        raise FieldInvalid.of(path, "has a control character")
    return value


def moment(value: Timestamp, path: str) -> int:
    """Return microseconds since 1970. Raises FieldInvalid."""
    try:
        return micros(value)
    except ValueError as error:
        raise FieldInvalid.of(path, str(error)) from None


def _missing(event: pb.Event) -> FieldInvalid:
    lacking = [name for name in ("source", "source_id", "type", "from_channel") if not getattr(event, name)]
    if not event.HasField("timestamp"):
        lacking.append("timestamp")
    return FieldInvalid(f"{lacking[0]}: is empty", violations=dict.fromkeys(lacking, "is empty"))
