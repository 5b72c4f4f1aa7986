"""HTTP/2 frames as bytes: RFC 9113 sections 4 and 6."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from raftmeta.serving.faults import ConnectionFault, ErrorCode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = 9
"""Bytes of a frame before its payload."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)

FRAME_SIZE = 16_384
"""Largest payload that any peer takes, and that we send without having been asked for larger ones."""
LARGEST = 131_072
"""Largest payload that we take, and that we send to a peer that takes such: large messages cost less in large frames."""
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535

_setting = struct.Struct(">HI")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def data_header(size: int, stream: int) -> bytes:
    """Return what comes before the payload of a DATA frame that ends nothing."""
    return b"%b\0\0%b" % (size.to_bytes(3, "big"), stream.to_bytes(4, "big"))


def settings(values: Mapping[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_setting.pack(*item) for item in values.items()))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield identifier and value of each setting, checked. Raises ConnectionFault."""
    if len(payload) % _setting.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a length that is no multiple of 6")
    for key, value in _setting.iter_unpack(payload):
        if key == ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH that is neither 0 nor 1")
        if key == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2^31-1")
        if key == MAX_FRAME_SIZE and not FRAME_SIZE <= value < 2**24:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE outside of 2^14 to 2^24-1")
        yield key, value


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """Return an RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: ErrorCode, message: str = "") -> bytes:
    """Return a GOAWAY frame."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + message.encode()[:1000])


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def header_frames(stream: int, block: bytes, flags: int) -> bytes:
    """Return a header block as HEADERS and, where it is large, CONTINUATION frames."""
    if len(block) <= FRAME_SIZE:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    pieces = [block[at : at + FRAME_SIZE] for at in range(0, len(block), FRAME_SIZE)]
    first = frame(HEADERS, flags, stream, pieces[0])
    middle = [frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
    return b"".join((first, *middle, frame(CONTINUATION, END_HEADERS, stream, pieces[-1])))


def unpadded(payload: bytes | memoryview) -> bytes | memoryview:
    """Return the payload of a PADDED frame without its padding. Raises ConnectionFault."""
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without the length of its padding")
    end = len(payload) - payload[0]
    if end < 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1:end]
