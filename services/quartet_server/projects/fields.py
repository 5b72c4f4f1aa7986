"""What requests say of a record's fields: which values a list asks for, which rules they keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from quartet_server.errors import FieldInvalid
from quartet_server.records import paging
from quartet_server.records.codec import Codec, check_text, micros
from quartet_server.records.contract import Session
from quartet_server.records.fields import Kind, spellings
from quartet_server.records.schema import Record

M = TypeVar("M", bound=Message)
T = TypeVar("T")


def without(record: Record[M], *names: str) -> Record[M]:
    """Return `record` as lists read it: without the columns `names`, which are large; for reading only."""
    kept = tuple(one for name, one in record.fields.items() if name not in names)
    return replace(record, codec=Codec(record.message, kept))


def equal(record: Record[Any], request: Message, names: Sequence[str]) -> dict[str, object]:
    """Return the columns that a list asks for by fields of its request that bear their names. Raises FieldInvalid."""
    found: dict[str, object] = {}
    for name in names:
        value = getattr(request, name)
        if request.HasField(name) if request.DESCRIPTOR.fields_by_name[name].has_presence else value:
            found[name] = column(record, name, value)
    return found


def column(record: Record[Any], name: str, value: Any) -> object:
    """Return what is stored of a value of an enum or a scalar, by which rows are looked for. Raises FieldInvalid."""
    field = record.fields[name]
    if field.kind is Kind.ENUM:
        known = spellings(field.enum)
        if value not in known:
            raise FieldInvalid.of(name, f"is one of: {', '.join(known.values())}")
        return known[value]
    return check_text(value, name) if isinstance(value, str) else value


def between(message: Message, name: str, least: float, most: float) -> None:
    """Let pass a number from `least` to `most`, and one that is absent. Raises FieldInvalid."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and not message.HasField(name):
        return
    if not least <= getattr(message, name) <= most:
        raise FieldInvalid.of(name, f"{least:g} to {most:g} are taken")


def few(message: Message, most: int, *names: str) -> None:
    """Let pass lists of at most `most` entries. Raises FieldInvalid."""
    for name in names:
        if len(getattr(message, name)) > most:
            raise FieldInvalid.of(name, f"has {len(getattr(message, name))} entries, more than {most}")


def limited(value: int, usual: int, most: int = 1000, name: str = "limit") -> int:
    """Return how many are meant: `usual` for 0, at most `most`. Raises FieldInvalid."""
    if not 0 <= value <= most:
        raise FieldInvalid.of(name, f"0 to {most} are taken")
    return value or usual


def needed(request: Message, *names: str) -> None:
    """Let pass a request whose texts `names` are not empty. Raises FieldInvalid."""
    if empty := [name for name in names if not getattr(request, name)]:
        raise FieldInvalid(f"{empty[0]}: must not be empty", violations=dict.fromkeys(empty, "must not be empty"))
    for name in names:
        check_text(getattr(request, name), name)


def page(
    session: Session, record: Record[M], request: Any, equal: Mapping[str, object], method: str
) -> tuple[list[M], str]:
    """Return the page that a List request asks for, and the token of the next; raises what `paging.listing` does."""
    return paging.listing(
        session,
        record,
        method=method,
        equal=equal,
        filter=request.filter,
        order_by=request.order_by,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def moment(given: Timestamp, path: str) -> int:
    """Return microseconds since 1970. Raises FieldInvalid beyond the years 1 to 9999."""
    try:
        return micros(given)
    except ValueError as error:
        raise FieldInvalid.of(path, str(error)) from None


def fitting(found: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """Yield what fits into one answer: all of `found`, or its beginning."""
    room = paging.MAX_BYTES
    for one in found:
        room -= size(one)
        if room < 0:
            return
        yield one
