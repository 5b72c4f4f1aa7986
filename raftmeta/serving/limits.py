"""What callers may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """The bounds that whoever runs a server chooses."""

    message_bytes: int = 4 * 1024**2
    """Largest message that is taken, in bytes, after decompression."""
    concurrent_calls: int = 10_000
    """Calls in flight, streams included, after which new ones get RESOURCE_EXHAUSTED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(CallLimits):
    """Bounds of one server; all of them hold at once."""

    connections: int = 10_000
    """Connections after which new ones are closed unread."""
    handshakes: int = 1_000
    """TLS handshakes at once; more connections wait in the kernel's queue."""
    streams: int = 2_500
    """Calls open on one connection; told to the peer, and one above it is refused. Not all: one peer must not have all."""
    header_bytes: int = 16 * 1024
    """Size of a request's header list as RFC 9113 6.5.2 counts it: names, values and 32 for each field."""
    stream_window: int = 1024**2
    """Bytes of a request that a peer may send before they are taken by the call."""
    connection_window: int = 4 * 1024**2
    """Bytes that a peer may send before the connection has looked at them."""
    buffered_bytes: int = 256 * 1024**2
    """Bytes of requests that wait to be whole or to be read, over all connections."""
    unsent_bytes: int = 64 * 1024**2
    """Bytes of answers for which a peer gave no window, per connection; above it new calls get RESOURCE_EXHAUSTED."""
    handshake_seconds: float = 10.0
    """For TLS, and for the first bytes of HTTP/2 after it."""
    request_seconds: float = 60.0
    """For a unary request to be whole, from its headers on."""
    silence_seconds: float = 60.0
    """After which a silent peer with a call open is asked for a sign of life."""
    answer_seconds: float = 20.0
    """For that sign; without one the connection ends."""
    idle_frames: int = 2_000
    """Frames that bring no call forward (PING, SETTINGS, empty DATA ...) in ten seconds without an answer to a call."""
    resets: int = 1_000
    """Calls that a peer may take back in ten seconds, above as many as were answered."""
