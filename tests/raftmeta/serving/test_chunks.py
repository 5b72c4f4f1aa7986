"""However bytes are cut, the answers are the same; whatever bytes come, other connections do not notice."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest
from harness.http2 import Methods, Wire, chat, echo, message, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftmeta.serving import frames
from raftmeta.serving.frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PING, frame

METHODS: Methods = {"Unary": ("unary", echo), "Bidi": ("bidi", chat)}
SLOW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def conversation(wire: Wire) -> bytes:
    """Bytes of a few calls at once, with everything that frames may have."""
    first, block = wire.block("Bidi"), wire.block("Unary", ("k-bin", "AAEC"))  # in the order in which they are sent
    return b"".join(
        (
            frames.PREFACE,
            frames.settings({frames.INITIAL_WINDOW_SIZE: 100_000}),
            frame(HEADERS, END_HEADERS, 1, first),
            frame(DATA, 0, 1, message(b"one")[:4]),
            frame(HEADERS, 0, 3, block[:7]),
            frame(CONTINUATION, END_HEADERS, 3, block[7:]),
            frame(DATA, 0, 1, message(b"one")[4:] + message(b"two")),
            frame(PING, 0, 0, b"87654321"),
            frame(DATA, PADDED, 3, b"\x04" + message(bytes(3000))[:1000] + bytes(4)),
            frame(HEADERS, END_HEADERS, 5, wire.block("Unary")),
            frame(DATA, END_STREAM, 5, message(b"five")),
            frame(DATA, END_STREAM, 3, message(bytes(3000))[1000:]),
            frame(DATA, END_STREAM, 1, message(b"three")),
        )
    )


async def answers_to(cuts: list[int]) -> dict[int, list[bytes]]:
    async with serving(METHODS) as server, Wire.to(server, greet=False) as wire:
        sent = conversation(wire)
        edges = sorted({0, len(sent), *(cut % len(sent) for cut in cuts)})
        bodies: dict[int, bytes] = {}
        open_streams = {1, 3, 5}
        for start, stop in pairwise(edges):
            wire.send(sent[start:stop])
            await asyncio.sleep(0)
        while open_streams:
            found = await wire.until(DATA, HEADERS)
            if found.kind == DATA:
                bodies[found.stream] = bodies.get(found.stream, b"") + found.payload
            elif found.flags & END_STREAM:
                assert found.fields["grpc-status"] == "0"
                open_streams.discard(found.stream)
        return {number: [body] for number, body in sorted(bodies.items())}


EXPECTED = {
    1: [message(b"one") + message(b"two") + message(b"three")],
    3: [message(bytes(3000))],
    5: [message(b"five")],
}


@given(st.lists(st.integers(0, 5000), max_size=60))
@SLOW
def test_any_cutting_of_the_bytes_gives_the_same_answers(cuts: list[int]) -> None:
    assert asyncio.run(answers_to(cuts)) == EXPECTED


async def test_a_byte_at_a_time_is_enough() -> None:
    assert await answers_to(list(range(5000))) == EXPECTED


@pytest.mark.parametrize("seed", range(8))
async def test_broken_bytes_never_trouble_another_connection(seed: int) -> None:
    dice = random.Random(seed)
    async with serving(METHODS) as server, Wire.to(server) as healthy:
        for turn in range(25):
            async with Wire.to(server, greet=False) as wire:
                sent = bytearray(conversation(wire))
                for _ in range(dice.randint(1, 6)):
                    at = dice.randrange(24, len(sent))
                    kind = dice.random()
                    if kind < 0.5:
                        sent[at] = dice.randrange(256)
                    elif kind < 0.75:
                        del sent[at : at + dice.randint(1, 20)]
                    else:
                        sent[at:at] = dice.randbytes(dice.randint(1, 40))
                wire.send(bytes(sent))
                if dice.random() < 0.5:
                    await wire.frame()
            number = 2 * turn + 1
            healthy.request(number, "Unary", message(b"%d" % turn))
            assert (await healthy.answer(number)).messages == [b"%d" % turn]
    assert server.budget.held == 0
