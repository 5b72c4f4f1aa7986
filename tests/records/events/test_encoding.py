"""The rows that are made by hand are those that the engine would make, for any event."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from google.protobuf import json_format
from harness.ledger import event
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet.events.v1 import event_pb2
from quartet_server.errors import FieldInvalid
from quartet_server.events.encoding import COLUMNS, encode
from quartet_server.events.schema import EVENTS
from quartet_server.records.contract import Dialect

CODEC = EVENTS.codec
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(texts, values, max_size=4)


def inline(**fields: Any) -> event_pb2.InlineAttachment:
    metadata = fields.pop("metadata")
    made = event_pb2.InlineAttachment(**fields)
    if metadata is not None:
        made.metadata.update(metadata)
    return made


recipients = st.builds(
    event_pb2.Recipient, channel=texts, identifier=names, role=st.sampled_from(["", "cc", "observer"])
)
attachments = st.builds(
    inline,
    id=texts,
    type=texts,
    filename=texts,
    url=texts,
    local_path=texts,
    size=st.none() | st.integers(0, 2**62),
    metadata=st.none() | documents,
)
events = st.builds(
    event,
    st.integers(0, 10**6),
    texts,
    source=names,
    source_id=names,
    type=names,
    from_channel=names,
    from_identifier=texts,
    content_type=texts,
    direction=st.integers(0, 3),
    at=st.integers(-62_135_596_800, 253_402_300_799),
    thread_id=texts,
    reply_to=texts,
    receiver_id=texts,
    to_recipients=st.lists(recipients, max_size=3),
    attachments=st.lists(attachments, max_size=2),
    metadata=st.none() | documents,
)


@settings(max_examples=80, deadline=None)
@given(events)
def test_an_event_is_read_back_as_it_was_given(sent: event_pb2.Event) -> None:
    row = encode(sent)
    row[COLUMNS.index("received_at")] = 0
    found = CODEC.decode(row[1:])
    sent.id = f"{sent.source}:{sent.source_id}"
    sent.direction = sent.direction or event_pb2.DIRECTION_INBOUND
    sent.content_type = sent.content_type or "text"
    sent.received_at.SetInParent()
    for name in ("thread_id", "reply_to", "receiver_id"):
        if not getattr(sent, name):
            sent.ClearField(name)
    assert json_format.MessageToDict(found) == json_format.MessageToDict(sent)


@settings(max_examples=60, deadline=None)
@given(events)
def test_its_columns_are_those_of_the_engine(sent: event_pb2.Event) -> None:
    for one in sent.attachments:
        one.ClearField("size")  # the engine writes these numbers as text
    ours = dict(zip(COLUMNS, encode(sent), strict=True))
    sent.id = sent.id or ours["id"]
    for name in ("thread_id", "reply_to", "receiver_id"):
        if not getattr(sent, name):
            sent.ClearField(name)
    engines = dict(zip(CODEC.names, CODEC.encode(sent, Dialect.SQLITE), strict=True))
    engines |= {"zone": "", "content_type": engines["content_type"] or "text"}
    rows: list[dict[str, Any]] = [ours, engines]
    for row in rows:  # the engine writes whole numbers inside of them as 1.0
        row["attachments"] = json.loads(row["attachments"] or "[]")
    assert ours == engines


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_message_becomes_a_row_or_is_refused(raw: bytes) -> None:
    try:
        sent = event_pb2.Event.FromString(raw)
    except Exception:
        return
    sent.source, sent.source_id, sent.type, sent.from_channel = "s", "i", "t", "c"
    sent.timestamp.seconds = sent.timestamp.seconds
    with contextlib.suppress(FieldInvalid):
        assert len(encode(sent)) == len(COLUMNS)
