"""What can be done to an HTTP/2 port on purpose: each attack by its name, as what one connection does."""

from __future__ import annotations

import struct
from collections.abc import Callable

from fuzz.http2 import LARGEST, Wire, call, frame, integer, literal, request, settings
from harness.http2 import message

from raftmeta.serving import frames as h2

RANGE = b"/etcdserverpb.KV/Range"
WATCH = b"/etcdserverpb.Watch/Watch"
KEY = b"\x0a\x04sane"
WATCH_ALL = b"\x0a\x06\x0a\x01\x00\x12\x01\x00"
MANY = 20_000
_CANCEL = struct.pack(">I", 8)

Attack = Callable[[Wire], None]


def _sends(*data: bytes) -> Attack:
    def send(wire: Wire) -> None:
        wire.send(*data)

    return send


def _head(stream: int, block: bytes, flags: int = h2.END_HEADERS) -> bytes:
    return frame(h2.HEADERS, flags, stream, block)


def _rapid_reset(wire: Wire) -> None:
    for stream in range(1, MANY, 2):
        if not wire.send(_head(stream, request(RANGE)) + frame(h2.RST_STREAM, 0, stream, _CANCEL)):
            return


def _reset_after_call(wire: Wire) -> None:
    for stream in range(1, MANY // 4, 2):
        if not wire.send(call(stream, RANGE, KEY) + frame(h2.RST_STREAM, 0, stream, _CANCEL)):
            return


def _many_open_streams(wire: Wire) -> None:
    for stream in range(1, MANY, 2):
        if not wire.send(_head(stream, request(WATCH))):
            return


def _continuation_flood(wire: Wire) -> None:
    wire.send(_head(1, request(RANGE), flags=0))
    for number in range(MANY // 2):
        block = literal(b"x-%d" % number, b"a" * 4000) * 4
        if not wire.send(frame(h2.CONTINUATION, 0, 1, block)):
            return


def _empty_continuations(wire: Wire) -> None:
    wire.send(_head(1, request(RANGE), flags=0))
    for _ in range(MANY // 100):
        if not wire.send(frame(h2.CONTINUATION, 0, 1) * 100):
            return


def _hpack_bomb(wire: Wire) -> None:
    """Put one long field into the table and then name it thousands of times, in many streams."""
    long = literal(b"x-long", b"a" * 3900, indexed=True)
    wire.send(_head(1, request(RANGE) + long))
    again = integer(62, 7, 0x80) * 12_000
    for stream in range(3, 401, 2):
        if not wire.send(_head(stream, request(RANGE) + again)):
            return


def _empty_data(wire: Wire) -> None:
    wire.send(_head(1, request(WATCH)))
    for _ in range(MANY // 100):
        if not wire.send(frame(h2.DATA, 0, 1) * 100):
            return


def _flood(one: bytes) -> Attack:
    def flood(wire: Wire) -> None:
        for _ in range(MANY // 100):
            if not wire.send(one * 100):
                return

    return flood


def _zero_window(wire: Wire) -> None:
    """Ask for much and take nothing of it."""
    wire.send(settings((4, 0)))
    everything = b"\x0a\x01\x00\x12\x01\x00"
    for stream in range(1, 201, 2):
        if not wire.send(call(stream, RANGE, everything)):
            return


def _stalled_watches(wire: Wire) -> None:
    """Watch everything in many streams with no window to be told anything."""
    wire.send(settings((4, 0)))
    for stream in range(1, 201, 2):
        if not wire.send(_head(stream, request(WATCH)), frame(h2.DATA, 0, stream, message(WATCH_ALL))):
            return


def _dribbled(wire: Wire) -> None:
    """Send a message of the largest size in the smallest pieces."""
    wire.send(_head(1, request(b"/etcdserverpb.KV/Put")), frame(h2.DATA, 0, 1, struct.pack(">BI", 0, 4 << 20)))
    for _ in range(MANY // 100):
        if not wire.send(frame(h2.DATA, 0, 1, b"\0") * 100):
            return


BROKEN_CALLS: dict[str, Attack] = {
    "no message": _sends(_head(1, request(RANGE), h2.END_HEADERS | h2.END_STREAM)),
    "two messages": _sends(_head(1, request(RANGE)), frame(h2.DATA, h2.END_STREAM, 1, message(KEY) * 2)),
    "a message cut short": _sends(_head(1, request(RANGE)), frame(h2.DATA, h2.END_STREAM, 1, message(KEY)[:-2])),
    "half a length": _sends(_head(1, request(RANGE)), frame(h2.DATA, h2.END_STREAM, 1, b"\0\0")),
    "a message said to have 4 GiB": _sends(_head(1, request(RANGE)), frame(h2.DATA, 0, 1, message(KEY, length=2**32 - 1))),
    "a message said to be compressed": _sends(_head(1, request(RANGE)), frame(h2.DATA, h2.END_STREAM, 1, message(KEY, flag=1))),
    "an unknown flag": _sends(_head(1, request(RANGE)), frame(h2.DATA, h2.END_STREAM, 1, message(KEY, flag=255))),
    "an unknown compression": _sends(call(1, RANGE, KEY, (b"grpc-encoding", b"zip-bomb"))),
    "trailers from the client": _sends(
        _head(1, request(RANGE)),
        frame(h2.DATA, 0, 1, message(KEY)),
        _head(1, literal(b"x", b"y"), h2.END_HEADERS | h2.END_STREAM),
    ),
    "trailers that do not end": _sends(_head(1, request(RANGE)), _head(1, literal(b"x", b"y"))),
    "data after the end": _sends(call(1, RANGE, KEY), frame(h2.DATA, h2.END_STREAM, 1, message(KEY)) * 3),
    "another content type": _sends(_head(1, request(RANGE, (b"content-type", b"text/html"), without=[b"content-type"]))),
    "another method": _sends(_head(1, request(RANGE, (b":method", b"GET"), without=[b":method"]), h2.END_HEADERS | h2.END_STREAM)),
    "no path": _sends(_head(1, request(RANGE, without=[b":path"]))),
    "two paths": _sends(_head(1, request(RANGE, (b":path", RANGE)))),
    "a path of nothing": _sends(_head(1, request(b""))),
    "a path of bytes": _sends(call(1, b"\xff\x00/../" * 30, KEY)),
    "a path that is long": _sends(_head(1, request(b"/" + b"a" * 12_000))),
    "an unknown pseudo-header": _sends(_head(1, request(RANGE, (b":x", b"y")))),
    "a pseudo-header at the end": _sends(_head(1, request(RANGE, (b":authority", b"y")))),
    "capitals in a name": _sends(_head(1, request(RANGE, (b"X-Y", b"z")))),
    "control characters in a value": _sends(_head(1, request(RANGE, (b"hasleader", b"a\r\nb\0c")))),
    "a header without a name": _sends(_head(1, request(RANGE, (b"", b"x")))),
    "binary metadata that is none": _sends(call(1, RANGE, KEY, (b"x-bin", b"!!!not base64"))),
    "many headers": _sends(_head(1, request(RANGE, *((b"x-%d" % n, b"y") for n in range(1500))))),
    "connection headers": _sends(_head(1, request(RANGE, (b"connection", b"keep-alive"), (b"transfer-encoding", b"chunked")))),
    **{
        f"a timeout of {text!r}": _sends(call(1, RANGE, KEY, (b"grpc-timeout", text.encode())))
        for text in ("", "0n", "-1S", "1", "S", "999999999H", "99999999H", "1e9S", "1x", "\xb2S")
    },
}  # fmt: skip

BROKEN_FRAMES: dict[str, Attack] = {
    "a frame longer than allowed": _sends(frame(h2.DATA, 0, 1, b"x" * 100_000)),
    "a frame said to be the longest": _sends(frame(h2.HEADERS, h2.END_HEADERS, 1, b"x" * 100, length=(1 << 24) - 1)),
    "headers on stream 0": _sends(_head(0, request(RANGE))),
    "an even stream": _sends(_head(2, request(RANGE))),
    "streams going down": _sends(call(9, RANGE, KEY), call(3, RANGE, KEY)),
    "the last stream and one more": _sends(call(2**31 - 1, RANGE, KEY), call(1, RANGE, KEY)),
    "a stream opened twice": _sends(call(1, RANGE, KEY), call(1, RANGE, KEY)),
    "data on a stream that is idle": _sends(frame(h2.DATA, 0, 7, b"x")),
    "a reset of a stream that is idle": _sends(frame(h2.RST_STREAM, 0, 7, _CANCEL)),
    "a reset of stream 0": _sends(frame(h2.RST_STREAM, 0, 0, _CANCEL)),
    "a reset of the wrong length": _sends(_head(1, request(RANGE)), frame(h2.RST_STREAM, 0, 1, b"x")),
    "a push from a client": _sends(frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, b"\0\0\0\2")),
    "a continuation of nothing": _sends(frame(h2.CONTINUATION, h2.END_HEADERS, 1, request(RANGE))),
    "headers interrupted": _sends(_head(1, request(RANGE), flags=0), frame(h2.PING, payload=b"8 bytes.")),
    "headers continued elsewhere": _sends(_head(1, request(RANGE), flags=0), frame(h2.CONTINUATION, h2.END_HEADERS, 3)),
    "more padding than frame": _sends(_head(1, b"\xff" + request(RANGE), h2.END_HEADERS | h2.PADDED)),
    "padding without a length": _sends(_head(1, b"", h2.END_HEADERS | h2.PADDED)),
    "a stream that depends on itself": _sends(_head(1, b"\0\0\0\1\xff" + request(RANGE), h2.END_HEADERS | h2.PRIORITIZED)),
    "a priority cut short": _sends(frame(h2.PRIORITY, 0, 1, b"\0")),
    "settings of the wrong length": _sends(frame(h2.SETTINGS, payload=b"12345")),
    "settings on a stream": _sends(frame(h2.SETTINGS, stream=1)),
    "an acknowledgement that says something": _sends(frame(h2.SETTINGS, h2.ACK, payload=b"123456")),
    "the largest settings": _sends(settings(*((key, 2**32 - 1) for key in (1, 2, 3, 4, 5, 6, 99)))),
    "no settings at all": _sends(settings(*((key, 0) for key in range(1, 7))), call(1, RANGE, KEY)),
    "acknowledgements nobody asked for": _sends(frame(h2.SETTINGS, h2.ACK) * 200),
    "a window that overflows": _sends(frame(h2.WINDOW_UPDATE, payload=struct.pack(">I", 2**31 - 1)) * 2),
    "a window of a stream that overflows": _sends(
        _head(1, request(WATCH)), frame(h2.WINDOW_UPDATE, 0, 1, struct.pack(">I", 2**31 - 1)) * 2
    ),
    "a window that grows by nothing": _sends(frame(h2.WINDOW_UPDATE, payload=bytes(4))),
    "a window of a stream that is idle": _sends(frame(h2.WINDOW_UPDATE, 0, 9, struct.pack(">I", 5))),
    "windows that shrink below zero": _sends(call(1, WATCH, WATCH_ALL), settings((4, 0)), settings((4, 2**31 - 1))),
    "a ping of the wrong length": _sends(frame(h2.PING, payload=b"x")),
    "a farewell and then more": _sends(frame(h2.GOAWAY, payload=bytes(8)), call(1, RANGE, KEY)),
    "frames nobody knows": _sends(*(frame(kind, 0xFF, kind, b"x" * kind) for kind in range(10, 256))),
    "an index of no header": _sends(_head(1, integer(4000, 7, 0x80))),
    "an index of 0": _sends(_head(1, b"\x80")),
    "an index without an end": _sends(_head(1, b"\xff" + b"\xff" * 300)),
    "a text longer than the block": _sends(_head(1, b"\x00" + integer(2**31, 7) + b"a")),
    "a Huffman code that is none": _sends(_head(1, b"\x00\x81\xff\x84\xff\xff\xff\xff")),
    "a table of the largest size": _sends(_head(1, integer(2**31, 5, 0x20) + request(RANGE))),
}  # fmt: skip

NO_GREETING: dict[str, Attack] = {
    "nothing": lambda wire: None,
    "nothing, and no more": lambda wire: wire.half_close(),
    "a preface cut short": _sends(h2.PREFACE[:10]),
    "a preface without settings": _sends(h2.PREFACE, call(1, RANGE, KEY)),
    "another protocol": _sends(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a request line without an end": _sends(b"GET /" + b"a" * 1_000_000),
    "a TLS greeting": _sends(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    "zeros": _sends(bytes(1_000_000)),
    "a code that would be run": _sends(b"cos\nsystem\n(S'exit 1'\ntR." * 100),
}

FLOODS: dict[str, Attack] = {
    "streams opened and reset": _rapid_reset,
    "calls made and reset": _reset_after_call,
    "streams that stay open": _many_open_streams,
    "headers without an end": _continuation_flood,
    "continuations of nothing": _empty_continuations,
    "a header named thousands of times": _hpack_bomb,
    "data of no length": _empty_data,
    "data of one byte": _dribbled,
    "pings": _flood(frame(h2.PING, payload=b"8 bytes.")),
    "settings": _flood(settings((3, 100))),
    "priorities": _flood(frame(h2.PRIORITY, 0, 1, bytes(5))),
    "windows": _flood(frame(h2.WINDOW_UPDATE, payload=struct.pack(">I", 1))),
    "frames of no known kind": _flood(frame(99, payload=b"x" * 100)),
    "unknown frames of the largest size": _flood(frame(99, payload=b"x" * LARGEST)),
    "answers nobody takes": _zero_window,
    "watches nobody reads": _stalled_watches,
}
