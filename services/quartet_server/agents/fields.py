"""Fields of messages by their names, where a rule is the same for several."""

from __future__ import annotations

from google.protobuf.message import Message


def said(message: Message, name: str) -> bool:
    """Tell whether a field that may be absent is there."""
    return message.HasField(name)


def forget(message: Message, *names: str) -> None:
    """Clear fields."""
    for name in names:
        message.ClearField(name)


def take(message: Message, name: str, value: object) -> None:
    """Set a field, of whatever kind, to a value of its kind."""
    message.ClearField(name)
    message.MergeFrom(type(message)(**{name: value}))
