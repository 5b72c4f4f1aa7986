"""The database `events`: which messages are its tables, and the one that is written by hand."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.events.v1 import derived_pb2, documents_pb2, event_pb2, progress_pb2, state_pb2

from quartet_server.events import fulltext
from quartet_server.records.schema import ZONE, schema

POSITIONS = "ledger_positions"
"""Which position was drawn last in each zone: none is drawn twice, though its event were erased. `filling` is set only within
the transaction of an append, which see."""


def _extra(metadata: sa.MetaData) -> None:
    sa.Table(
        POSITIONS,
        metadata,
        sa.Column(ZONE, sa.Text, primary_key=True, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("filling", sa.Boolean, nullable=False, server_default=sa.false()),
    )


SCHEMA = schema(
    "events",
    owner="EventService",
    messages=(
        event_pb2.Event,
        derived_pb2.Thread,
        derived_pb2.EventParticipant,
        derived_pb2.Attachment,
        state_pb2.EventState,
        state_pb2.EventStateLog,
        state_pb2.Tag,
        state_pb2.EventTag,
        documents_pb2.DocumentHead,
        documents_pb2.RetrievalLog,
        progress_pb2.SyncWatermark,
        progress_pb2.SyncJob,
        progress_pb2.Consumer,
    ),
    extra=_extra,
    ddl=fulltext.DDL,
)

EVENTS = SCHEMA.record(event_pb2.Event)
THREADS = SCHEMA.record(derived_pb2.Thread)
PARTICIPANTS = SCHEMA.record(derived_pb2.EventParticipant)
ATTACHMENTS = SCHEMA.record(derived_pb2.Attachment)
STATES = SCHEMA.record(state_pb2.EventState)
STATE_LOG = SCHEMA.record(state_pb2.EventStateLog)
TAGS = SCHEMA.record(state_pb2.Tag)
EVENT_TAGS = SCHEMA.record(state_pb2.EventTag)
DOCUMENTS = SCHEMA.record(documents_pb2.DocumentHead)
RETRIEVALS = SCHEMA.record(documents_pb2.RetrievalLog)
WATERMARKS = SCHEMA.record(progress_pb2.SyncWatermark)
JOBS = SCHEMA.record(progress_pb2.SyncJob)
CONSUMERS = SCHEMA.record(progress_pb2.Consumer)
