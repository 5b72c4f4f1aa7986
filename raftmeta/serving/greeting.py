"""The first bytes of a connection."""

from __future__ import annotations

from raftmeta.serving.faults import ConnectionFault, ErrorCode
from raftmeta.serving.frames import PREFACE

_WORDS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ")
_TEXT = b"This port speaks gRPC, over HTTP/2 only.\n"
_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_TEXT), _TEXT)
)


class Greeting:
    """Checks the connection preface.

    Attributes:
        answer: What to tell a peer that speaks HTTP/1; empty for any other.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.answer = b""

    def check(self, received: bytes) -> bytes | None:
        """Return what came after the preface, None while it is not whole. Raises ConnectionFault."""
        if received.startswith(PREFACE):
            return received[len(PREFACE) :]
        if PREFACE.startswith(received):
            return None
        if received.startswith(_WORDS):
            self.answer = _ANSWER
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface")
