"""Update masks: which fields of a record an update sets, and what it refuses to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from quartet_server.record_errors import MaskInvalid
from quartet_server.records.fields import ETAG, Field
from quartet_server.records.schema import Record

STAR = "*"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an update sets.

    Attributes:
        names: Fields to be set, to nothing where the message has nothing.
        fixed: Fields that the message has though they cannot be changed, since the mask named none: they must be as they are.
    """

    names: tuple[str, ...]
    fixed: tuple[str, ...]

    def check_fixed(self, sent: Message, stored: Message) -> None:
        """Let pass a message whose `fixed` fields are those of the record as it is. Raises MaskInvalid."""
        for name in self.fixed:
            if getattr(sent, name) != getattr(stored, name):
                raise refused(name, "immutable", "cannot be changed")


def choose(record: Record[Any], mask: FieldMask, message: Message) -> Chosen:
    """Return what of `message` an update of `record` sets.

    A mask that names fields sets those. `*` sets all that can be updated; an empty mask sets those that the message has. These
    two pass over fields that only the server sets, as in a record that was read and is sent back.

    Raises:
        MaskInvalid: A path is no field, a part of one, the key, OUTPUT_ONLY or IMMUTABLE; `*` is not alone; nothing is chosen.
    """
    paths = list(mask.paths)
    if paths and paths != [STAR]:
        return Chosen(_named(record, paths), ())
    there = [field.name for field, _ in message.ListFields() if field.name in record.fields]
    fixed = tuple(name for name in there if _fixed(record.fields[name]))
    names = list(record.fields) if paths else there
    chosen = tuple(name for name in names if _open(record.fields[name]))
    if not chosen:
        raise refused("", "empty", "names nothing that can be updated")
    return Chosen(chosen, fixed)


def refused(path: str, kind: str, why: str) -> MaskInvalid:
    """Return the error for `path` of a mask."""
    said = f"{path[:128]} {why}".lstrip()
    return MaskInvalid(f"update_mask: {said}", violations={"update_mask": said}, path=path[:128], kind=kind)


def _named(record: Record[Any], paths: list[str]) -> tuple[str, ...]:
    seen: dict[str, None] = {}
    for path in paths:
        name = path.partition(".")[0]
        field = record.fields.get(name)
        if path == STAR:
            raise refused(path, "star", "stands alone")
        if path == ETAG and ETAG in record.descriptor.fields_by_name:
            raise refused(path, "output_only", "is not updated: it says which version of the record you mean")
        if field is None:
            raise refused(path, "unknown", f"is no field of {record.descriptor.name}")
        if name != path:
            raise refused(path, "part", f"is a part of a field: update all of {name}")
        if field.key:
            raise refused(path, "key", "is the key, which says what is updated")
        if field.output_only:
            raise refused(path, "output_only", "is set by the server only")
        if field.immutable:
            raise refused(path, "immutable", "cannot be changed")
        if path in seen:
            raise refused(path, "twice", "is named twice")
        seen[path] = None
    return tuple(seen)


def _open(field: Field) -> bool:
    return not (field.key or field.output_only or field.immutable)


def _fixed(field: Field) -> bool:
    return field.immutable and not field.key and not field.output_only
