"""Shapes of RPCs: which record a standard method is about, and whether its messages are what such a method takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from quartet_server.records.fields import Kind, SchemaError
from quartet_server.records.schema import Record, Schema

_F = FieldDescriptor
_KEYS = (Kind.TEXT, Kind.INTEGER)


class Rpc:
    """A method of a service, as its descriptor says it.

    Attributes:
        method: Its descriptor.
        name: Its name, as `GetTask`.
        path: `/package.Service/Method`.
    """

    def __init__(self, method: MethodDescriptor, schema: Schema) -> None:
        """Look at `method`, of the service that owns `schema`."""
        self.method = method
        self.name = str(method.name)
        self.path = f"/{method.containing_service.full_name}/{method.name}"
        self._records = {one.descriptor.full_name: one for one in schema.records}

    @property
    def request(self) -> Descriptor:
        """What it takes."""
        return self.method.input_type

    @property
    def response(self) -> Descriptor:
        """What it answers."""
        return self.method.output_type

    def response_class(self) -> type[Message]:
        """Return the class of its answers."""
        return GetMessageClass(self.response)

    def wrong(self, what: str) -> SchemaError:
        """Return the error for a method that is not what its name says."""
        return SchemaError(f"rpc {self.path[1:]}: {what}")

    def record(self, message: Descriptor | None, what: str) -> Record[Any]:
        """Return the record that `message` is. Raises SchemaError, which calls it `what`."""
        found = self._records.get(message.full_name) if message is not None else None
        if found is None:
            raise self.wrong(f"{what} is no record")
        return found

    def named(self, name: str) -> Record[Any]:
        """Return the record whose message has the name `name`. Raises SchemaError."""
        for one in self._records.values():
            if one.descriptor.name == name:
                return one
        raise self.wrong(f"there is no record {name}")

    def called(self, expected: str) -> None:
        """Check that it has the name `expected`. Raises SchemaError."""
        if self.name != expected:
            raise self.wrong(f"by its messages it should be called {expected}")

    def field(self, message: Descriptor, name: str, kind: int, *, repeated: bool = False) -> FieldDescriptor:
        """Return the field `name` of `message`, of a TYPE_ of descriptors. Raises SchemaError."""
        found = message.fields_by_name.get(name)
        if found is None or found.type != kind or found.is_repeated is not repeated:
            many = "repeated " if repeated else ""
            raise self.wrong(f"{message.name} needs a field `{many}{_NAMES.get(kind, 'message')} {name}`")
        return found

    def has(self, message: Descriptor, name: str, kind: int) -> bool:
        """Tell whether `message` has the field `name`, which it need not. Raises SchemaError if it is of another type."""
        return name in message.fields_by_name and self.field(message, name, kind) is not None

    def keys(self, record: Record[Any]) -> tuple[str, ...]:
        """Return the names of the fields by which a request names a record. Raises SchemaError."""
        for name in record.key:
            column = record.fields[name]
            if column.kind not in _KEYS:
                raise self.wrong(f"the key {name} is neither text nor a whole number")
            self.field(self.request, name, column.descriptor.type)
        return record.key

    def only(self, message: Descriptor, names: Collection[str]) -> None:
        """Check that `message` has no other fields than `names`. Raises SchemaError."""
        other = [field.name for field in message.fields if field.name not in names]
        if other:
            raise self.wrong(f"{message.name} has {', '.join(other)}, of which the standard method knows nothing")

    def sent(self, request: Descriptor) -> tuple[Record[Any], str]:
        """Return the record in `request`, and the name of its field. Raises SchemaError."""
        found = [field for field in request.fields if not field.is_repeated and _named(field) in self._records]
        if len(found) != 1:
            raise self.wrong(f"{request.name} needs one field that is a record")
        return self.record(found[0].message_type, found[0].name), found[0].name

    def listed(self) -> tuple[Record[Any], FieldDescriptor]:
        """Return the record that the answer has many of, and their field. Raises SchemaError."""
        found = [field for field in self.response.fields if field.is_repeated and _named(field) in self._records]
        if len(found) != 1:
            raise self.wrong(f"{self.response.name} needs one repeated field of a record")
        return self.record(found[0].message_type, found[0].name), found[0]


def camel(name: str) -> str:
    """Return `audit_logs` as `AuditLogs`."""
    return "".join(part.title() for part in name.split("_"))


def _named(field: FieldDescriptor) -> str:
    return field.message_type.full_name if field.message_type is not None else ""


_NAMES = {_F.TYPE_STRING: "string", _F.TYPE_INT32: "int32", _F.TYPE_INT64: "int64", _F.TYPE_BOOL: "bool"}
