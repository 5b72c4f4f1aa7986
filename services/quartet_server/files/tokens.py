"""Page tokens: where the next page begins, tied to the request they continue."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import FieldInvalid, PageTokenInvalid

MOST = 1000
"""The most items of a page."""
MESSAGE = (4 << 20) - 64 * 1024
"""The most bytes of an answer: a gRPC message has 4 MiB, and the rest of it needs some."""
_PAGE = 100
_Token = TypeVar("_Token", bound=storage_pb2.PageToken)


def page_size(given: int) -> int:
    """Return how many items a page has at most, 1 to 1,000. Raises FieldInvalid."""
    if not 0 <= given <= MOST:
        raise FieldInvalid.of("page_size", f"0 to {MOST} are taken")
    return given or _PAGE


def encode(token: Message) -> str:
    """Return a token as text."""
    return base64.urlsafe_b64encode(token.SerializeToString()).decode()


def decode(text: str, kind: type[_Token], checksum: bytes) -> _Token:
    """Return the token that `text` is; a new one for an empty text. Raises PageTokenInvalid."""
    if not text:
        return kind(checksum=checksum)
    try:
        token = kind.FromString(base64.urlsafe_b64decode(text.encode()))
    except (binascii.Error, DecodeError, ValueError):
        raise PageTokenInvalid("the page token is not one of ours") from None
    if token.checksum != checksum:
        raise PageTokenInvalid("the page token belongs to another request")
    return token


def checksum(zone: str, request: Message) -> bytes:
    """Return what ties a token to the request it continues: a hash of all of it but the page."""
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("page_size")
    same.ClearField("page_token")
    return hashlib.sha256(zone.encode() + b"\0" + same.SerializeToString(deterministic=True)).digest()[:8]
