"""Numbers and vectors as databases keep them."""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Iterable

from quartet_server.errors import FieldInvalid

MAX_DIMENSION = 16_000
"""Most numbers of a vector: what pgvector takes."""


def finite(value: float, path: str) -> float:
    """Return `value`. Raises FieldInvalid where it is not a number or has no end, which JSON and filters do not know."""
    if not math.isfinite(value):
        raise FieldInvalid.of(path, f"is {value}, no finite number")
    return value


def pack(values: Iterable[float], path: str) -> bytes:
    """Return a vector as float32, little-endian. Raises FieldInvalid where a number is not finite or there are too many."""
    packed = array.array("f", values)
    if len(packed) > MAX_DIMENSION:
        raise FieldInvalid.of(path, f"has {len(packed)} numbers, more than {MAX_DIMENSION}")
    if not all(map(math.isfinite, packed)):
        raise FieldInvalid.of(path, "has a number that is not finite")
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def text(values: Iterable[float], path: str) -> str:
    """Return a vector as pgvector reads it, `[1.0,2.5]`. Raises FieldInvalid as `pack` does."""
    return f"[{','.join(map(repr, unpack(pack(values, path))))}]"


def unpack(stored: bytes | memoryview | str) -> array.array[float]:
    """Return the numbers of a stored vector, of either database."""
    if isinstance(stored, str):
        return array.array("f", map(float, stored[1:-1].split(",")) if len(stored) > 2 else ())
    numbers = array.array("f", bytes(stored))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
