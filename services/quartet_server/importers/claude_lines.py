"""A line of Claude Code's session logs, whatever version wrote it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from quartet_server.importers import times
from quartet_server.importers.faults import UnfitError
from quartet_server.importers.items import Attached, Used
from quartet_server.importers.text import clean, name

_REMINDER = "system-reminder"
_MOST = 1000
_SPACE = re.compile(r"\n{3,}")
_COMMAND = 64 << 10


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model asked for."""

    id: str
    name: str
    params: Any

    @property
    def shown(self) -> str:
        """What it does, for people: the command itself where there is one."""
        if isinstance(self.params, dict) and isinstance(self.params.get("command"), str):
            return f"{self.name}: {clean(self.params['command'][:_COMMAND])}"
        return f"{self.name}: {clean(json.dumps(self.params, ensure_ascii=False))[:_COMMAND]}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered."""

    call: str
    text: str
    failed: bool


@dataclass(slots=True)
class Line:
    """A line in which somebody says something.

    Attributes:
        asks: A prompt: of the human, or in a sub-agent's log of the agent that started it.
        summary: It sums up what was before, which was given up.
        shown: The text without what was put into it for the model.
    """

    value: dict[str, Any]
    uuid: str
    role: str
    at: int
    parent: str = ""
    session: str = ""
    sidechain: bool = False
    agent: str = ""
    subtype: str = ""
    cwd: str = ""
    branch: str = ""
    version: str = ""
    model: str = ""
    message_id: str = ""
    meta: bool = False
    error: bool = False
    summary: bool = False
    asks: bool = False
    text: str = ""
    thinking: str = ""
    used: Used | None = None
    calls: list[Call] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    attachments: list[Attached] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """The text without what was put into it for the model."""
        return without_reminders(clean(self.text))


def read(value: Any, latest: int | None) -> Line | None:
    """Return the line; None for one in which nobody says anything. `latest` is the time of one that has none. Raises UnfitError."""
    if not isinstance(value, dict):
        raise UnfitError("the line is no JSON object")
    role, uuid = value.get("type"), value.get("uuid")
    if role not in ("user", "assistant", "system"):
        if not isinstance(role, str):
            raise UnfitError("the line has no type")
        return None
    if not isinstance(uuid, str) or not uuid:
        raise UnfitError(f"the {role} line has no uuid")
    at = times.iso(value["timestamp"]) if value.get("timestamp") is not None or latest is None else latest
    line = Line(value, uuid, role, at)
    for key, field_ in (
        ("parentUuid", "parent"),
        ("sessionId", "session"),
        ("agentId", "agent"),
        ("subtype", "subtype"),
        ("cwd", "cwd"),
        ("gitBranch", "branch"),
        ("version", "version"),
    ):
        setattr(line, field_, clean(value.get(key)))
    line.sidechain, line.meta = value.get("isSidechain") is True, value.get("isMeta") is True
    line.error, line.summary = value.get("isApiErrorMessage") is True, value.get("isCompactSummary") is True
    if role == "system":
        line.text = clean(value.get("content"))
        return line
    message = value.get("message")
    if not isinstance(message, dict):
        raise UnfitError(f"the {role} line has no message")
    _content(line, message.get("content"))
    if role == "assistant":
        line.message_id = clean(message.get("id"))
        model = clean(message.get("model"))
        line.model = "" if model.startswith("<") else model
        line.used = _used(message.get("usage"))
    else:
        line.asks = not line.meta and not line.summary and (not line.results or bool(line.shown))
    return line


def _content(line: Line, content: Any) -> None:
    """Take a message's content apart: text, or a list of blocks."""
    if isinstance(content, str):
        line.text = clean(content)
        return
    if not isinstance(content, list):
        raise UnfitError(f"the content of the {line.role} line is neither text nor a list")
    texts: list[str] = []
    thoughts: list[str] = []
    for number, block in enumerate(content[:_MOST]):
        if not isinstance(block, dict):
            continue
        match block.get("type"):
            case "text":
                texts.append(clean(block.get("text")))
            case "thinking":
                thoughts.append(clean(block.get("thinking")))
            case "tool_use" | "server_tool_use":
                id_ = clean(block.get("id")) or f"{line.uuid}:{number}"
                line.calls.append(Call(id_, clean(block.get("name")), block.get("input") or {}))
            case "tool_result":
                call = clean(block.get("tool_use_id")) or f"{line.uuid}:{number}"
                line.results.append(Result(call, _result(block.get("content")), block.get("is_error") is True))
            case "image" | "document" as kind:
                line.attachments.append(_attached(block, kind, f"{line.uuid}:{number}"))
            case _:
                pass
    line.text, line.thinking = "\n\n".join(filter(None, texts)), "\n\n".join(filter(None, thoughts))


def _result(content: Any) -> str:
    if isinstance(content, str):
        return clean(content)
    pieces = []
    for block in content[:_MOST] if isinstance(content, list) else []:
        if isinstance(block, dict):
            kind = clean(block.get("type"))
            pieces.append(clean(block.get("text")) if kind == "text" else f"[{kind}]")
    return "\n".join(pieces)


def _attached(block: dict[str, Any], kind: str, id_: str) -> Attached:
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    data = source.get("data")
    return Attached(
        id=id_,
        mime=name(source.get("media_type")) or ("image" if kind == "image" else ""),
        filename=name(block.get("title")),
        size=len(data) * 3 // 4 if isinstance(data, str) and source.get("type") == "base64" else None,
        url=clean(source.get("url")),
        metadata={"media_type": kind},
    )


def _used(usage: Any) -> Used | None:
    if not isinstance(usage, dict):
        return None

    def count(key: str) -> int:
        number = usage.get(key)
        return number if isinstance(number, int) and 0 <= number < 1 << 40 else 0

    return Used(
        input=count("input_tokens"),
        output=count("output_tokens"),
        cached_input=count("cache_read_input_tokens"),
        cache_write=count("cache_creation_input_tokens"),
    )


def without_reminders(text: str) -> str:
    """Return what a human wrote, without the blocks that were put in for the model."""
    begin, end = f"<{_REMINDER}>", f"</{_REMINDER}>"
    pieces, at = [], 0
    while (opening := text.find(begin, at)) >= 0:
        closing = text.find(end, opening)
        if closing < 0:
            break
        pieces.append(text[at:opening])
        at = closing + len(end)
    return _SPACE.sub("\n\n", "".join([*pieces, text[at:]])).strip()
