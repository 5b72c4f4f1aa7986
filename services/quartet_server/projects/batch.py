"""Several writes at once: each as its own call does it, all in one transaction."""

from __future__ import annotations

from typing import Any

from quartet.projects.v1 import batch_pb2 as pb

from quartet_server.errors import FieldInvalid, LimitReached, QuartetError
from quartet_server.projects.calls import Calls, Context
from quartet_server.projects.unit import Unit
from quartet_server.projects.writers import BY_TABLE
from quartet_server.projects.writing import Writer
from quartet_server.records import paging
from quartet_server.records.lookups import check_batch

_FIELDS = pb.AnyRecord.DESCRIPTOR.fields_by_name


class BatchCalls(Calls):
    """The call for several writes."""

    async def Batch(self, request: pb.BatchRequest, context: Context) -> pb.BatchResponse:
        """Write to several tables, all or nothing."""
        check_batch("operations", len(request.operations))
        return await self.write("Batch", request, pb.BatchResponse, lambda unit: run(unit, request))


def run(unit: Unit, request: pb.BatchRequest) -> pb.BatchResponse:
    """Do the operations in their order. An error bears the number of the operation it is about."""
    made, room = pb.BatchResponse(), paging.MAX_BYTES
    for place, operation in enumerate(request.operations):
        try:
            result = _do(unit, operation, f"operations[{place}]")
        except QuartetError as error:
            error.metadata.setdefault("operation", str(place))
            raise
        room -= result.ByteSize()
        if room < 0:
            raise LimitReached(f"what the first {place + 1} operations answer has more than {paging.MAX_BYTES} bytes")
        made.results.append(result)
    return made


def _do(unit: Unit, operation: pb.BatchOperation, path: str) -> pb.AnyRecord:
    match operation.WhichOneof("operation"):
        case "create":
            writer, name = _writer(operation.create, f"{path}.create")
            made = writer.create(unit, getattr(operation.create, name), f"{path}.create.{name}")
            return pb.AnyRecord(**{name: made})
        case "update":
            writer, name = _writer(operation.update.record, f"{path}.update.record")
            given, mask = getattr(operation.update.record, name), operation.update.update_mask
            return pb.AnyRecord(**{name: writer.update(unit, given, mask, f"{path}.update.record.{name}")})
        case "delete":
            gone = operation.delete
            if gone.table not in BY_TABLE:
                raise FieldInvalid.of(f"{path}.delete.table", "names a table")
            BY_TABLE[gone.table].delete(unit, gone.id, gone.etag)
            return pb.AnyRecord()
    raise FieldInvalid.of(path, "is one of: create, update, delete")


def _writer(given: pb.AnyRecord, path: str) -> tuple[Writer[Any], str]:
    """Return the writer of the record that is given, and the name of its field. Raises FieldInvalid."""
    name = given.WhichOneof("record")
    if name is None:
        raise FieldInvalid.of(path, "has a record")
    return BY_TABLE[_FIELDS[name].number], name
