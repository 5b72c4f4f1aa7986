"""The standard methods that write: Create, BatchCreate, Update, Delete. Each is safe to repeat with its request id."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid, QuartetError
from quartet_server.records import masks, rows
from quartet_server.records.contract import Database, Session
from quartet_server.records.drafts import check_required, draft, within
from quartet_server.records.fields import ETAG
from quartet_server.records.lookups import Handler, check_batch
from quartet_server.records.requests import once
from quartet_server.records.shapes import Rpc, camel
from quartet_server.rpc.call import current_zone

_F = FieldDescriptor
_ID = "request_id"
_MASK = "google.protobuf.FieldMask"


def create(rpc: Rpc, database: Database) -> Handler:
    """Return the handler of `CreateTask(task, request_id)`, which answers with the record. Raises SchemaError."""
    record, field = rpc.sent(rpc.request)
    rpc.called(f"Create{record.descriptor.name}")
    if rpc.response is not record.descriptor:
        raise rpc.wrong(f"it answers with {rpc.response.name}, not with {record.descriptor.name}")
    rpc.field(rpc.request, _ID, _F.TYPE_STRING)
    rpc.only(rpc.request, (field, _ID))

    async def handler(request: Any, _context: Any) -> Message:
        made = draft(record, getattr(request, field), field)

        def work(session: Session) -> Message:
            with within(field):
                stored: Message = rows.insert(session, record, made)
            return stored

        return await once(
            database,
            current_zone(),
            method=rpc.path,
            request_id=request.request_id,
            request=request,
            answer=record.message,
            work=work,
        )

    return handler


def batch_create(rpc: Rpc, database: Database) -> Handler:
    """Return the handler of `BatchCreateTasks(requests, request_id)`: all of them are created, or none. Raises SchemaError."""
    record, many = rpc.listed()
    rpc.called(f"BatchCreate{camel(many.name)}")
    single = rpc.field(rpc.request, "requests", _F.TYPE_MESSAGE, repeated=True).message_type
    assert single is not None
    found, field = rpc.sent(single)
    if found is not record:
        raise rpc.wrong(f"it takes {found.descriptor.name} and answers with {record.descriptor.name}")
    rpc.field(rpc.request, _ID, _F.TYPE_STRING)
    rpc.field(single, _ID, _F.TYPE_STRING)
    rpc.only(rpc.request, ("requests", _ID))
    rpc.only(rpc.response, (many.name,))
    answer, into = rpc.response_class(), many.name

    async def handler(request: Any, _context: Any) -> Message:
        check_batch("requests", len(request.requests))
        drafts = []
        for place, one in enumerate(request.requests):
            if one.request_id:
                raise FieldInvalid.of(
                    f"requests[{place}].request_id", "is empty in a batch, which has an id of its own"
                )
            drafts.append((place, draft(record, getattr(one, field), f"requests[{place}].{field}")))

        def work(session: Session) -> Message:
            made = answer()
            for place, one in drafts:
                try:
                    with within(f"requests[{place}].{field}"):
                        getattr(made, into).append(rows.insert(session, record, one))
                except QuartetError as error:
                    error.metadata.setdefault("index", str(place))
                    raise
            return made

        return await once(
            database,
            current_zone(),
            method=rpc.path,
            request_id=request.request_id,
            request=request,
            answer=answer,
            work=work,
        )

    return handler


def update(rpc: Rpc, database: Database) -> Handler:
    """Return the handler of `UpdateTask(task, update_mask, request_id)`, which answers with the record. Raises SchemaError."""
    record, field = rpc.sent(rpc.request)
    rpc.called(f"Update{record.descriptor.name}")
    if rpc.response is not record.descriptor:
        raise rpc.wrong(f"it answers with {rpc.response.name}, not with {record.descriptor.name}")
    mask = rpc.field(rpc.request, "update_mask", _F.TYPE_MESSAGE).message_type
    if mask is None or mask.full_name != _MASK:
        raise rpc.wrong(f"{rpc.request.name}.update_mask is no {_MASK}")
    rpc.field(rpc.request, _ID, _F.TYPE_STRING)
    rpc.only(rpc.request, (field, "update_mask", _ID))
    guarded = ETAG in record.descriptor.fields_by_name

    async def handler(request: Any, _context: Any) -> Message:
        sent = getattr(request, field)
        with within(field):
            key = rows.key_of(record, sent)
        chosen = masks.choose(record, request.update_mask, sent)
        check_required(record, sent, chosen.names, field)
        etag = sent.etag if guarded else ""

        def work(session: Session) -> Message:
            if chosen.fixed:
                chosen.check_fixed(sent, rows.fetch(session, record, *key))
            with within(field):
                stored: Message = rows.update(session, record, sent, chosen.names, etag=etag)
            return stored

        return await once(
            database,
            current_zone(),
            method=rpc.path,
            request_id=request.request_id,
            request=request,
            answer=record.message,
            work=work,
        )

    return handler


def delete(rpc: Rpc, database: Database) -> Handler:
    """Return the handler of `DeleteTask(id, etag, request_id)`, which answers with nothing. Raises SchemaError."""
    record = rpc.named(rpc.name.removeprefix("Delete"))
    names = rpc.keys(record)
    rpc.field(rpc.request, _ID, _F.TYPE_STRING)
    guarded = rpc.has(rpc.request, ETAG, _F.TYPE_STRING)
    rpc.only(rpc.request, (*names, ETAG, _ID))
    rpc.only(rpc.response, ())
    answer = rpc.response_class()

    async def handler(request: Any, _context: Any) -> Message:
        key = [getattr(request, name) for name in names]
        etag = request.etag if guarded else ""

        def work(session: Session) -> Message:
            rows.delete(session, record, *key, etag=etag)
            return answer()

        return await once(
            database,
            current_zone(),
            method=rpc.path,
            request_id=request.request_id,
            request=request,
            answer=answer,
            work=work,
        )

    return handler
