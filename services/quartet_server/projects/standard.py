"""Create, Update, Delete and BatchCreate of all tables, through their writers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from quartet.projects.v1 import service_pb2

from quartet_server.errors import FieldInvalid, QuartetError
from quartet_server.projects.calls import Calls
from quartet_server.projects.unit import Unit
from quartet_server.projects.writers import BY_TABLE
from quartet_server.projects.writing import Writer
from quartet_server.records.lookups import check_batch

Handler = Callable[[Any, Any], Awaitable[Message]]
_SERVICE = service_pb2.DESCRIPTOR.services_by_name["ProjectService"]


def methods(calls: Calls) -> dict[str, Handler]:
    """Return the methods by their names, for those that the service has."""
    made: dict[str, Handler] = {}
    for writer in BY_TABLE.values():
        name = writer.record.descriptor.name
        many = "".join(part.title() for part in writer.record.name.split("_"))
        made[f"Create{name}"] = _create(calls, writer)
        made[f"Update{name}"] = _update(calls, writer)
        made[f"Delete{name}"] = _delete(calls, writer, name)
        if f"BatchCreate{many}" in _SERVICE.methods_by_name:
            made[f"BatchCreate{many}"] = _batch_create(calls, writer, many)
    return made


def field_of(writer: Writer[Any]) -> str:
    """Return the name that a request's field has which holds a record of the table: `sub_feature` of `sub_features`."""
    return writer.record.name.removesuffix("s")


def _create(calls: Calls, writer: Writer[Any]) -> Handler:
    field = field_of(writer)

    async def handler(request: Any, _context: Any) -> Message:
        def work(unit: Unit) -> Any:
            return writer.create(unit, getattr(request, field), field)

        return await calls.write(f"Create{writer.record.descriptor.name}", request, writer.record.message, work)

    return handler


def _update(calls: Calls, writer: Writer[Any]) -> Handler:
    field = field_of(writer)

    async def handler(request: Any, _context: Any) -> Message:
        def work(unit: Unit) -> Any:
            return writer.update(unit, getattr(request, field), request.update_mask, field)

        return await calls.write(f"Update{writer.record.descriptor.name}", request, writer.record.message, work)

    return handler


def _delete(calls: Calls, writer: Writer[Any], name: str) -> Handler:
    answer = GetMessageClass(_SERVICE.methods_by_name[f"Delete{name}"].output_type)

    async def handler(request: Any, _context: Any) -> Message:
        def work(unit: Unit) -> Any:
            writer.delete(unit, request.id, request.etag)
            return answer()

        return await calls.write(f"Delete{name}", request, answer, work)

    return handler


def _batch_create(calls: Calls, writer: Writer[Any], many: str) -> Handler:
    field, into = field_of(writer), writer.record.name
    answer: Any = GetMessageClass(_SERVICE.methods_by_name[f"BatchCreate{many}"].output_type)

    async def handler(request: Any, _context: Any) -> Message:
        check_batch("requests", len(request.requests))
        for place, one in enumerate(request.requests):
            if one.request_id:
                raise FieldInvalid.of(
                    f"requests[{place}].request_id", "is empty in a batch, which has an id of its own"
                )

        def work(unit: Unit) -> Any:
            made = answer()
            for place, one in enumerate(request.requests):
                try:
                    stored = writer.create(unit, getattr(one, field), f"requests[{place}].{field}")
                except QuartetError as error:
                    error.metadata.setdefault("index", str(place))
                    raise
                getattr(made, into).append(stored)
            return made

        return await calls.write(f"BatchCreate{many}", request, answer, work)

    return handler
