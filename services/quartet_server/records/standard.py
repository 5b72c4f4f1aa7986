"""Servicers of records: hand-written verbs where there are any, the standard methods for the rest, nothing left over."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import ServiceDescriptor

from quartet_server.records import edits, lookups
from quartet_server.records.contract import Database
from quartet_server.records.fields import SchemaError
from quartet_server.records.lookups import Handler
from quartet_server.records.schema import Schema
from quartet_server.records.shapes import Rpc

S = TypeVar("S")

_STANDARD: dict[str, Callable[[Rpc, Database], Handler]] = {
    "BatchGet": lookups.batch_get,
    "BatchCreate": edits.batch_create,
    "Get": lookups.get,
    "List": lookups.list_,
    "Create": edits.create,
    "Update": edits.update,
    "Delete": edits.delete,
}
"""By what the name of the rpc begins with."""


def servicer(base: type[S], database: Database, schema: Schema, verbs: object) -> S:
    """Return a servicer of the class that was generated for a service.

    Its methods are those of `verbs`, where it has one of the rpc's name, and else the standard method that the rpc's name says:
    Get, List, Create, Update, Delete, BatchGet, BatchCreate, of the record of `schema` that its messages are about.

    Args:
        base: The generated class, as `projects_pb2_grpc.ProjectServiceServicer`.
        database: Where the records are.
        schema: What they are.
        verbs: Any object whose methods are named as rpcs; each takes the request and the context, as the generated ones do.

    Raises:
        SchemaError: An rpc has no method, or is not what a standard method of its name is; or `verbs` has a method in the
            form of an rpc's name that the service does not have. All of these are named.
    """
    service = _descriptor(base)
    methods: dict[str, object] = {}
    wrong: list[str] = []
    for method in service.methods:
        written = getattr(verbs, method.name, None)
        if written is not None and getattr(type(verbs), method.name, None) is not getattr(base, method.name):
            methods[method.name] = staticmethod(written)
            continue
        try:
            methods[method.name] = staticmethod(_standard(Rpc(method, schema), database))
        except SchemaError as error:
            wrong.append(str(error))
    wrong += [
        f"{type(verbs).__name__}.{name} is no rpc of {service.full_name}"
        for name in dir(verbs)
        if name[0].isupper() and name not in service.methods_by_name and callable(getattr(verbs, name))
    ]
    if wrong:
        raise SchemaError("; ".join(wrong))
    return cast("S", type(f"Bound{service.name}", (base,), methods)())


def _standard(rpc: Rpc, database: Database) -> Handler:
    for start, bind in _STANDARD.items():
        if rpc.name.startswith(start) and not (rpc.method.client_streaming or rpc.method.server_streaming):
            return bind(rpc, database)
    raise rpc.wrong("nobody wrote it, and it is no standard method")


def _descriptor(base: type[Any]) -> ServiceDescriptor:
    """Return the descriptor of the service whose generated class `base` is. Raises SchemaError."""
    name = base.__name__.removesuffix("Servicer")
    try:
        module = importlib.import_module(base.__module__.removesuffix("_grpc"))
        return cast("ServiceDescriptor", module.DESCRIPTOR.services_by_name[name])
    except (ImportError, AttributeError, KeyError):
        raise SchemaError(f"{base.__module__}.{base.__name__} was not generated for a service") from None
