"""Bytes changed at random, blindly or with an eye for how protobuf messages are built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 1 << 20
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS = (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\0", b"a\0b", b"../" * 20, b"\xf4\x90\x80\x80", b"%s%n" * 9)


def varint(number: int, width: int = 0) -> bytes:
    """Encode a number of up to 64 bits; `width` pads it with needless bytes to a length."""
    encoded = bytearray()
    while number > 0x7F or len(encoded) + 1 < width:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def mutate(data: bytes, dice: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return `data` changed in one to four places, at most a MiB; `others` are messages to borrow pieces from."""
    for _ in range(dice.choice((1, 1, 2, 4))):
        data = dice.choice(_CHANGES)(data, dice)[:MAX_BYTES]
        if others and dice.random() < 0.1:
            data = splice(data, dice.choice(others), dice)
    return data


def splice(data: bytes, other: bytes, dice: Random) -> bytes:
    """Return the beginning of one message with the end of another."""
    return data[: dice.randint(0, len(data))] + other[dice.randint(0, len(other)) :]


def _flip(data: bytes, dice: Random) -> bytes:
    if not data:
        return b"\xff"
    changed = bytearray(data)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(data: bytes, dice: Random) -> bytes:
    return data[: dice.randint(0, len(data))]


def _drop(data: bytes, dice: Random) -> bytes:
    start = dice.randint(0, len(data))
    return data[:start] + data[start + dice.randint(1, 8) :]


def _insert(data: bytes, dice: Random) -> bytes:
    start = dice.randint(0, len(data))
    return data[:start] + dice.randbytes(dice.choice((1, 2, 9, 200))) + data[start:]


def _number(data: bytes, dice: Random) -> bytes:
    """Overwrite some bytes with a number at the edge of its type."""
    number, width = dice.choice(_NUMBERS), dice.choice((1, 2, 4, 8))
    raw = (number % (1 << 8 * width)).to_bytes(width, dice.choice(("big", "little")))
    start = dice.randint(0, len(data))
    return data[:start] + raw + data[start + width :]


def _repeat(data: bytes, dice: Random) -> bytes:
    return data * dice.choice((2, 3, 1000)) if len(data) < 1000 else data * 2


def _field(data: bytes, dice: Random) -> bytes:
    """Put in a field that does not belong there: unknown, of the wrong type, or longer than it says."""
    tag = varint(dice.choice((0, 1, 2, 3, 4, 5, 7, 15, 16, 99, 19000, 2**29 - 1)) << 3 | dice.randrange(8))
    body = dice.choice(
        (
            varint(dice.choice(_NUMBERS)),
            varint(dice.choice(_NUMBERS), width=dice.choice((10, 11))),
            dice.randbytes(8),
            *(varint(len(text)) + text for text in _TEXTS),
        )
    )
    start = dice.choice((0, len(data), dice.randint(0, len(data))))
    return data[:start] + tag + body + data[start:]


def _nest(data: bytes, dice: Random) -> bytes:
    """Wrap the message into itself, as deep as a decoder might follow."""
    tag = varint(dice.choice((1, 2, 3, 4, 5)) << 3 | 2)
    for _ in range(dice.choice((1, 3, 40, 110, 600))):
        if len(data) > 100_000:
            break
        data = tag + varint(len(data)) + data
    return data


def _groups(data: bytes, dice: Random) -> bytes:
    """Open groups that nobody closes."""
    return data + varint(dice.choice((1, 3, 99)) << 3 | 3) * dice.choice((1, 90, 120, 20_000))


_CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip, _flip, _flip, _cut, _drop, _insert, _number, _number, _repeat, _field, _field, _nest, _groups,
)  # fmt: skip
