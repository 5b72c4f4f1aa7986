"""Page tokens of snapshots, tied to the request they continue as those of files are."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from google.protobuf.message import DecodeError
from quartet.snapshots.storage.v1 import storage_pb2 as storage

from quartet_server.errors import PageTokenInvalid
from quartet_server.files import tokens
from quartet_server.files.principals import current


def decode(zone: str, request: Any) -> storage.PageToken:
    """Return the token of a request; a new one for its first page. Raises PageTokenInvalid."""
    checksum = tokens.checksum(f"{zone}\0{current()}", request)
    if not request.page_token:
        return storage.PageToken(checksum=checksum)
    try:
        token = storage.PageToken.FromString(base64.urlsafe_b64decode(request.page_token.encode()))
    except (binascii.Error, DecodeError, ValueError):
        raise PageTokenInvalid("the page token is not one of ours") from None
    if token.checksum != checksum:
        raise PageTokenInvalid("the page token belongs to another request")
    return token


def encode(token: storage.PageToken, following: bytes) -> str:
    """Return the token of the page that begins at `following`."""
    token.next = following
    return tokens.encode(token)
