"""Frames that no client may send, one by one, and what the server says to them: RFC 9113."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness.http2 import Methods, Wire, chat, echo, message, serving, wait

from raftmeta.serving import Limits
from raftmeta.serving import frames as h2
from raftmeta.serving.faults import ErrorCode

METHODS: Methods = {"Unary": ("unary", echo), "Wait": ("unary", wait), "Bidi": ("bidi", chat)}
BOTH = h2.END_HEADERS | h2.END_STREAM
FIELDS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Service/Unary"),
    ("content-type", "application/grpc"),
]
Sent = Callable[[Wire], bytes]


def headers(number: int, wire: Wire, method: str = "Unary", flags: int = h2.END_HEADERS, **named: object) -> bytes:
    return h2.frame(h2.HEADERS, flags, number, wire.block(method, **named))  # type: ignore[arg-type]


def malformed(*fields: tuple[str, str], without: str = "") -> Sent:
    def sent(wire: Wire) -> bytes:
        kept = [one for one in FIELDS if one[0] != without]
        return h2.frame(h2.HEADERS, BOTH, 1, wire.encoder.encode([*kept, *fields]))

    return sent


CONNECTION: list[tuple[str, str, Sent]] = [
    ("DATA on the connection", "PROTOCOL_ERROR", lambda w: h2.frame(h2.DATA, 0, 0, b"x")),
    ("DATA on an idle stream", "PROTOCOL_ERROR", lambda w: h2.frame(h2.DATA, 0, 5, b"x")),
    ("DATA on a server's stream", "PROTOCOL_ERROR", lambda w: headers(3, w) + h2.frame(h2.DATA, 0, 2, b"x")),
    ("HEADERS on the connection", "PROTOCOL_ERROR", lambda w: headers(0, w)),
    ("HEADERS on a server's stream", "PROTOCOL_ERROR", lambda w: headers(2, w)),
    ("HEADERS on an older stream", "STREAM_CLOSED", lambda w: headers(5, w, "Wait") + headers(3, w)),
    (
        "a broken header block",
        "COMPRESSION_ERROR",
        lambda w: h2.frame(h2.HEADERS, BOTH, 1, b"\xff\xff\xff\xff\xff\xff"),
    ),
    ("an index beyond the table", "COMPRESSION_ERROR", lambda w: h2.frame(h2.HEADERS, BOTH, 1, b"\xfe")),
    ("index 0", "COMPRESSION_ERROR", lambda w: h2.frame(h2.HEADERS, BOTH, 1, b"\x80")),
    ("a table that is too large", "COMPRESSION_ERROR", lambda w: h2.frame(h2.HEADERS, BOTH, 1, b"\x3f\xe2\x1f\x82")),
    ("a table's size after a field", "COMPRESSION_ERROR", lambda w: h2.frame(h2.HEADERS, BOTH, 1, b"\x82\x20")),
    ("a string beyond its block", "COMPRESSION_ERROR", lambda w: h2.frame(h2.HEADERS, BOTH, 1, b"\x00\x05ab")),
    ("bad Huffman code", "COMPRESSION_ERROR", lambda w: h2.frame(h2.HEADERS, BOTH, 1, b"\x00\x84\xff\xff\xff\xff\x00")),
    ("a frame that is too large", "FRAME_SIZE_ERROR", lambda w: b"\x02\x00\x01" + h2.frame(h2.DATA, 0, 1)[3:]),
    ("PRIORITY of the connection", "PROTOCOL_ERROR", lambda w: h2.frame(h2.PRIORITY, 0, 0, bytes(5))),
    ("PRIORITY of another size", "FRAME_SIZE_ERROR", lambda w: h2.frame(h2.PRIORITY, 0, 1, bytes(4))),
    ("a stream that depends on itself", "PROTOCOL_ERROR", lambda w: h2.frame(h2.PRIORITY, 0, 1, b"\0\0\0\1\0")),
    (
        "HEADERS that depend on themselves",
        "PROTOCOL_ERROR",
        lambda w: h2.frame(h2.HEADERS, BOTH | h2.PRIORITIZED, 1, b"\0\0\0\1\0" + w.block()),
    ),
    (
        "HEADERS without their priority",
        "FRAME_SIZE_ERROR",
        lambda w: h2.frame(h2.HEADERS, BOTH | h2.PRIORITIZED, 1, b"\0\0"),
    ),
    ("padding without a length", "FRAME_SIZE_ERROR", lambda w: h2.frame(h2.HEADERS, BOTH | h2.PADDED, 1)),
    (
        "padding beyond HEADERS",
        "PROTOCOL_ERROR",
        lambda w: h2.frame(h2.HEADERS, BOTH | h2.PADDED, 1, b"\x08" + bytes(7)),
    ),
    (
        "padding beyond DATA",
        "PROTOCOL_ERROR",
        lambda w: headers(1, w) + h2.frame(h2.DATA, h2.PADDED, 1, b"\x08" + bytes(7)),
    ),
    ("RST_STREAM of the connection", "PROTOCOL_ERROR", lambda w: h2.frame(h2.RST_STREAM, 0, 0, bytes(4))),
    ("RST_STREAM of an idle stream", "PROTOCOL_ERROR", lambda w: h2.frame(h2.RST_STREAM, 0, 1, bytes(4))),
    (
        "RST_STREAM of another size",
        "FRAME_SIZE_ERROR",
        lambda w: headers(1, w) + h2.frame(h2.RST_STREAM, 0, 1, bytes(3)),
    ),
    ("SETTINGS on a stream", "PROTOCOL_ERROR", lambda w: h2.frame(h2.SETTINGS, 0, 1)),
    ("SETTINGS of another size", "FRAME_SIZE_ERROR", lambda w: h2.frame(h2.SETTINGS, 0, 0, bytes(5))),
    ("SETTINGS that acknowledge and set", "FRAME_SIZE_ERROR", lambda w: h2.frame(h2.SETTINGS, h2.ACK, 0, bytes(6))),
    ("ENABLE_PUSH 2", "PROTOCOL_ERROR", lambda w: h2.settings({h2.ENABLE_PUSH: 2})),
    ("a window too large", "FLOW_CONTROL_ERROR", lambda w: h2.settings({h2.INITIAL_WINDOW_SIZE: 2**31})),
    ("frames too small", "PROTOCOL_ERROR", lambda w: h2.settings({h2.MAX_FRAME_SIZE: 16383})),
    ("frames too large", "PROTOCOL_ERROR", lambda w: h2.settings({h2.MAX_FRAME_SIZE: 2**24})),
    (
        "open streams' windows too large",
        "FLOW_CONTROL_ERROR",
        lambda w: (
            headers(1, w, "Wait")
            + h2.window_update(1, 2**31 - 1 - 65535)
            + h2.settings({h2.INITIAL_WINDOW_SIZE: 65536})
        ),
    ),
    ("PUSH_PROMISE", "PROTOCOL_ERROR", lambda w: h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, bytes(4))),
    ("PING on a stream", "PROTOCOL_ERROR", lambda w: h2.frame(h2.PING, 0, 1, bytes(8))),
    ("PING of another size", "FRAME_SIZE_ERROR", lambda w: h2.frame(h2.PING, 0, 0, bytes(7))),
    ("GOAWAY on a stream", "PROTOCOL_ERROR", lambda w: h2.frame(h2.GOAWAY, 0, 1, bytes(8))),
    ("GOAWAY that is too short", "FRAME_SIZE_ERROR", lambda w: h2.frame(h2.GOAWAY, 0, 0, bytes(7))),
    ("WINDOW_UPDATE of another size", "FRAME_SIZE_ERROR", lambda w: h2.frame(h2.WINDOW_UPDATE, 0, 0, bytes(3))),
    ("WINDOW_UPDATE by 0", "PROTOCOL_ERROR", lambda w: h2.window_update(0, 0)),
    ("WINDOW_UPDATE of an idle stream", "PROTOCOL_ERROR", lambda w: h2.window_update(7, 1)),
    ("the connection's window too large", "FLOW_CONTROL_ERROR", lambda w: h2.window_update(0, 2**31 - 1)),
    ("CONTINUATION of nothing", "PROTOCOL_ERROR", lambda w: h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, b"")),
    (
        "CONTINUATION of another stream",
        "PROTOCOL_ERROR",
        lambda w: headers(1, w, flags=0) + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 3),
    ),
    (
        "PING inside a header block",
        "PROTOCOL_ERROR",
        lambda w: headers(1, w, flags=0) + h2.frame(h2.PING, 0, 0, bytes(8)),
    ),
    ("an unknown frame inside a header block", "PROTOCOL_ERROR", lambda w: headers(1, w, flags=0) + h2.frame(99, 0, 0)),
    (
        "a header block in too many pieces",
        "ENHANCE_YOUR_CALM",
        lambda w: headers(1, w, flags=0) + h2.frame(h2.CONTINUATION, 0, 1) * 100,
    ),
    (
        "a header block without end",
        "ENHANCE_YOUR_CALM",
        lambda w: headers(1, w, flags=0) + h2.frame(h2.CONTINUATION, 0, 1, bytes(16384)) * 5,
    ),
]

CONNECTION.append(
    ("a header block that is too large", "ENHANCE_YOUR_CALM", lambda w: h2.frame(h2.HEADERS, BOTH, 1, bytes(70_000)))
)

STREAM: list[tuple[str, str, Sent]] = [
    ("DATA after the end", "STREAM_CLOSED", lambda w: headers(1, w, "Wait") + _end(1) + h2.frame(h2.DATA, 0, 1, b"x")),
    ("HEADERS after the end", "STREAM_CLOSED", lambda w: headers(1, w, "Wait") + _end(1) + headers(1, w, flags=BOTH)),
    ("trailers that do not end", "PROTOCOL_ERROR", lambda w: headers(1, w) + headers(1, w)),
    ("trailers with a pseudo-header field", "PROTOCOL_ERROR", lambda w: headers(1, w) + headers(1, w, flags=BOTH)),
    (
        "DATA after RST_STREAM",
        "STREAM_CLOSED",
        lambda w: headers(1, w, "Wait") + h2.rst_stream(1, ErrorCode.CANCEL) + h2.frame(h2.DATA, 0, 1, b"x"),
    ),
    ("WINDOW_UPDATE by 0", "PROTOCOL_ERROR", lambda w: headers(1, w) + h2.window_update(1, 0)),
    ("a window too large", "FLOW_CONTROL_ERROR", lambda w: headers(1, w) + h2.window_update(1, 2**31 - 1)),
    ("no method", "PROTOCOL_ERROR", malformed(without=":method")),
    ("no scheme", "PROTOCOL_ERROR", malformed(without=":scheme")),
    ("no path", "PROTOCOL_ERROR", malformed(without=":path")),
    ("an empty path", "PROTOCOL_ERROR", malformed((":path", ""), without=":path")),
    ("a repeated pseudo-header field", "PROTOCOL_ERROR", malformed((":method", "POST"))),
    ("an unknown pseudo-header field", "PROTOCOL_ERROR", malformed((":answer", "42"))),
    ("a pseudo-header field of answers", "PROTOCOL_ERROR", malformed((":status", "200"))),
    ("a pseudo-header field too late", "PROTOCOL_ERROR", malformed((":path", "/a"), without=":path")),
    ("capital letters", "PROTOCOL_ERROR", malformed(("X-Key", "1"))),
    ("a name with a blank", "PROTOCOL_ERROR", malformed(("x key", "1"))),
    ("an empty name", "PROTOCOL_ERROR", malformed(("", "1"))),
    ("a value with a line break", "PROTOCOL_ERROR", malformed(("x", "1\r\ny: 2"))),
    ("a value with NUL", "PROTOCOL_ERROR", malformed(("x", "1\0"))),
    ("a value with a blank before it", "PROTOCOL_ERROR", malformed(("x", " 1"))),
    ("connection", "PROTOCOL_ERROR", malformed(("connection", "close"))),
    ("transfer-encoding", "PROTOCOL_ERROR", malformed(("transfer-encoding", "chunked"))),
    ("te that is not trailers", "PROTOCOL_ERROR", malformed(("te", "gzip"))),
    ("a content-length that is no number", "PROTOCOL_ERROR", malformed(("content-length", "+5"))),
    ("a content-length of no DATA", "PROTOCOL_ERROR", malformed(("content-length", "5"))),
    (
        "a content-length of less DATA",
        "PROTOCOL_ERROR",
        lambda w: (
            h2.frame(h2.HEADERS, h2.END_HEADERS, 1, w.encoder.encode([*FIELDS, ("content-length", "3")])) + _end(1)
        ),
    ),
    (
        "DATA beyond the window",
        "FLOW_CONTROL_ERROR",
        lambda w: headers(1, w, "Bidi") + h2.frame(h2.DATA, 0, 1, message(bytes(9000)) + bytes(5)) * 8,
    ),
]


def _end(number: int) -> bytes:
    return h2.frame(h2.DATA, h2.END_STREAM, number, message(b"x"))


@pytest.mark.parametrize(("code", "sent"), [pytest.param(c, s, id=name) for name, c, s in CONNECTION])
async def test_a_fault_of_the_connection_ends_it_with_its_code_and_no_other(code: str, sent: Sent) -> None:
    async with serving(METHODS) as server, Wire.to(server) as other, Wire.to(server) as wire:
        wire.send(sent(wire))
        assert await wire.fault() == ("connection", code)
        await wire.ended()
        other.request(1, "Unary", message(b"still here"))
        assert (await other.answer(1)).messages == [b"still here"]


@pytest.mark.parametrize(("code", "sent"), [pytest.param(c, s, id=name) for name, c, s in STREAM])
async def test_a_fault_of_a_stream_ends_it_and_the_connection_goes_on(code: str, sent: Sent) -> None:
    async with serving(METHODS, Limits(stream_window=65_535)) as server, Wire.to(server) as wire:
        wire.send(sent(wire))
        assert await wire.fault() == ("stream", code)
        wire.request(9, "Unary", message(b"still here"))
        assert (await wire.answer(9)).messages == [b"still here"]


@pytest.mark.parametrize(
    "harmless",
    [
        h2.frame(99, 0xFF, 0, b"unknown"),
        h2.frame(99, 0xFF, 77, b""),
        h2.frame(h2.PRIORITY, 0, 77, bytes(5)),
        h2.frame(h2.GOAWAY, 0, 0, bytes(8)),
        h2.frame(h2.SETTINGS, 0, 0, b"\xff\xff\0\0\0\0"),
        h2.frame(h2.SETTINGS, h2.ACK, 0),
        h2.frame(h2.PING, h2.ACK, 0, bytes(8)),
        h2.window_update(0, 1),
        b"\0\0\4\x08\0\x80\0\0\0\0\0\0\1",
    ],
)
async def test_what_means_nothing_here_is_ignored(harmless: bytes) -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        wire.send(harmless)
        wire.request(1, "Unary", message(b"x"))
        assert (await wire.answer(1)).status == "0"


@pytest.mark.parametrize(
    "sent",
    [h2.frame(h2.PING, 0, 0, bytes(8)), h2.frame(h2.SETTINGS, h2.ACK, 0), h2.frame(h2.HEADERS, BOTH, 1, b"\x82")],
)
async def test_the_first_frame_must_be_settings(sent: bytes) -> None:
    async with serving(METHODS) as server, Wire.to(server, greet=False) as wire:
        wire.send(h2.PREFACE, sent)
        assert await wire.fault() == ("connection", "PROTOCOL_ERROR")
        await wire.ended()


@pytest.mark.parametrize("sent", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\0" * 24])
async def test_what_is_no_preface_is_refused(sent: bytes) -> None:
    async with serving(METHODS) as server, Wire.to(server, greet=False) as wire:
        wire.send(sent)
        assert await wire.fault() == ("connection", "PROTOCOL_ERROR")


async def test_a_client_of_http_1_is_told_in_its_own_language() -> None:
    async with serving(METHODS) as server, Wire.to(server, greet=False) as wire:
        await wire.frame()  # our SETTINGS, which come first whoever calls
        await wire.frame()
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await wire.rest()
    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"gRPC" in answer


async def test_padding_priority_and_continuation_change_nothing() -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        block = wire.block("Unary")
        wire.send(
            h2.frame(h2.HEADERS, h2.PADDED | h2.PRIORITIZED, 1, b"\x03" + b"\0\0\0\0\x10" + block[:5] + bytes(3)),
            h2.frame(h2.CONTINUATION, 0, 1, block[5:9]),
            h2.frame(h2.CONTINUATION, 0, 1, b""),
            h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, block[9:]),
            h2.frame(h2.DATA, h2.PADDED, 1, b"\xff" + message(b"hello")[:7] + bytes(255)),
            h2.frame(h2.DATA, 0, 1, b""),
            h2.frame(h2.DATA, h2.PADDED | h2.END_STREAM, 1, b"\x00" + message(b"hello")[7:]),
        )
        assert (await wire.answer(1)).messages == [b"hello"]


async def test_a_ping_is_answered_with_its_own_bytes() -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        wire.send(h2.frame(h2.PING, 0, 0, b"12345678"))
        found = await wire.until(h2.PING)
    assert (found.flags, found.payload) == (h2.ACK, b"12345678")


async def test_trailers_of_a_client_end_its_request() -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        wire.request(1, "Unary", None)
        wire.send(
            h2.frame(h2.DATA, 0, 1, message(b"hello")), h2.frame(h2.HEADERS, BOTH, 1, wire.encoder.encode([("x", "y")]))
        )
        assert (await wire.answer(1)).messages == [b"hello"]


async def test_frames_of_a_stream_that_the_server_has_ended_are_ignored() -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        wire.request(1, "Nothing", None)
        wire.send(h2.frame(h2.DATA, 0, 1, message(b"x")))
        assert (await wire.answer(1)).status == "12"
        assert await wire.fault() == ("stream", "NO_ERROR")
        wire.send(h2.frame(h2.DATA, 0, 1, b"late"), headers(1, wire, flags=BOTH), h2.window_update(1, 5))
        wire.send(h2.rst_stream(1, ErrorCode.CANCEL))
        wire.request(3, "Unary", message(b"x"))
        assert (await wire.answer(3)).status == "0"
    assert [one for one in wire.seen if one.kind == h2.GOAWAY] == []


@pytest.mark.parametrize(
    ("method", "kind", "status"),
    [
        ("POST", "application/json", "415"),
        ("POST", "application/grpcish", "415"),
        ("POST", "", "415"),
        ("GET", "application/grpc", "405"),
        ("POST", "application/grpc+proto", "200"),
        ("POST", "application/grpc;charset=x", "200"),
    ],
)
async def test_what_is_no_call_is_answered_as_http(method: str, kind: str, status: str) -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        fields = [(":method", method), (":scheme", "http"), (":path", "/test.Service/Unary"), ("content-type", kind)]
        wire.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, wire.encoder.encode(fields)), _end(1))
        answer = await wire.answer(1)
    assert answer.headers[":status"] == status
    assert (b"gRPC" in answer.body) is (status != "200")
