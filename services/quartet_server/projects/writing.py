"""How records are made, changed and deleted: the rules that every way of writing keeps, Batch included."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from quartet_server.projects import fields
from quartet_server.projects.unit import Unit
from quartet_server.records import masks, rows
from quartet_server.records.codec import stamp
from quartet_server.records.drafts import check_required, draft, within
from quartet_server.records.schema import Record

M = TypeVar("M", bound=Message)


class Writer(Generic[M]):
    """Writes the records of one table; a subclass adds the rules of its own.

    Attributes:
        record: The table.
    """

    now: tuple[str, ...] = ()
    """Times that are now when they are left empty at creation."""
    bounds: tuple[tuple[str, float, float], ...] = ()
    """Numbers that have a least and a greatest value."""
    lists: tuple[str, ...] = ()
    """Lists that have at most 1,000 entries."""

    def __init__(self, record: Record[M]) -> None:
        """Write to `record`."""
        self.record = record

    def create(self, unit: Unit, given: M, path: str) -> M:
        """Store a new record and return it; errors name fields below `path`.

        Raises FieldInvalid, RecordExists, ReferenceMissing.
        """
        complete = self.record.message()
        complete.CopyFrom(given)
        for name in self.now:
            if not complete.HasField(name):
                getattr(complete, name).CopyFrom(stamp(unit.session.now))
        self.fill(unit, complete)
        made = draft(self.record, complete, path)
        with within(path):
            self._check(made, self.record.fields)
            self.check(unit, made, None, self.record.fields)
            stored = rows.insert(unit.session, self.record, made)
        self.written(unit, None, stored, self.record.fields)
        return stored

    def update(self, unit: Unit, given: M, mask: FieldMask, path: str) -> M:
        """Set what `mask` names of a stored record to what `given` says, and return it as it is.

        Raises FieldInvalid, MaskInvalid, RecordNotFound, EtagStale, ReferenceMissing.
        """
        with within(path):
            key = rows.key_of(self.record, given)
        chosen = masks.choose(self.record, mask, given)
        check_required(self.record, given, chosen.names, path)
        before = rows.fetch(unit.session, self.record, *key)
        chosen.check_fixed(given, before)
        names = list(chosen.names)
        message = self.record.message()
        message.CopyFrom(given)
        self.change(unit, before, message, names)
        after = self.record.message()
        after.CopyFrom(before)
        for name in names:
            _copy(message, after, name)
        with within(path):
            self._check(message, names)
            self.check(unit, after, before, names)
            done = rows.update(unit.session, self.record, message, names, etag=getattr(given, "etag", ""))
        self.written(unit, before, done, names)
        return done

    def delete(self, unit: Unit, id_: str, etag: str) -> None:
        """Delete a record. Raises RecordNotFound, EtagStale, RecordReferenced."""
        rows.delete(unit.session, self.record, id_, etag=etag)

    def fill(self, unit: Unit, message: M) -> None:
        """Complete what a new record leaves out."""

    def change(self, unit: Unit, before: M, message: M, names: list[str]) -> None:
        """Add to a change what follows from it; `names` are the fields that are set."""

    def check(self, unit: Unit, after: M, before: M | None, names: Collection[str]) -> None:
        """Let pass a record that is about to be stored. Raises what is wrong with it."""

    def written(self, unit: Unit, before: M | None, after: M, names: Collection[str]) -> None:
        """Do what follows from a record that was stored; `names` are the fields that were set."""

    def _check(self, message: M, names: Collection[str]) -> None:
        for name, least, most in self.bounds:
            if name in names:
                fields.between(message, name, least, most)
        fields.few(message, 1000, *(name for name in self.lists if name in names))


def _copy(source: Any, target: Any, name: str) -> None:
    """Set a field of `target` to what it is in `source`, absent or not."""
    target.ClearField(name)
    field, value = source.DESCRIPTOR.fields_by_name[name], getattr(source, name)
    if field.is_repeated:
        getattr(target, name).extend(value)  # no record has a map
    elif field.has_presence and not source.HasField(name):
        return
    elif field.message_type is not None:
        getattr(target, name).CopyFrom(value)
    else:
        setattr(target, name, value)
