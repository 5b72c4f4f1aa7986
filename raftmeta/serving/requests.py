"""The head of a request: what its header fields ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import grpc

from raftmeta.serving.faults import ErrorCode, Refusal, StreamFault
from raftmeta.serving.fields import Field, list_size
from raftmeta.serving.messages import ENCODINGS
from raftmeta.serving.metadata import Metadata, Pair, read_pairs, read_timeout
from raftmeta.serving.methods import Method

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?![ \t])[^\0\r\n]*(?<![ \t])")
_CONTENT_TYPE = re.compile(rb"application/grpc(?:$|[+;])")
_CONNECTION_SPECIFIC = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
_OWN = {b"te", b"content-type", b"content-length", b"grpc-accept-encoding", b"grpc-encoding", b"grpc-timeout"}


@dataclass(slots=True)
class Head:
    """What the fields of a request say. Shared by all requests of a connection that sent the same block.

    Attributes:
        method: What to call; None when the request cannot be served, for one of the next two reasons.
        refusal: Why it is answered with a gRPC status right away.
        http_status: Why it is answered without one: it is no gRPC call.
        timeout: Seconds the caller gives it.
        metadata: What the caller says besides.
        encoding: How its messages may be compressed.
        length: Bytes of DATA that were announced.
    """

    method: Method | None = None
    refusal: Refusal | None = None
    http_status: int = 0
    timeout: float | None = None
    metadata: Metadata = ()
    encoding: str = "identity"
    length: int | None = None


def read_head(fields: list[Field], find: Callable[[str], Method], limit: int) -> Head:
    """Return the head of a request; `find` gives the method of a path, or raises Refusal.

    Raises StreamFault for a request that RFC 9113 8.1.1 calls malformed.
    """
    pseudo, regular = _split(fields)
    if b":method" not in pseudo or b":scheme" not in pseudo or not pseudo.get(b":path"):
        _malformed("a request without :method, :scheme or :path")
    head = Head()
    if b"content-length" in regular:
        head.length = _length(regular[b"content-length"])
    if _CONTENT_TYPE.match(regular.get(b"content-type", b"")) is None:
        head.http_status = 415
    elif pseudo[b":method"] != b"POST":
        head.http_status = 405
    else:
        try:
            _check_size(fields, limit)
            _read_call(head, regular, fields)
            head.method = find(pseudo[b":path"].decode("utf-8", "replace"))
        except Refusal as refusal:
            head.refusal = refusal
    return head


def check_trailers(fields: list[Field]) -> None:
    """Raise StreamFault unless these fields may end a request."""
    pseudo, _ = _split(fields)
    if pseudo:
        _malformed("trailers with a pseudo-header field")


def _split(fields: list[Field]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Return pseudo-header fields and the others; of a name that comes twice among the others, the last value."""
    pseudo: dict[bytes, bytes] = {}
    regular: dict[bytes, bytes] = {}
    for name, value in fields:
        if _VALUE.fullmatch(value) is None:
            _malformed("a field's value with forbidden characters")
        if name[:1] == b":":
            if regular or name in pseudo or name not in (b":method", b":scheme", b":path", b":authority"):
                _malformed("a pseudo-header field that is late, repeated or unknown")
            pseudo[name] = value
            continue
        if _NAME.fullmatch(name) is None or name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
            _malformed("a field that HTTP/2 forbids")
        regular[name] = value
    return pseudo, regular


def _check_size(fields: list[Field], limit: int) -> None:
    if list_size(fields) > limit:
        raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, f"metadata of more than {limit} bytes")


def _read_call(head: Head, regular: dict[bytes, bytes], fields: list[Field]) -> None:
    try:
        timeout = regular.get(b"grpc-timeout")
        if timeout is not None:
            head.timeout = read_timeout(timeout)
        pairs: list[Pair] = []
        for name, value in fields:
            if name not in _OWN and name[:1] != b":":
                pairs += read_pairs(name, value)
        head.metadata = tuple(pairs)
    except ValueError as error:
        raise Refusal(grpc.StatusCode.INTERNAL, str(error)) from None
    encoding = regular.get(b"grpc-encoding", b"identity").decode("ascii", "replace")
    if encoding not in ENCODINGS:
        raise Refusal(
            grpc.StatusCode.UNIMPLEMENTED,
            f"grpc: Decompressor is not installed for grpc-encoding {encoding[:64]!r}",
            (("grpc-accept-encoding", ",".join(ENCODINGS)),),
        )
    head.encoding = encoding


def _length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        _malformed("a content-length that is no number")
    return int(value)


def _malformed(message: str) -> NoReturn:
    raise StreamFault(ErrorCode.PROTOCOL_ERROR, message)
