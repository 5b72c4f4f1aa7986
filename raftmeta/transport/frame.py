"""Frames on a stream: length, checksum, payload."""

from __future__ import annotations

import struct

import google_crc32c

_HEAD = struct.Struct(">II")
HEAD_SIZE = _HEAD.size


class BadFrame(Exception):  # noqa: N818
    """The stream does not carry frames: the connection is of no further use."""


def encode(payload: bytes) -> bytes:
    """Frame a payload: its length, then CRC32C of length and payload, both 32 bits big-endian, then the payload."""
    length = len(payload)
    return _HEAD.pack(length, _checksum(length, payload)) + payload


def _checksum(length: int, payload: bytes) -> int:
    return int(google_crc32c.extend(length, payload))


class FrameReader:
    """Takes a stream apart. Holds at most one frame of `limit` bytes beside the last chunk pushed.

    Attributes:
        limit: Longest payload accepted, in bytes; may be raised between frames.
    """

    def __init__(self, limit: int) -> None:
        """Begin at the start of a frame."""
        self.limit = limit
        self._buffer = bytearray()
        self._start = 0

    def push(self, data: bytes) -> None:
        """Add bytes from the stream; take the frames out with `next` before pushing more."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    @property
    def whole(self) -> bool:
        """Whether `next` has something: a payload, or a length over the limit to complain about."""
        start = self._start + HEAD_SIZE
        if len(self._buffer) < start:
            return False
        length = int.from_bytes(self._buffer[self._start : self._start + 4], "big")
        return length > self.limit or len(self._buffer) >= start + length

    def next(self) -> bytes | None:
        """The next whole payload, or None until more is pushed.

        Raises:
            BadFrame: A length over the limit or a wrong checksum.
        """
        start = self._start + HEAD_SIZE
        if len(self._buffer) < start:
            return None
        length, checksum = _HEAD.unpack_from(self._buffer, self._start)
        if length > self.limit:
            raise BadFrame(f"frame of {length} bytes, {self.limit} are allowed here")
        end = start + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[start:end])
        if _checksum(length, payload) != checksum:
            raise BadFrame("checksum of a frame differs")
        self._start = end
        return payload
