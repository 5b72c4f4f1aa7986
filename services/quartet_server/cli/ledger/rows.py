"""How the agents ledger is shown by commands: messages as plain values, in the words of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from quartet.agents.v1 import contents_pb2, sessions_pb2

from quartet_server.cli.output import CommandError, Format, print_json, print_table

_LINE = 100


def plain(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it: all fields, numbers as numbers, times as text, closed choices as the store spells them."""
    told: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {name: _plain(message, message.DESCRIPTOR.fields_by_name[name], value) for name, value in told.items()}


def show(messages: Sequence[Message], columns: Sequence[str], output: Format) -> None:
    """Print messages as a table of `columns`, or all of them as JSON."""
    rows = [plain(message) for message in messages]
    if output == "json":
        print_json(rows)
    else:
        print_table(rows, columns)


def turn_row(whole: contents_pb2.TurnContents) -> dict[str, Any]:
    """Return a line about a turn: where it stands, what was asked and answered."""
    turn = whole.turn
    spoken = {one.message.id: one.message.content for one in whole.messages}
    asked = " ".join(spoken.get(one, "") for one in turn.query_message_ids)
    answered = whole.compaction.summary or spoken.get(turn.response_message_id, "")
    row = plain(turn)
    return {
        "depth": whole.thread.depth,
        "id": turn.id,
        "type": row["turn_type"],
        "status": row["status"],
        "started_at": row["started_at"],
        "model": turn.model or None,
        "tokens": turn.total_tokens,
        "tool_calls": turn.tool_call_count,
        "asked": _short(asked),
        "answered": _short(answered),
    }


def chosen(text: str, kinds: Any, prefix: str) -> int:
    """Return the number of a closed choice that `text` spells as the store does. Raises CommandError."""
    try:
        return int(kinds.Value(f"{prefix}{text.upper().replace('-', '_')}")) if text else 0
    except ValueError:
        known = [name.removeprefix(prefix).lower() for name in kinds.keys()[1:]]
        raise CommandError(f"{text} is none of: {', '.join(known)}", exit_code=2) from None


def session_status(text: str) -> sessions_pb2.SessionStatus.ValueType:
    """Return the status of a session that `text` names, unspecified for an empty one. Raises CommandError."""
    return sessions_pb2.SessionStatus.ValueType(chosen(text, sessions_pb2.SessionStatus, "SESSION_STATUS_"))


def _plain(message: Message, field: Any, value: Any) -> Any:
    held = getattr(message, field.name)
    if field.message_type is not None and field.message_type.full_name.startswith("quartet."):
        return [plain(one) for one in held] if field.is_repeated else plain(held)
    if field.cpp_type == FieldDescriptor.CPPTYPE_INT64:
        return held
    if field.enum_type is None or not isinstance(value, str):
        return value
    prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    spelled = value.removeprefix(prefix).lower()
    return None if spelled == "unspecified" else spelled


def _short(text: str) -> str | None:
    line = " ".join(text.split())
    return (line if len(line) <= _LINE else line[: _LINE - 1] + "…") or None
