"""Messages that are well formed and full of values nobody should send, built from their descriptors."""

from __future__ import annotations

from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

MAX_DEPTH = 6
"""Messages in messages; a Txn in a Txn in a Txn takes two levels each."""

TEXTS = (
    "", "a", "/", "//", "/.", "/..", "/a/../b", "/" * 300, "/x" * 500, "a\0b", "\0", "\u202e\ufeff", "é" * 300, "\U0001f600",
    "%00", "%s%s%n", "-1", "http://127.0.0.1:1", "http://[::1", "http://x:99999", "unix:/x", "z" * 5_000, "' or 1=1", "*", "..",
)  # fmt: skip
BLOBS = (b"", b"\0", b"\0\0", b"\xff" * 8, b"a", b"a\0b", b"\xff" * 300, b"k" * 40_000, b"cos\nsystem\n(S'exit 1'\ntR.")
_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), -1, 0, 1, 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), -(2**32), -1, 0, 1, 2, 2**31, 2**63 - 2, 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**31, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**63, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 3, 4, 5, 77, -1, 2**31 - 1),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
}
_REAL = (0.0, -0.0, 1e308, float("inf"), float("-inf"), float("nan"))


def message(descriptor: Descriptor, dice: Random, depth: int = MAX_DEPTH) -> Message:
    """Return a message of this type with a random choice of its fields set."""
    made = GetMessageClass(descriptor)()
    chance = dice.choice((0.2, 0.6, 1.0))
    for field in descriptor.fields:
        if dice.random() > chance or (field.message_type is not None and depth == 0):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            count = dice.choice((1, 1, 2, 3) if field.message_type is not None else (1, 2, 130))
            into = getattr(made, field.name)
            into.extend([_value(field, dice, depth) for _ in range(count)])
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(_value(field, dice, depth))
        else:
            setattr(made, field.name, _value(field, dice, depth))
    return made


def _value(field: FieldDescriptor, dice: Random, depth: int) -> Any:
    if field.message_type is not None:
        return message(field.message_type, dice, depth - 1)
    if field.type == FieldDescriptor.TYPE_STRING:
        return dice.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return dice.choice(BLOBS)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return dice.choice(_REAL)
    if field.enum_type is not None and field.enum_type.is_closed:
        return dice.choice(field.enum_type.values).number
    return dice.choice(_WHOLE[field.cpp_type])
