"""Page tokens: where in an order the next page begins, tied to the request they continue.

They are no secret and no permission: whoever makes one up sees rows of his own zone, from another place on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quartet_server.errors import PageTokenInvalid
from quartet_server.record_errors import ColumnUnusable
from quartet_server.records.fields import Kind
from quartet_server.records.ordering import Order
from quartet_server.records.schema import Record

MAX_TEXT = 4096
"""Longest text by which a page can begin, in characters."""
_MAX_TOKEN = 128 * 1024
_VERSION = b"\x01"
_ORIGIN, _REQUEST, _CONTENT = 4, 8, 4  # bytes of each checksum
_HEAD = len(_VERSION) + _ORIGIN + _REQUEST + _CONTENT
_INTEGER = 2**63


@dataclass(frozen=True, slots=True)
class Seal:
    """What a token is tied to.

    Attributes:
        origin: Names the method, its record and the zone.
        request: Names the order, the filter and every other condition.
    """

    origin: bytes
    request: bytes

    @classmethod
    def of(cls, zone: str, record: Record[Any], order: Order, method: str, request: str) -> Seal:
        """Return the seal of a request in `zone`; `request` is all that must be the same on each page."""
        origin = _digest(zone, record.database, record.name, method)
        said = _digest(*order.columns, "".join("-" if down else "+" for down in order.descending), request)
        return cls(origin[:_ORIGIN], said[:_REQUEST])


def encode(seal: Seal, values: Sequence[Any]) -> str:
    """Return the token of the page that begins behind the row with `values`, the columns of its order."""
    content = json.dumps(list(values), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return _text(_VERSION + seal.origin + seal.request + _content(seal, content) + content)


def decode(text: str, seal: Seal, record: Record[Any], order: Order) -> tuple[Any, ...]:
    """Return the values behind which a page begins, each of its column's type. Raises PageTokenInvalid."""
    if len(text) > _MAX_TOKEN:
        raise _invalid("malformed")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise _invalid("malformed") from None
    origin, request, check = raw[1 : 1 + _ORIGIN], raw[1 + _ORIGIN : _HEAD - _CONTENT], raw[_HEAD - _CONTENT : _HEAD]
    content = raw[_HEAD:]
    if raw[:1] != _VERSION or _text(raw) != text or check != _content(Seal(origin, request), content):
        raise _invalid("malformed")
    if origin != seal.origin:
        raise _invalid("foreign")
    if request != seal.request:
        raise _invalid("stale")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise _invalid("malformed") from None
    if not isinstance(values, list) or len(values) != len(order.columns):
        raise _invalid("malformed")
    return tuple(_typed(record.fields[name].kind, value) for name, value in zip(order.columns, values, strict=True))


def check_text(name: str, value: object) -> None:
    """Let pass what a token can hold. Raises ColumnUnusable for a text of column `name` that is too long for one."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ColumnUnusable(
            f"order_by: {name} has a text of {len(value)} characters, and a page begins by {MAX_TEXT} at most",
            violations={"order_by": f"{name} has texts that are too long"},
            column=name,
        )


def _typed(kind: Kind, value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool) and -_INTEGER <= value < _INTEGER
    match kind:
        case Kind.TEXT | Kind.ENUM:
            if isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value and _encodes(value):
                return value
        case Kind.INTEGER | Kind.TIME:
            if whole:
                return value
        case Kind.BOOLEAN:
            if value in (0, 1) and isinstance(value, int):
                return bool(value)
        case _:
            if (whole or isinstance(value, float)) and math.isfinite(value):  # type: ignore[arg-type]
                return float(value)  # type: ignore[arg-type]
    raise _invalid("malformed")


def _encodes(text: str) -> bool:
    return not any("\ud800" <= one <= "\udfff" for one in text)


_TOLD = {
    "malformed": "the page token is not one of ours",
    "foreign": "the page token belongs to another method or zone",
    "stale": "the page token belongs to another filter, order or selection",
}


def _invalid(kind: str) -> PageTokenInvalid:
    return PageTokenInvalid(_TOLD[kind], violations={"page_token": _TOLD[kind]}, kind=kind)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _content(seal: Seal, content: bytes) -> bytes:
    return hashlib.sha256(seal.origin + seal.request + content).digest()[:_CONTENT]


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(f"{len(part)}:{part}" for part in parts).encode()).digest()
