"""Pages of lists by keyset: each begins behind the last row of the one before, wherever that row is by now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid
from quartet_server.records import selects, statements, tokens
from quartet_server.records.contract import Session
from quartet_server.records.ordering import Order, order
from quartet_server.records.schema import ZONE, Record
from quartet_server.records.tokens import Seal
from quartet_server.records.wire import sized, tag, wire

M = TypeVar("M", bound=Message)
A = TypeVar("A", bound=Message)

PAGE = 100
"""Records of a page whose size was not named."""
MOST = 1000
"""Most records of a page."""
MAX_BYTES = 3 * 1024 * 1024
"""Bytes after which a page ends early, with a token: answers stay below the 4 MiB that clients take."""

_CHUNK = 128  # rows read at once, after which their bytes are counted


def page(
    session: Session,
    record: Record[M],
    *,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
    order_by: str = "",
    page_size: int = 0,
    page_token: str = "",
    seal: str,
) -> tuple[list[M], str]:
    """Return a page of the records that fulfil all `conditions`, and the token of the next one, empty where there is none.

    Rows that are there throughout come exactly once, whatever else is written between the pages.

    Args:
        session: Of the zone.
        record: What is listed.
        conditions: What must hold of a row.
        order_by: See `ordering.order`.
        page_size: Records at most: 0 for `PAGE`, up to `MOST`. A page also ends after `MAX_BYTES`.
        page_token: Of the page before; empty for the first.
        seal: The method and all that `conditions` come from: a token is of no use with another one.

    Raises:
        FieldInvalid: The size or the order are not taken.
        ColumnUnknown: See `ordering.order`.
        ColumnUnusable: Likewise.
        PageTokenInvalid: The token was not made for this request.
    """
    found, token = encoded_page(
        session,
        record,
        conditions=conditions,
        order_by=order_by,
        page_size=page_size,
        page_token=page_token,
        seal=seal,
    )
    return list(map(record.message.FromString, found)), token


def encoded_page(
    session: Session,
    record: Record[M],
    *,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
    order_by: str = "",
    page_size: int = 0,
    page_token: str = "",
    seal: str,
) -> tuple[list[bytes], str]:
    """Return what `page` does, each record in the bytes of its message: for `answer`."""
    asked = _Asked.of(session, record, order_by, page_size, page_token, "", seal)
    table = record.table
    chosen = statements.columns(record).where(table.c[ZONE] == session.zone, *conditions)
    if asked.start is not None:
        binds = [sa.literal(value, table.c[n].type) for n, value in zip(asked.order.columns, asked.start, strict=True)]
        chosen = chosen.where(asked.order.after(record, binds))
    chosen = chosen.order_by(*asked.order.clauses(record)).limit(asked.size + 1)
    with closing(session.connection.execute(chosen)) as result:
        cursor = result.cursor  # the driver's: its rows are plain tuples
        return asked.cut(iter(lambda: cursor.fetchmany(_CHUNK), []))


def listing(
    session: Session,
    record: Record[M],
    *,
    method: str,
    equal: Mapping[str, object],
    filter: str,  # noqa: A002 - the name of the field
    order_by: str,
    page_size: int,
    page_token: str,
) -> tuple[list[M], str]:
    """Return a page as `page` does, of the records whose columns `equal` what it says and that fulfil `filter`.

    Its SQL is made once for requests that differ in values only. Raises what `page` and `filtering.where` raise.
    """
    found, token = encoded(
        session,
        record,
        method=method,
        equal=equal,
        filter=filter,
        order_by=order_by,
        page_size=page_size,
        page_token=page_token,
    )
    return list(map(record.message.FromString, found)), token


def encoded(
    session: Session,
    record: Record[M],
    *,
    method: str,
    equal: Mapping[str, object],
    filter: str,  # noqa: A002 - the name of the field
    order_by: str,
    page_size: int,
    page_token: str,
) -> tuple[list[bytes], str]:
    """Return what `listing` does, each record in the bytes of its message: for `answer`."""
    said = repr((filter, sorted(equal.items())))
    asked = _Asked.of(session, record, order_by, page_size, page_token, method, said)
    make = selects.select if len(filter) <= selects.REMEMBERED else selects.select.__wrapped__
    statement = make(record, session.dialect, filter, asked.order, tuple(equal), asked.start is not None)
    values = {ZONE: session.zone, "limit": asked.size + 1}
    values |= {f"equal_{name}": value for name, value in equal.items()}
    values |= {f"after_{place}": value for place, value in enumerate(asked.start or ())}
    with closing(session.cursor()) as cursor:
        cursor.execute(statement.sql, statement.parameters(values))
        return asked.cut(iter(lambda: cursor.fetchmany(_CHUNK), []))


def answer(kind: type[A], field: str, found: Sequence[bytes], token: str) -> A:
    """Return the answer of a List: records in bytes in its repeated `field`, and `next_page_token`.

    It is parsed in one go, which costs a third of making each record and putting it in.
    """
    numbers = kind.DESCRIPTOR.fields_by_name
    before = tag(numbers[field].number)
    parts = [sized(before, one) for one in found]
    parts.append(sized(tag(numbers["next_page_token"].number), token.encode()))
    return kind.FromString(b"".join(parts))


@dataclass(frozen=True, slots=True)
class _Asked(Generic[M]):
    """What of a list is asked for."""

    record: Record[M]
    order: Order
    size: int
    seal: Seal
    start: tuple[Any, ...] | None

    @classmethod
    def of(
        cls, session: Session, record: Record[M], order_by: str, size: int, token: str, method: str, request: str
    ) -> _Asked[M]:
        if not 0 <= size <= MOST:
            raise FieldInvalid.of("page_size", f"0 to {MOST} are taken")
        sorted_by = order(record, order_by)
        seal = Seal.of(session.zone, record, sorted_by, method, request)
        start = tokens.decode(token, seal, record, sorted_by) if token else None
        return cls(record, sorted_by, size or PAGE, seal, start)

    def cut(self, chunks: Iterator[Sequence[Sequence[Any]]]) -> tuple[list[bytes], str]:
        """Return the page that begins with the rows of `chunks`, each in bytes, and the token of the next."""
        found: list[bytes] = []
        last: Sequence[Any] = ()
        encode, room = wire(self.record).encode, MAX_BYTES
        for rows in chunks:
            encoded = encode(rows)
            size = sum(map(len, encoded))
            if len(found) + len(encoded) <= self.size and size <= room:
                found += encoded
                room -= size
            else:
                for place, one in enumerate(encoded):
                    if len(found) == self.size or room < 0:
                        return found, self._token(rows[place - 1] if place else last)
                    found.append(one)
                    room -= len(one)
            last = rows[-1]
        return found, ""

    def _token(self, row: Sequence[Any]) -> str:
        places = self.record.codec.names
        values = [row[places.index(name)] for name in self.order.columns]
        for name, value in zip(self.order.columns, values, strict=True):
            tokens.check_text(name, value)
        return tokens.encode(self.seal, values)
