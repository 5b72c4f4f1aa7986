"""What callers send to be stored: without what only the server sets, with all that is REQUIRED, errors named by their path."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid
from quartet_server.records.fields import Field, Kind
from quartet_server.records.schema import Record

M = TypeVar("M", bound=Message)

_NEVER_EMPTY = frozenset((Kind.INTEGER, Kind.REAL, Kind.BOOLEAN))


def draft(record: Record[M], sent: M, path: str) -> M:
    """Return a copy of `sent`, to be inserted, without its OUTPUT_ONLY fields.

    Args:
        record: What it is to be.
        sent: What the caller sent.
        path: Where in the request it was, as `task` or `requests[3].task`.

    Raises:
        FieldInvalid: Fields that are REQUIRED are empty; all of them are named.
    """
    check_required(record, sent, record.fields, path)
    made = record.message()
    made.CopyFrom(sent)
    for name, field in record.fields.items():
        if field.output_only:
            made.ClearField(name)
    return made


def check_required(record: Record[Any], sent: Message, names: Collection[str], path: str) -> None:
    """Let pass a message in which no REQUIRED field of `names` is empty. Raises FieldInvalid, which names all that are.

    A number or a truth value that is not `optional` is never empty.
    """
    empty = [name for name in names if record.fields[name].required and not _there(sent, record.fields[name])]
    if empty:
        violations = {f"{path}.{name}": "is required" for name in empty}
        raise FieldInvalid(f"{', '.join(violations)}: required, and empty", violations=violations)


@contextmanager
def within(path: str) -> Iterator[None]:
    """Put `path` before the fields that a FieldInvalid from inside names."""
    try:
        yield
    except FieldInvalid as error:
        violations = {f"{path}.{field}": text for field, text in error.violations.items()}
        raise FieldInvalid(f"{path}.{error.message}", hint=error.hint, violations=violations) from None


def _there(sent: Message, field: Field) -> bool:
    descriptor = field.descriptor
    if descriptor.has_presence and not sent.HasField(field.name):
        return False
    if field.kind in _NEVER_EMPTY or (descriptor.message_type is not None and not descriptor.is_repeated):
        return True
    return bool(getattr(sent, field.name))
