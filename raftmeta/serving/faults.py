"""How a connection, a stream or a call can go wrong."""

from __future__ import annotations

from enum import IntEnum

import grpc


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Exception):  # noqa: N818 - it says whose fault it is
    """The peer broke the protocol; the connection ends with GOAWAY.

    Attributes:
        code: Told to the peer.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Say what the peer did."""
        super().__init__(message)
        self.code = code


class StreamFault(Exception):  # noqa: N818
    """The peer broke the protocol on one stream, which ends with RST_STREAM.

    Attributes:
        code: Told to the peer.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Say what the peer did."""
        super().__init__(message)
        self.code = code


class Refusal(Exception):  # noqa: N818
    """A call that is answered with a status before, or instead of, being served.

    Attributes:
        code: Its status.
        details: Its text.
        metadata: More for its trailers.
    """

    def __init__(self, code: grpc.StatusCode, details: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        """Say why."""
        super().__init__(details)
        self.code = code
        self.details = details
        self.metadata = metadata
