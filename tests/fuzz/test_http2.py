"""Connections that break HTTP/2 in every known way, and in random ones: others are served, memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fuzz.attacks import BROKEN_CALLS, BROKEN_FRAMES, FLOODS, KEY, NO_GREETING, RANGE, WATCH, WATCH_ALL
from fuzz.budget import rounds
from fuzz.http2 import Wire, call, frame, request, settings
from fuzz.mutation import mutate
from fuzz.targets import Target, quartet_nodes, raftmeta_members
from harness.http2 import message

from raftmeta.serving import frames as h2

BATCH = 150
SLOW = 300
CONVERSATION = (
    h2.PREFACE
    + settings((3, 100), (4, 70_000))
    + call(1, RANGE, KEY)
    + frame(h2.HEADERS, h2.END_HEADERS, 3, request(WATCH))
    + frame(h2.DATA, 0, 3, message(WATCH_ALL))
    + frame(h2.PING, payload=b"8 bytes.")
    + call(5, b"/etcdserverpb.KV/Put", b"\x0a\x01a\x12\x01b")
)
"""What a good client might say: the beginning of every random conversation."""


@pytest.fixture(scope="module", params=["raftmeta", "quartet"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One member of raftmeta alone, or one node of Quartet."""
    directory = tmp_path_factory.mktemp(request.param)
    start = raftmeta_members(directory, 1) if request.param == "raftmeta" else quartet_nodes(directory, 1)
    with start as running:
        yield running


def test_broken_frames_and_calls_end_their_own_connection_at_most(target: Target) -> None:
    with ExitStack() as open_ones:
        for name, attack in {**BROKEN_FRAMES, **BROKEN_CALLS}.items():
            wire = open_ones.enter_context(Wire(target.endpoints[0]))
            attack(wire)
            target.check_served(name)
    target.check()


def test_connections_that_do_not_greet_hold_up_nobody(target: Target) -> None:
    with ExitStack() as open_ones:
        for name, attack in NO_GREETING.items():
            wire = open_ones.enter_context(Wire(target.endpoints[0], greet=False))
            attack(wire)
            target.check_served(name)
    target.check()


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_on_one_connection_leaves_others_served_and_memory_bounded(target: Target, flood: str) -> None:
    with Wire(target.endpoints[0]) as wire:
        FLOODS[flood](wire)
        target.check()
    target.check()


def test_slow_connections_by_the_hundred_hold_up_nobody(target: Target) -> None:
    with ExitStack() as open_ones:
        wires = [open_ones.enter_context(Wire(target.endpoints[0], greet=False)) for _ in range(SLOW)]
        for position in range(len(CONVERSATION)):
            if position % 40 == 0:
                target.check_served(f"byte {position}")
            for number, wire in enumerate(wires):
                if position < len(h2.PREFACE) + number:
                    wire.send(CONVERSATION[position : position + 1])
        target.check()


def test_random_conversations_leave_others_served(target: Target) -> None:
    for seed, dice in rounds(2, 0.15):
        for number in range(BATCH):
            with Wire(target.endpoints[0], greet=False) as wire:
                keep = dice.choice((0, len(h2.PREFACE), len(h2.PREFACE) + 9))
                wire.send(CONVERSATION[:keep] + mutate(CONVERSATION[keep:], dice, [CONVERSATION]))
                if dice.random() < 0.2:
                    wire.drain(0.02)
            if number % 25 == 0:
                target.check_served(str((seed, number)))
        target.check()


def test_a_good_client_is_answered_on_a_connection_by_hand(target: Target) -> None:
    with Wire(target.endpoints[0], greet=False) as wire:
        wire.send(CONVERSATION)
        answered = asyncio.run(asyncio.to_thread(wire.drain, 1.0))
    assert frame(h2.PING, 1, 0, b"8 bytes.") in answered
