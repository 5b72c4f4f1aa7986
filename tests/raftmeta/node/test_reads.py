"""Readers whose consensus is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from raftmeta.consensus.contract import Consensus, Refusal
from raftmeta.errors import Fault, MetastoreError
from raftmeta.reads import ReadGate


class Silent:
    """Keeps what is asked of it; the test answers, or does not."""

    def __init__(self) -> None:
        self.reads: list[Callable[[int | Refusal], None]] = []

    def read_index(self, done: Callable[[int | Refusal], None]) -> None:
        self.reads.append(done)


async def test_readers_end_at_their_deadline_though_consensus_never_answers() -> None:
    consensus = Silent()
    gate = ReadGate(cast(Consensus, consensus), lambda: 5, asyncio.get_running_loop(), timeout=0.05)
    unheard = gate.confirmed()
    async with asyncio.timeout(20):
        with pytest.raises(MetastoreError) as silent:
            await unheard
    assert silent.value.fault is Fault.TIMEOUT
    behind = gate.confirmed()
    async with asyncio.timeout(20):
        while len(consensus.reads) < 2:
            await asyncio.sleep(0)
    consensus.reads[0](5)  # the answer to the round that was given up says nothing about this one
    consensus.reads[1](7)
    async with asyncio.timeout(20):
        with pytest.raises(MetastoreError) as late:
            await behind
    assert late.value.fault is Fault.TIMEOUT_WAIT_APPLIED
    gate.stop()
