"""How bytes are kept: as they are, or compressed where that saves at least a tenth."""

from __future__ import annotations

import threading
from enum import IntEnum

import zstandard

_LEVEL = 3
_SMALLEST = 128  # below, a header of zstd is a tenth
_SAMPLE = 16 << 10  # of large data so much is tried first


class Codec(IntEnum):
    """What was done to bytes before they were kept; the numbers are on disks."""

    NONE = 0
    ZSTD = 1


class _Own(threading.local):
    """What each thread has for itself: making a compressor costs more than a small blob does."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_own = _Own()


class CodecError(Exception):
    """Kept bytes are not what the codec makes, or make more or fewer bytes than was said."""


def encode(data: bytes) -> tuple[Codec, bytes]:
    """Return `data` as it should be kept. Releases the GIL while it compresses."""
    if len(data) < _SMALLEST:
        return Codec.NONE, data
    compressor = _own.compressor
    if len(data) > 4 * _SAMPLE:
        middle = (len(data) - _SAMPLE) // 2
        sample = data[: _SAMPLE // 2] + data[middle : middle + _SAMPLE // 2]
        if not _saves(compressor.compress(sample), sample):
            return Codec.NONE, data
    packed = compressor.compress(data)
    return (Codec.ZSTD, packed) if _saves(packed, data) else (Codec.NONE, data)


def decode(codec: int, kept: bytes, size: int) -> bytes:
    """Return the `size` bytes that were encoded. Never makes more than that. Raises CodecError."""
    if codec == Codec.NONE:
        data = kept
    elif codec == Codec.ZSTD:
        try:
            if zstandard.frame_content_size(kept) != size:
                raise CodecError("the frame is of another size")
            data = _own.decompressor.decompress(kept, max_output_size=size)
        except zstandard.ZstdError as error:
            raise CodecError(str(error)) from error
    else:
        raise CodecError(f"codec {codec} is unknown: was it written by a newer version?")
    if len(data) != size:
        raise CodecError(f"{len(data)} bytes instead of {size}")
    return data


def _saves(packed: bytes, data: bytes) -> bool:
    return 10 * len(packed) <= 9 * len(data)
