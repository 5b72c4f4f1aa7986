"""Messages as Gmail's API returns them, in JSON: messages or threads, one, an array, on lines, or a page of a list."""

from __future__ import annotations

import base64
import binascii
import email.utils
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from quartet_server.importers import html_text, times
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.documents import DocumentReader
from quartet_server.importers.faults import Faults, UnfitError, WrongKindError
from quartet_server.importers.files import found
from quartet_server.importers.items import Attached, Event
from quartet_server.importers.letters import Letter, ids
from quartet_server.importers.mime import decoded, text
from quartet_server.importers.text import clean, kept, name

_WHAT = "JSON of Gmail's API (messages.get or threads.get with format=full), a file or a directory of them (*.json, *.jsonl)"
_PARTS = 1000
_DEEPEST = 30
_HEADERS = 1000
_BEGIN = 1 << 20


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return a reader for each file."""
    for file in found(path, lambda one: one.endswith((".json", ".jsonl", ".ndjson")), _WHAT):
        if not looks(file):
            if not path.is_dir():
                raise WrongKindError(f"{path} holds something else", f"expected {_WHAT}")
            faults.add(file.name, "it holds no message of Gmail's API")
            continue
        yield DocumentReader("gmail", file, faults, partial(events, options=options, faults=faults))


def looks(path: Path) -> bool:
    """Tell whether a file may be one of Gmail's, by its beginning."""
    with path.open("rb") as file:
        begin = file.read(_BEGIN)
    keys = (b'"payload"', b'"messages"', b'"threads"', b'"raw"', b'"threadId"')
    return not begin or (begin.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in (b"{", b"[") and any(key in begin for key in keys))


def events(value: Any, options: Options, faults: Faults) -> Iterator[Event]:
    """Yield the events of a message, a thread, or a page of either. Raises UnfitError."""
    if not isinstance(value, dict):
        raise UnfitError("it is no JSON object")
    for key in ("messages", "threads"):
        if isinstance(value.get(key), list):
            for one in value[key]:
                if isinstance(one, dict) and set(one) <= {"id", "threadId", "historyId", "snippet"}:
                    faults.add(str(one.get("id"))[:100], "it is an entry of a list: fetch it whole, with format=full")
                    continue
                try:
                    yield from events(one, options, faults)
                except ValueError as error:
                    faults.add(str(one.get("id") if isinstance(one, dict) else value.get("id"))[:100], error)
            return
    if not any(isinstance(value.get(key), kind) for key, kind in (("payload", dict), ("raw", str))):
        raise UnfitError("it is neither a message nor a thread of Gmail's API")
    if "payload" not in value:
        raise UnfitError("it was fetched with format=raw: fetch it with format=full")
    yield _letter(value).event("gmail", "gmail", options.me)


def _letter(message: dict[str, Any]) -> Letter:
    id_ = message.get("id")
    if not isinstance(id_, str) or not id_:
        raise UnfitError("the message has no id")
    headers = _headers(message["payload"])
    labels = [clean(one) for one in message.get("labelIds") or [] if isinstance(one, str)][:1000]
    body, attached, of_html = _content(message["payload"])
    if "internalDate" in message:
        when = times.unix(message["internalDate"])
    else:
        try:
            when = times.of(email.utils.parsedate_to_datetime(headers.get("date", "")))
        except (ValueError, TypeError, IndexError):
            raise UnfitError("the message has no internalDate and no Date") from None
    references = ids(headers.get("references", ""))
    answered = ids(headers.get("in-reply-to", "")) or references[-1:]
    metadata = kept(
        {
            "message_id": "".join(ids(headers.get("message-id", ""))[:1]),
            "in_reply_to": "".join(answered[:1]),  # a Message-ID; events of Gmail are known by Gmail's own ids
            "snippet": message.get("snippet") if not body else "",
            "history_id": message.get("historyId"),
            "size_estimate": message.get("sizeEstimate"),
            "html": of_html,
            "labels": labels,
        }
    )
    return Letter(
        id=clean(id_),
        timestamp=when,
        subject=decoded(headers.get("subject", "")),
        sender=decoded(headers.get("from", "")),
        to=decoded(headers.get("to", "")),
        cc=decoded(headers.get("cc", "")),
        bcc=decoded(headers.get("bcc", "")),
        body=body,
        thread=clean(message.get("threadId")),
        labels=[f"gmail_label:{label}" for label in labels],
        sent="SENT" in labels,
        attachments=attached,
        metadata=metadata,
        state=_state(set(labels)),
    )


def _headers(payload: dict[str, Any]) -> dict[str, str]:
    headers = payload.get("headers")
    found: dict[str, str] = {}
    for one in (headers if isinstance(headers, list) else [])[:_HEADERS]:
        if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("value"), str):
            found.setdefault(one["name"].lower(), clean(one["value"]))
    return found


def _content(payload: dict[str, Any]) -> tuple[str, list[Attached], bool]:
    """Return a message's text, its attachments, and whether the text was made of HTML."""
    plain: list[str] = []
    pages: list[str] = []
    attached: list[Attached] = []
    for number, part in enumerate(_leaves(payload, 0)):
        if number >= _PARTS:
            break
        body = part.get("body")
        body = body if isinstance(body, dict) else {}
        kind, filename = clean(part.get("mimeType")).lower(), name(part.get("filename"))
        if kind in ("text/plain", "text/html") and not filename and "attachmentId" not in body:
            page = text(_bytes(body.get("data")), _charset(part))
            (plain if kind == "text/plain" else pages).append(page)
        elif filename or body.get("attachmentId"):
            size = body.get("size")
            attached.append(
                Attached(
                    id=name(part.get("partId")) or f"part-{number}",
                    mime=name(kind),
                    filename=filename,
                    size=size if isinstance(size, int) and 0 <= size < 1 << 53 else None,
                    metadata=kept({"gmail_attachment_id": body.get("attachmentId")}),
                )
            )
    if any(one.strip() for one in plain):
        return "\n".join(one.replace("\r\n", "\n").strip("\n") for one in plain).strip(), attached, False
    return "\n".join(html_text.text(page) for page in pages).strip(), attached, bool(pages)


def _leaves(part: dict[str, Any], deep: int) -> Iterator[dict[str, Any]]:
    below = part.get("parts")
    if not isinstance(below, list) or not below:
        yield part
        return
    if deep < _DEEPEST:
        for one in below[:_PARTS]:
            if isinstance(one, dict):
                yield from _leaves(one, deep + 1)


def _bytes(data: object) -> bytes:
    if not isinstance(data, str):
        return b""
    try:
        return base64.urlsafe_b64decode(data.encode("ascii", "replace") + b"===")
    except (binascii.Error, ValueError):
        raise UnfitError("the body of a part is not base64") from None


def _charset(part: dict[str, Any]) -> str:
    for word in _headers(part).get("content-type", "").split(";"):
        key, _, value = word.partition("=")
        if key.strip().lower() == "charset":
            return value.strip().strip('"')
    return "utf-8"


def _state(labels: set[str]) -> dict[str, bool]:
    state = {"viewed": "UNREAD" not in labels, "archived": not labels & {"INBOX", "SENT", "DRAFT"}}
    return state | ({"flagged": True} if labels & {"STARRED", "IMPORTANT"} else {})


GMAIL = Kind("gmail", _WHAT, readers)
