"""The standard methods that read: Get, BatchGet, List."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid
from quartet_server.record_errors import BatchTooLarge
from quartet_server.records import paging, rows
from quartet_server.records.codec import check_text
from quartet_server.records.contract import Database, Session
from quartet_server.records.fields import Kind, spellings
from quartet_server.records.schema import Record
from quartet_server.records.shapes import Rpc, camel
from quartet_server.rpc.call import current_zone

Handler = Callable[[Any, Any], Awaitable[Message]]

MOST = 1000
"""Most items of a batch."""
_F = FieldDescriptor
_EQUAL = frozenset((Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN, Kind.ENUM))
_PAGED = ("filter", "order_by", "page_size", "page_token")


def get(rpc: Rpc, database: Database) -> Handler:
    """Return the handler of `GetTask(id)`, which answers with the record. Raises SchemaError."""
    record = rpc.record(rpc.response, "its answer")
    rpc.called(f"Get{record.descriptor.name}")
    names = rpc.keys(record)
    rpc.only(rpc.request, names)

    async def handler(request: Any, _context: Any) -> Message:
        key = [getattr(request, name) for name in names]
        found: Message = await database.read(current_zone(), lambda session: rows.fetch(session, record, *key))
        return found

    return handler


def batch_get(rpc: Rpc, database: Database) -> Handler:
    """Return the handler of `BatchGetTasks(ids)`, which answers with the records in that order. Raises SchemaError."""
    record, many = rpc.listed()
    rpc.called(f"BatchGet{camel(many.name)}")
    if len(record.key) != 1 or record.fields[record.key[0]].kind is not Kind.TEXT:
        raise rpc.wrong(f"the key of {record.descriptor.name} is not one text")
    ids = rpc.field(rpc.request, f"{record.key[0]}s", _F.TYPE_STRING, repeated=True).name
    rpc.only(rpc.request, (ids,))
    rpc.only(rpc.response, (many.name,))
    answer, field = rpc.response_class(), many.name

    async def handler(request: Any, _context: Any) -> Message:
        wanted = list(getattr(request, ids))
        check_batch(ids, len(wanted))

        def work(session: Session) -> Message:
            made = answer()
            into, size = getattr(made, field), 0
            for place, one in enumerate(wanted):
                found = rows.fetch(session, record, rows.check_id(one, f"{ids}[{place}]"))
                size += found.ByteSize()
                if size > paging.MAX_BYTES:
                    raise BatchTooLarge(
                        f"{ids}: the first {place + 1} records have {size} bytes, more than an answer may have",
                        field=ids,
                        limit=paging.MAX_BYTES,
                        found=size,
                    )
                into.append(found)
            return made

        return await database.read(current_zone(), work)

    return handler


def check_batch(field: str, found: int) -> None:
    """Let pass a batch of up to `MOST` items. Raises BatchTooLarge."""
    if found > MOST:
        what = f"has {found} items, at most {MOST} are taken"
        raise BatchTooLarge(f"{field} {what}", violations={field: what}, field=field, limit=MOST, found=found)


def list_(rpc: Rpc, database: Database) -> Handler:
    """Return the handler of `ListTasks(...)`, which answers with a page. Raises SchemaError.

    Fields of the request that are named as columns select the records that have their value; one that is unset, or empty
    without being `optional`, selects nothing.
    """
    record, many = rpc.listed()
    rpc.called(f"List{camel(many.name)}")
    for name, kind in (("page_size", _F.TYPE_INT32), ("page_token", _F.TYPE_STRING)):
        rpc.field(rpc.request, name, kind)
    rpc.field(rpc.response, "next_page_token", _F.TYPE_STRING)
    rpc.only(rpc.response, (many.name, "next_page_token"))
    filtered = rpc.has(rpc.request, "filter", _F.TYPE_STRING)
    ordered = rpc.has(rpc.request, "order_by", _F.TYPE_STRING)
    takers = [_taker(rpc, record, field) for field in rpc.request.fields if field.name not in _PAGED]
    answer, method = rpc.response_class(), rpc.path

    async def handler(request: Any, _context: Any) -> Message:
        equal: dict[str, object] = {}
        for take in takers:
            take(request, equal)

        def work(session: Session) -> Message:
            found, token = paging.encoded(
                session,
                record,
                method=method,
                equal=equal,
                filter=request.filter if filtered else "",
                order_by=request.order_by if ordered else "",
                page_size=request.page_size,
                page_token=request.page_token,
            )
            return paging.answer(answer, many.name, found, token)

        return await database.read(current_zone(), work)

    return handler


def _taker(rpc: Rpc, record: Record[Any], field: FieldDescriptor) -> Callable[[Any, dict[str, object]], None]:
    """Return what adds the condition that a field of a request is, if it is set. Raises SchemaError."""
    name = field.name
    column = record.fields.get(name)
    if column is None or column.kind not in _EQUAL:
        raise rpc.wrong(f"{rpc.request.name}.{name} is no column of {record.name} that can be compared")
    if field.type != column.descriptor.type or field.is_repeated or field.enum_type != column.descriptor.enum_type:
        raise rpc.wrong(f"{rpc.request.name}.{name} has another type than the column")
    present = field.has_presence
    spelled = spellings(column.enum) if column.kind is Kind.ENUM else None

    def take(request: Any, equal: dict[str, object]) -> None:
        value = getattr(request, name)
        if not (request.HasField(name) if present else value):
            return
        if spelled is not None:
            if value not in spelled:
                raise FieldInvalid.of(name, f"is one of: {', '.join(spelled.values())}")
            value = spelled[value]
        elif isinstance(value, str):
            check_text(value, name)
        equal[name] = value

    return take
