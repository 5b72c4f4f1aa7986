"""HTTP/2 by hand (RFC 9113): frames and header blocks exactly as asked, right or wrong."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable
from types import TracebackType

from harness.http2 import message

from raftmeta.serving import frames as h2

LARGEST = (1 << 14) - 1
_PATIENCE = 2.0
"""Seconds for which an attacker waits for a server that takes no more of it: refusing to read is a fine answer."""


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """Build a frame; `length` is what it says of its length, if that is not the truth."""
    told = len(payload) if length is None else length
    return struct.pack(">I", told)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """Build a SETTINGS frame."""
    return frame(h2.SETTINGS, payload=b"".join(struct.pack(">HI", key, value) for key, value in pairs))


def integer(number: int, bits: int, first: int = 0) -> bytes:
    """Encode an integer with a prefix of some bits (RFC 7541, 5.1); `first` holds the bits before the prefix."""
    limit = (1 << bits) - 1
    if number < limit:
        return bytes((first | number,))
    encoded = bytearray((first | limit,))
    number -= limit
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def literal(name: bytes, value: bytes, *, indexed: bool = False) -> bytes:
    """Encode a header field as a literal, put into the dynamic table if `indexed`."""
    head = b"\x40" if indexed else b"\x00"
    return head + integer(len(name), 7) + name + integer(len(value), 7) + value


def request(path: bytes, *extra: tuple[bytes, bytes], without: Iterable[bytes] = ()) -> bytes:
    """Encode the headers of a gRPC call, with more of them or without some."""
    usual = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"),
        (b"te", b"trailers"), (b"content-type", b"application/grpc"),
    )  # fmt: skip
    left_out = set(without)
    return b"".join(literal(name, value) for name, value in (*usual, *extra) if name not in left_out)


def call(stream: int, path: bytes, payload: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """Build the frames of a unary call."""
    head = frame(h2.HEADERS, h2.END_HEADERS, stream, request(path, *extra))
    return head + frame(h2.DATA, h2.END_STREAM, stream, message(payload))


class Wire:
    """A plain connection. What cannot be sent, or has been closed by the other end, is not sent, and no error."""

    def __init__(self, endpoint: str, *, greet: bool = True) -> None:
        """Connect; `greet` sends preface and settings as a client should."""
        host, _, port = endpoint.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.settimeout(_PATIENCE)
        self.open = True
        if greet:
            self.send(h2.PREFACE + settings())

    def send(self, *data: bytes) -> bool:
        """Send; False when the other end took not all of it."""
        try:
            for piece in data:
                if not self.open:
                    return False
                self._socket.sendall(piece)
        except OSError:
            self.open = False
        return self.open

    def drain(self, seconds: float = 0.3) -> bytes:
        """Read what comes, until nothing comes for a while or the connection is closed; at most a MiB."""
        found = bytearray()
        until = time.monotonic() + 10 * seconds
        self._socket.settimeout(seconds)
        with contextlib.suppress(OSError):
            while len(found) < 1 << 20 and time.monotonic() < until and (data := self._socket.recv(1 << 16)):
                found += data
        self._socket.settimeout(_PATIENCE)
        return bytes(found)

    def half_close(self) -> None:
        """Say that nothing more will come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of the connection."""
        self._socket.close()

    def __enter__(self) -> Wire:
        """Return the connection."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
