"""The parts of a MIME message: its text, its attachments, its headers as people read them."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator
from email.errors import MessageError
from email.header import decode_header
from email.message import Message

from quartet_server.importers import html_text
from quartet_server.importers.items import Attached
from quartet_server.importers.text import clean, kept, name

BROKEN = (MessageError, ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
"""What Python's parser of messages raises at broken ones."""
_DEEPEST = 30
_PARTS = 1000
_HEADER = 64 << 10
_FOLD = re.compile(r"\r?\n[ \t]*|[\r\n]")


def header(message: Message, key: str) -> str:
    """Return a header's text, decoded and on one line; empty when it is not there or is nothing but rubbish."""
    try:
        raw = message.get(key)
    except BROKEN:
        return ""
    return decoded(str(raw)) if raw is not None else ""


def decoded(raw: str) -> str:
    """Return the text of a header as it stands in a message; what cannot be decoded stays as it is."""
    raw = _FOLD.sub(" ", raw[:_HEADER])
    if "=?" not in raw:
        return clean(_utf8(raw)).strip()
    try:
        pieces = [
            piece if isinstance(piece, str) else text(piece, charset or "ascii")
            for piece, charset in decode_header(raw)
        ]
    except BROKEN:
        return clean(_utf8(raw)).strip()
    return clean("".join(pieces)).strip()


def _utf8(raw: str) -> str:
    """Return a header that was written in UTF-8 without saying so, which arrives as half characters."""
    try:
        return raw.encode("ascii", "surrogateescape").decode(errors="replace") if not raw.isascii() else raw
    except UnicodeEncodeError:
        return raw


def text(data: bytes, charset: str) -> str:
    """Return text in a character set that may be unknown or a lie."""
    try:
        known = codecs.lookup(charset)
        if getattr(known, "_is_text_encoding", False):  # not one of those that unpack
            return clean(data.decode(known.name, "replace"))
    except (LookupError, ValueError):
        pass
    return clean(data.decode("utf-8", "replace"))


def leaves(message: Message, deep: int = 0) -> Iterator[Message]:
    """Yield the parts that have no parts; a message within the message is one."""
    payload = message.get_payload()
    if not isinstance(payload, list) or (deep and message.get_content_maintype() == "message"):
        yield message
        return
    if deep < _DEEPEST:
        for part in payload[:_PARTS]:
            if isinstance(part, Message):
                yield from leaves(part, deep + 1)


def parts(message: Message) -> tuple[str, list[Attached], bool]:
    """Return a message's text, its attachments, and whether the text was made of HTML."""
    plain: list[str] = []
    pages: list[str] = []
    attached: list[Attached] = []
    for number, part in enumerate(leaves(message)):
        if number >= _PARTS:
            break
        kind = part.get_content_type()
        filename = _filename(part)
        if kind in ("text/plain", "text/html") and not filename and part.get_content_disposition() != "attachment":
            data = part.get_payload(decode=True)
            page = text(data, _charset(part)) if isinstance(data, bytes) else ""
            (plain if kind == "text/plain" else pages).append(page)
        else:
            attached.append(_attachment(part, number, kind, filename))
    if any(one.strip() for one in plain):
        return "\n".join(one.replace("\r\n", "\n").strip("\n") for one in plain).strip(), attached, False
    return "\n".join(html_text.text(page) for page in pages).strip(), attached, bool(pages)


def _attachment(part: Message, number: int, kind: str, filename: str) -> Attached:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    digest = hashlib.sha256(data).hexdigest() if data else ""
    content_id = header(part, "Content-ID").strip("<> ")
    return Attached(
        id=f"part-{number}",
        mime=name(kind),
        filename=filename,
        size=len(data) if data else None,
        digest=f"sha256:{digest}" if digest else "",
        metadata=kept({"content_id": content_id}),
    )


def _filename(part: Message) -> str:
    try:
        return name(decoded(part.get_filename() or ""))
    except BROKEN:
        return "unnamed"


def _charset(part: Message) -> str:
    try:
        return str(part.get_content_charset() or "utf-8")
    except BROKEN:
        return "utf-8"
