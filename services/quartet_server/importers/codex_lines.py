"""A line of Codex' session logs, of the present form (`type` and `payload`) or of the first one (bare items)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from quartet_server.importers import times
from quartet_server.importers.faults import UnfitError
from quartet_server.importers.items import Attached
from quartet_server.importers.text import clean, name

What = Literal["meta", "context", "said", "thought", "called", "answered", "tokens", "compacted", "nothing"]
_MOST = 1000
_SHOWN = 64 << 10
_GIVEN = (
    "<environment_context>",
    "<user_instructions>",
    "# AGENTS.md instructions",
    "<permissions instructions>",
    "<INSTRUCTIONS>",
)
"""How messages begin that Codex gives the model in the user's name."""


@dataclass(slots=True)
class Entry:
    """What a line says.

    Attributes:
        number: Of the line, from 1.
        at: When; None where it does not say.
        given: It was put in by Codex, not by who seems to speak.
        done: A tool of which no answer will come.
    """

    number: int
    kind: What
    at: int | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    role: str = ""
    text: str = ""
    given: bool = False
    call: str = ""
    tool: str = ""
    params: Any = None
    failed: bool = False
    done: bool = False
    attachments: list[Attached] = field(default_factory=list)


def read(value: Any, number: int, latest: int | None) -> Entry:
    """Return what a line says. Raises UnfitError."""
    if not isinstance(value, dict):
        raise UnfitError("the line is no JSON object")
    at = times.iso(value["timestamp"]) if value.get("timestamp") else latest
    kind, payload = value.get("type"), value.get("payload")
    if kind is None and "record_type" not in value and "id" in value:
        return Entry(number, "meta", at, value)  # the first line of the first form
    if not isinstance(kind, str):
        return Entry(number, "nothing", at)
    if "payload" not in value:
        return _item(value, number, at)
    if not isinstance(payload, dict):
        raise UnfitError("its payload is no JSON object")
    match kind:
        case "session_meta":
            return Entry(number, "meta", at, payload)
        case "turn_context":
            return Entry(number, "context", at, payload)
        case "response_item":
            return _item(payload, number, at)
        case "compacted":
            return Entry(number, "compacted", at, text=clean(payload.get("message")))
        case "event_msg" if payload.get("type") == "token_count" and isinstance(payload.get("info"), dict):
            return Entry(number, "tokens", at, payload["info"])
        case _:
            return Entry(number, "nothing", at)  # event_msg says again what the items say


def _item(item: dict[str, Any], number: int, at: int | None) -> Entry:
    call = clean(item.get("call_id")) or clean(item.get("id"))
    match item.get("type"):
        case "message":
            return _message(item, number, at)
        case "reasoning":
            pieces = item.get("summary")
            return Entry(number, "thought", at, text=_texts(pieces)) if _texts(pieces) else Entry(number, "nothing", at)
        case "function_call" | "custom_tool_call":
            tool = clean(item.get("name"))
            params = _arguments(item.get("arguments") if "arguments" in item else item.get("input"))
            return Entry(number, "called", at, call=call, tool=tool, params=params, text=f"{tool}: {_shown(params)}")
        case "local_shell_call":
            action = item.get("action")
            params = action if isinstance(action, dict) else {}
            return Entry(number, "called", at, call=call, tool="shell", params=params, text=f"shell: {_shown(params)}")
        case "web_search_call":
            params = item.get("action") if isinstance(item.get("action"), dict) else {}
            text = f"web_search: {_shown(params)}"
            return Entry(number, "called", at, call=call, tool="web_search", params=params, text=text, done=True)
        case "function_call_output" | "custom_tool_call_output" | "local_shell_call_output":
            text, failed = _output(item.get("output"))
            return Entry(number, "answered", at, call=call, text=text, failed=failed)
        case _:
            return Entry(number, "nothing", at)


def _message(item: dict[str, Any], number: int, at: int | None) -> Entry:
    role = clean(item.get("role"))
    if role not in ("user", "assistant", "system", "developer"):
        raise UnfitError(f"a message has the role {role[:40]!r}")
    content = item.get("content")
    text = clean(content) if isinstance(content, str) else _texts(content)
    attached = []
    for place, block in enumerate(content[:_MOST] if isinstance(content, list) else []):
        if isinstance(block, dict) and block.get("type") == "input_image":
            url = clean(block.get("image_url"))
            mime = name(url[5:].partition(";")[0]) if url.startswith("data:") else ""
            kept_url = "" if url.startswith("data:") else url
            attached.append(
                Attached(f"{number}:{place}", mime or "image", url=kept_url, metadata={"media_type": "image"})
            )
    role = "system" if role == "developer" else role
    given = role == "user" and text.lstrip().startswith(_GIVEN)
    return Entry(number, "said", at, role=role, text=text, given=given, attachments=attached)


def _texts(blocks: Any) -> str:
    """Return the text of a list of blocks."""
    found = (
        [clean(one.get("text")) for one in blocks[:_MOST] if isinstance(one, dict)] if isinstance(blocks, list) else []
    )
    return "\n\n".join(one for one in found if one)


def _arguments(text: Any) -> Any:
    """Return what a tool was given: JSON as text, or any text."""
    if not isinstance(text, str):
        return text if isinstance(text, dict) else {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"input": text}
    return value if isinstance(value, dict) else {"input": text}


def _shown(params: Any) -> str:
    """Return what a tool was given, for people: the command itself where there is one."""
    command = params.get("command") if isinstance(params, dict) else None
    if isinstance(command, list):
        words = [clean(one) for one in command if isinstance(one, str)]
        shell = len(words) == 3 and words[0].rpartition("/")[2] in ("bash", "sh", "zsh") and words[1] in ("-lc", "-c")
        return (words[2] if shell else " ".join(words))[:_SHOWN]
    if isinstance(command, str):
        return clean(command)[:_SHOWN]
    return clean(json.dumps(params, ensure_ascii=False))[:_SHOWN]


def _output(output: Any) -> tuple[str, bool]:
    """Return what a tool answered, and whether it failed: text, or text in JSON with the exit code beside it."""
    if isinstance(output, str) and output.lstrip().startswith("{"):
        try:
            output = json.loads(output)
        except (ValueError, RecursionError):
            return clean(output), False
    if isinstance(output, str):
        return clean(output), False
    if isinstance(output, list):
        return _texts(output), False
    if not isinstance(output, dict):
        return "", False
    text = output.get("output") if isinstance(output.get("output"), str) else output.get("content")
    more = output.get("metadata")
    code = more.get("exit_code") if isinstance(more, dict) else None
    failed = output.get("success") is False or (isinstance(code, int) and code != 0)
    if isinstance(text, list):
        return _texts(text), failed
    return clean(text) if isinstance(text, str) else clean(json.dumps(output, ensure_ascii=False)), failed
