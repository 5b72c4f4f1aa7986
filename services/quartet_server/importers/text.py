"""Makes foreign text and values fit for the ledgers: no NUL, no half characters, ids of bounded length, numbers that stay exact."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from quartet_server.importers.faults import UnfitError
from quartet_server.importers.items import Json

CONTENT = 700_000
"""Bytes of an event's text that are kept; what is beyond is counted in its metadata."""
SOURCE_ID = 380
"""Bytes of an event's id at its source."""
NAME = 512
"""Bytes of other ids and names."""
_EXACT = 1 << 53
_DEEPEST = 12
_WIDEST = 1000
LONGEST = 64 << 10
"""Characters of a text within metadata."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNFIT = re.compile("[\x00\ud800-\udfff]")


def clean(value: object) -> str:
    """Return text that UTF-8 and every database can hold; anything that is no text is empty."""
    if not isinstance(value, str):
        return ""
    return _UNFIT.sub("\ufffd", value) if _UNFIT.search(value) else value


def fit_id(value: str, longest: int = SOURCE_ID) -> str:
    """Return an id that the ledgers take: itself where possible, else `sha256:` and its digest."""
    data = value.encode(errors="surrogatepass")
    if 0 < len(data) <= longest and not _CONTROL.search(value) and not _UNFIT.search(value):
        return value
    return "sha256:" + hashlib.sha256(data).hexdigest()


def name(value: object, longest: int = NAME) -> str:
    """Return text on one line, of at most `longest` bytes."""
    return _shortened(_CONTROL.sub(" ", clean(value)).strip(), longest)


def cut(text: str, metadata: dict[str, Json], longest: int = CONTENT) -> str:
    """Return the beginning of a text that is too long, and note in `metadata` how many characters are missing."""
    short = _shortened(text, longest)
    if len(short) < len(text):
        metadata["truncated_characters"] = len(text) - len(short)
    return short


def _shortened(text: str, longest: int) -> str:
    if len(text) * 4 <= longest:
        return text
    data = text.encode()
    return text if len(data) <= longest else data[:longest].decode(errors="ignore")


def fit(value: Any, deep: int = 0, longest: int = LONGEST) -> Json:
    """Return a JSON value that a Struct holds without loss: large integers as text, what is nested too deep as JSON text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return clean(value) if len(value) <= longest else clean(value[:longest]) + "…"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if deep >= _DEEPEST:
        return clean(json.dumps(value, ensure_ascii=False, default=str))[:LONGEST]
    if isinstance(value, Mapping):
        return {clean(str(key))[:512]: fit(one, deep + 1, longest) for key, one in list(value.items())[:_WIDEST]}
    if isinstance(value, list | tuple):
        return [fit(one, deep + 1, longest) for one in value[:_WIDEST]]
    return clean(str(value))


def kept(values: Mapping[str, Any]) -> dict[str, Json]:
    """Return metadata of the values that say something."""
    return {key: fit(value) for key, value in values.items() if value not in (None, "", [], {}, False)}


def parse(data: str | bytes, what: str = "a line") -> Any:
    """Return the JSON value in `data`. Raises UnfitError: broken, not finite, nested too deep, not UTF-8."""
    try:
        return json.loads(data, parse_constant=no_constant)
    except RecursionError:
        raise UnfitError(f"{what} is nested too deep") from None
    except UnicodeDecodeError as error:
        raise UnfitError(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from None
    except ValueError as error:
        raise UnfitError(f"{what} is not JSON: {error}") from None


def no_constant(name: str) -> float:
    """Refuse NaN and Infinity, which Python would take for numbers."""
    raise ValueError(f"{name} is no JSON")
