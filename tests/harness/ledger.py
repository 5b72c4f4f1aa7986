"""Events for tests of the ledger, and what is done with a whole ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeAlias

from quartet.events.v1 import appending_pb2, event_pb2, events_pb2_grpc, keeping_pb2, reading_pb2

Stub: TypeAlias = "events_pb2_grpc.EventServiceAsyncStub"
EPOCH = 1_700_000_000
"""Time of the event 0, in seconds."""


def event(number: int = 0, content: str = "", **fields: Any) -> event_pb2.Event:
    """Return the event `number` of a source, a second after the one before."""
    made = event_pb2.Event(
        source=fields.pop("source", "mail"),
        source_id=fields.pop("source_id", str(number)),
        type=fields.pop("type", "message"),
        from_channel=fields.pop("from_channel", "mail"),
        from_identifier=fields.pop("from_identifier", "ann@example.com"),
        content=content,
    )
    made.timestamp.seconds = fields.pop("at", EPOCH + number)
    metadata = fields.pop("metadata", None)
    if metadata is not None:
        made.metadata.update(metadata)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(made, name).extend(value)
        else:
            setattr(made, name, value)
    return made


async def append(ledger: Stub, events: Sequence[event_pb2.Event], zone: str = "default") -> list[int]:
    """Append events that are not there yet; return their positions."""
    answer = await ledger.BatchAppend(
        appending_pb2.BatchAppendRequest(events=events), metadata=(("quartet-zone", zone),)
    )
    assert answer.created == len(events)
    return [one.position for one in answer.results]


async def each(events: Iterable[event_pb2.Event]) -> AsyncIterator[appending_pb2.AppendEachRequest]:
    """Return events as a stream of single ones."""
    for one in events:
        yield appending_pb2.AppendEachRequest(event=one)


async def batches(groups: Iterable[Sequence[event_pb2.Event]]) -> AsyncIterator[appending_pb2.AppendBatchesRequest]:
    """Return groups of events as a stream of batches."""
    for group in groups:
        yield appending_pb2.AppendBatchesRequest(events=group)


async def whole(ledger: Stub, zone: str = "default") -> list[event_pb2.Event]:
    """Return all events of a ledger, in their order."""
    stream = ledger.Tail(
        reading_pb2.TailRequest(after_position=0, once=True, batch_size=1000), metadata=(("quartet-zone", zone),)
    )
    return [one async for answer in stream for one in answer.events]


async def rebuilt(ledger: Stub, *, dry_run: bool = False) -> keeping_pb2.RebuildResponse:
    """Derive again what is derived; return what it says at the end."""
    answers = [one async for one in ledger.Rebuild(keeping_pb2.RebuildRequest(dry_run=dry_run))]
    assert answers[-1].done
    return answers[-1]
