"""What a Work does to the rows of a record: find, select, insert, update, delete, in the zone of its session."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from quartet_server.errors import EtagStale, FieldInvalid
from quartet_server.record_errors import RecordNotFound
from quartet_server.records import statements
from quartet_server.records.codec import check_text
from quartet_server.records.contract import Dialect, Session
from quartet_server.records.failures import telling
from quartet_server.records.fields import MAINTAINED, Kind
from quartet_server.records.schema import REVISION, ZONE, Record

M = TypeVar("M", bound=Message)
MAX_ID = 512


def find(session: Session, record: Record[M], *key: object) -> M | None:
    """Return the record with the primary key `key`, or None."""
    row = _row(session, record, key)
    return None if row is None else record.codec.decode(row, row[-1])


def fetch(session: Session, record: Record[M], *key: object) -> M:
    """Return the record with the primary key `key`. Raises RecordNotFound."""
    found = find(session, record, *key)
    if found is None:
        raise absent(record, key)
    return found


def absent(record: Record[Any], key: Sequence[object]) -> RecordNotFound:
    """Return the error for a record that is not there."""
    named = "/".join(str(one)[:64] for one in key)
    return RecordNotFound(f"{record.name} has no record {named}", database=record.database, table=record.name, id=named)


def select(
    session: Session,
    record: Record[M],
    *where: sa.ColumnElement[bool],
    order: Sequence[Any] = (),
    limit: int | None = None,
) -> list[M]:
    """Return the records of the zone that fulfil all of `where`, in the order `order`, at most `limit`."""
    chosen = (
        statements.columns(record).where(record.table.c[ZONE] == session.zone, *where).order_by(*order).limit(limit)
    )
    decode = record.codec.decode
    return [decode(row, row[-1]) for row in session.connection.execute(chosen).all()]


def insert(session: Session, record: Record[M], message: M) -> M:
    """Store a record that is not there yet, and return it as it is now.

    An empty `id` that is the whole key is drawn; `created_at` and `updated_at`, where they are OUTPUT_ONLY, are the session's
    time; what was left empty gets its default. Raises RecordExists, ReferenceMissing, FieldInvalid.
    """
    return _insert(session, record, [message], skip=False)[0]  # type: ignore[return-value]


def insert_all(
    session: Session, record: Record[M], messages: Sequence[M], *, skip_existing: bool = False
) -> list[M | None]:
    """Store records as `insert` does, all or none; with `skip_existing` those that are not there yet.

    Returns them in order, None for each that was there already, by its key or by a unique index. Raises as `insert`.
    """
    return _insert(session, record, messages, skip=skip_existing)


def update(session: Session, record: Record[M], message: M, fields: Collection[str], *, etag: str = "") -> M:
    """Set `fields` of a stored record to what `message` says, and return it as it is now.

    Raises RecordNotFound, EtagStale where its revision is not `etag` (empty: any will do), RecordExists, ReferenceMissing,
    FieldInvalid.
    """
    codec, dialect = record.codec, session.dialect
    key = key_of(record, message)
    row = _row(session, record, key)
    if row is None:
        raise absent(record, key)
    check_etag(record, etag, row[-1])
    changed = {name: codec.encode_field(message, name, dialect) for name in codec.names if name in fields}
    for name, value in changed.items():
        if value is None and not record.fields[name].nullable:
            raise FieldInvalid.of(name, "has no value")
    if _maintained(record, "updated_at"):
        changed["updated_at"] = session.now
    revision = row[-1] + 1
    with telling(record, key="/".join(map(str, key))):
        session.cursor().execute(
            statements.update(record, dialect, tuple(changed)), (*changed.values(), revision, session.zone, *key)
        )
    merged = [changed.get(name, old) for name, old in zip(codec.names, row, strict=False)]
    return codec.decode(merged, revision)


def delete(session: Session, record: Record[Any], *key: object, etag: str = "") -> None:
    """Delete a record, and what its deletion takes along. Raises RecordNotFound, EtagStale, RecordReferenced."""
    cursor = session.cursor()
    if etag:
        row = _row(session, record, key)
        if row is None:
            raise absent(record, key)
        check_etag(record, etag, row[-1])
    with telling(record, deleting=True, key="/".join(map(str, key))):
        cursor.execute(statements.delete(record, session.dialect), (session.zone, *key))
    if not cursor.rowcount:
        raise absent(record, key)


def change(session: Session, record: Record[Any], where: sa.ColumnElement[bool], values: Mapping[str, object]) -> int:
    """Set columns of all records of the zone that fulfil `where`; return how many. Each gets its next revision.

    `values` are column values or SQL expressions. Raises as `update` does.
    """
    table = record.table
    settings = {**values, REVISION: table.c[REVISION] + 1}
    if _maintained(record, "updated_at"):
        settings.setdefault("updated_at", session.now)
    with telling(record):
        done = session.connection.execute(table.update().where(table.c[ZONE] == session.zone, where).values(settings))
    return int(done.rowcount)


def check_etag(record: Record[Any], etag: str, revision: int) -> None:
    """Let pass who knows the record's `revision`, or does not care. Raises EtagStale."""
    if etag and etag != str(revision):
        raise EtagStale(f"the record of {record.name} changed: its etag is {revision}, not {etag[:32]}", etag=revision)


def key_of(record: Record[M], message: M) -> tuple[object, ...]:
    """Return the primary key that a message has, as it is stored. Raises FieldInvalid where a part of it is empty."""
    return tuple(_key_part(record, message, name) for name in record.key)


def _key_part(record: Record[Any], message: Message, name: str) -> object:
    value = getattr(message, name)
    field = record.fields[name]
    if field.kind is not Kind.TEXT:
        return record.codec.encode_field(
            message, name, Dialect.SQLITE
        )  # the same with every driver: no key is a vector
    if not value:
        raise FieldInvalid.of(name, "is empty")
    return check_id(value, name)


def check_id(value: str, path: str = "id") -> str:
    """Return `value` if it can be an id: 1 to 512 bytes of UTF-8 without control characters. Raises FieldInvalid."""
    if not value:
        raise FieldInvalid.of(path, "is empty")
    if len(value) > MAX_ID or len(value.encode()) > MAX_ID:
        raise FieldInvalid.of(path, f"is longer than {MAX_ID} bytes")
    if not value.isprintable() and any(ord(one) < 32 or ord(one) == 127 for one in value):
        raise FieldInvalid.of(path, "has a control character")
    return check_text(value, path)


def _row(session: Session, record: Record[Any], key: Sequence[object]) -> Sequence[Any] | None:
    """Return the columns of a record and, last, its revision."""
    for part, name in zip(key, record.key, strict=True):
        if isinstance(part, str):
            check_id(part, name)
    cursor = session.cursor()
    cursor.execute(statements.find(record, session.dialect), (session.zone, *key))
    row: Sequence[Any] | None = cursor.fetchone()
    return row


def _insert(session: Session, record: Record[M], messages: Sequence[M], *, skip: bool) -> list[M | None]:
    dialect, zone = session.dialect, session.zone
    statement = statements.insert(record, dialect, skip=skip)
    cursor = session.cursor()
    done: list[M | None] = []
    places = _places(record)
    for message in messages:
        values = _values(session, record, message, places)
        with telling(record):
            cursor.execute(statement, (zone, *values, 1))
        done.append(record.codec.decode(values, 1) if not skip or cursor.rowcount else None)
    return done


def _values(session: Session, record: Record[M], message: M, places: Mapping[str, int]) -> list[object]:
    """Return the columns of a new record. Raises FieldInvalid."""
    values = record.codec.encode(message, session.dialect)
    for name in record.key:
        value, field = values[places[name]], record.fields[name]
        if field.kind is not Kind.TEXT:
            continue
        if not value and record.key == ("id",):
            values[places[name]] = session.new_id()
        else:
            check_id(str(value), name)
    for name in MAINTAINED:
        if _maintained(record, name):
            values[places[name]] = session.now
    for name, place in places.items():
        if values[place] is None and not record.fields[name].nullable:
            raise FieldInvalid.of(name, "has no value")
    return values


def _places(record: Record[Any]) -> dict[str, int]:
    return {name: place for place, name in enumerate(record.codec.names)}


def _maintained(record: Record[Any], name: str) -> bool:
    """Tell whether the engine sets the time `name` of a record."""
    field = record.fields.get(name)
    return field is not None and field.kind is Kind.TIME and field.output_only
