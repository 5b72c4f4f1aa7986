"""Metadata, timeouts and messages as gRPC writes them into header fields."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import TypeAlias

Pair: TypeAlias = tuple[str, str | bytes]
Metadata: TypeAlias = tuple[Pair, ...]

BINARY = "-bin"

_RESERVED_FOR_US = frozenset({"grpc-accept-encoding", "grpc-status-details-bin"})
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_KEY = re.compile(r"[0-9a-z_.-]+")
_UNSAFE = re.compile(rb"[^ -$&-~]")
_HIDDEN = re.compile(rb"[^ -~]")


def read_timeout(value: bytes) -> float:
    """Return the seconds of a `grpc-timeout` field. Raises ValueError."""
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        raise ValueError("malformed grpc-timeout")
    return int(found[1]) * _SECONDS[found[2]]


def read_pairs(name: bytes, value: bytes) -> Iterable[Pair]:
    """Return what a field says, one pair for each value of a binary one. Raises ValueError."""
    key = name.decode("ascii")
    if not key.endswith(BINARY):
        return ((key, value.decode("utf-8", "replace")),)
    return [(key, _from_base64(one)) for one in value.split(b",")]


def write_pair(key: str, value: str | bytes) -> tuple[bytes, bytes]:
    """Return the field of a pair. Raises ValueError for a key or value that cannot be sent."""
    if _KEY.fullmatch(key) is None or (key.startswith("grpc-") and key not in _RESERVED_FOR_US):
        raise ValueError(f"{key!r} is no key for metadata")
    if key.endswith(BINARY):
        data = value.encode() if isinstance(value, str) else value
        return key.encode(), base64.b64encode(data).rstrip(b"=")
    text = value.encode() if isinstance(value, str) else value
    if _HIDDEN.search(text):
        raise ValueError(f"the value of {key} has characters that metadata cannot carry")
    return key.encode(), text


def write_message(text: str) -> bytes:
    """Return a status message percent-encoded."""
    data = text.encode("utf-8", "replace")
    return _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], data)


def _from_base64(text: bytes) -> bytes:
    text = text.strip()
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("malformed binary metadata") from None
