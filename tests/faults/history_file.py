"""Histories as files of JSON lines: kept from a run that failed, and judged again later."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from faults.history import LIMIT, Attempt, Heard, History, Operation, Outcome, Watching
from google.protobuf.message import DecodeError, Message

from raftmeta.etcd import rpc_pb2 as pb

_LINE = 64 * 1024 * 1024
"""Bytes a line may have."""


class HistoryFileError(ValueError):
    """A file is no history; its text says which line."""


def save(history: History, path: Path) -> None:
    """Write a history, one operation, watcher or fact a line. Raises OSError."""
    with path.open("w", encoding="utf-8") as file:
        facts = {"starts": history.starts, "healed": history.healed, "ended": history.ended}
        for line in (facts, *map(_operation, history.operations), *map(_watching, history.watches)):
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def load(path: Path) -> History:
    """Read a history. Raises OSError, and HistoryFileError for a file that is not one or is too large."""
    history = History()
    with path.open("rb") as file:
        for number in range(1, LIMIT + 2):
            line = file.readline(_LINE)
            if not line:
                return history
            try:
                _take(history, json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, DecodeError) as error:
                raise HistoryFileError(f"{path}, line {number}: {type(error).__name__}: {error}") from error
    raise HistoryFileError(f"{path}: more than {LIMIT} lines")


def _take(history: History, line: dict[str, Any]) -> None:
    if "starts" in line:
        history.starts = [(float(at), str(member)) for at, member in line["starts"]]
        history.healed, history.ended = line["healed"], line["ended"]
    elif "attempts" in line:
        attempts = [
            Attempt(member, start, end, Outcome(outcome), _message(answer), error)
            for member, start, end, outcome, answer, error in line["attempts"]
        ]
        request = _message(line["request"])
        if request is None or not attempts or line["number"] != len(history.operations):
            raise ValueError("an operation without request or attempts, or out of order")
        request_id = _bytes(line["request_id"])
        history.operations.append(Operation(line["number"], line["client"], request, attempts, request_id))
    else:
        heard = [Heard(at, pb.WatchResponse.FromString(_bytes(text))) for at, text in line["heard"]]
        watch = pb.WatchCreateRequest.FromString(_bytes(line["watch"]))
        if line["number"] != len(history.watches):
            raise ValueError("a watcher out of order")
        history.watches.append(
            Watching(
                line["number"],
                line["client"],
                line["member"],
                watch,
                line["start"],
                line["resumes"],
                heard,
                line["end"],
            )
        )


def _operation(one: Operation) -> dict[str, Any]:
    return {
        "number": one.number,
        "client": one.client,
        "request": _text(one.request),
        "request_id": base64.b64encode(one.request_id).decode(),
        "attempts": [
            (each.member, each.start, each.end, each.outcome.value, _text(each.answer), each.error)
            for each in one.attempts
        ],
    }


def _watching(one: Watching) -> dict[str, Any]:
    return {
        "number": one.number,
        "client": one.client,
        "member": one.member,
        "watch": base64.b64encode(one.request.SerializeToString()).decode(),
        "start": one.start,
        "resumes": one.resumes,
        "heard": [(each.at, base64.b64encode(each.response.SerializeToString()).decode()) for each in one.heard],
        "end": one.end,
    }


def _text(message: Message | None) -> str | None:
    if message is None:
        return None
    return f"{message.DESCRIPTOR.name} {base64.b64encode(message.SerializeToString()).decode()}"


def _message(text: str | None) -> Message | None:
    """Decode an etcd message; no other type can be named."""
    if text is None:
        return None
    name, _, data = text.partition(" ")
    if name not in pb.DESCRIPTOR.message_types_by_name:
        raise ValueError(f"no etcd message: {name}")
    message: Message = getattr(pb, name)()
    message.ParseFromString(_bytes(data))
    return message


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
