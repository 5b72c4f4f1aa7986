"""Page tokens of what is not listed by columns: ways through the tree, contents of turns."""

from __future__ import annotations

import base64
import hashlib
import json

from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid, PageTokenInvalid

PAGE, MOST = 100, 1000
_SEAL = 8
_LONGEST = 8192


def page_size(given: int) -> int:
    """Return how many items a page has at most. Raises FieldInvalid."""
    if not 0 <= given <= MOST:
        raise FieldInvalid.of("page_size", f"0 to {MOST} are taken")
    return given or PAGE


def encode(zone: str, request: Message, *values: str | int) -> str:
    """Return the token of the page of `request` that `values` describe."""
    content = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_seal(zone, request, content) + content).decode().rstrip("=")


def decode(zone: str, request: Message, text: str, *kinds: type) -> list[str | int] | None:
    """Return the values of a token, of `kinds`; None for an empty one.

    Raises PageTokenInvalid where it was not made for the same request in the same zone.
    """
    if not text:
        return None
    if len(text) <= _LONGEST:
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            content = raw[_SEAL:]
            if raw[:_SEAL] == _seal(zone, request, content):
                values: list[str | int] = json.loads(content)
                if [type(one) for one in values] == list(kinds):
                    return values
        except (ValueError, RecursionError):
            pass
    told = "is not one of ours, or belongs to another request"
    raise PageTokenInvalid(f"the page token {told}", violations={"page_token": told})


def _seal(zone: str, request: Message, content: bytes) -> bytes:
    same = type(request)()
    same.CopyFrom(request)
    for name in ("page_size", "page_token"):
        same.ClearField(name)
    said = b"\0".join((type(request).DESCRIPTOR.full_name.encode(), zone.encode(), content))
    return hashlib.sha256(said + b"\0" + same.SerializeToString(deterministic=True)).digest()[:_SEAL]
