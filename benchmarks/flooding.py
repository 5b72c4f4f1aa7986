"""Appends to the ledger of events, paced, while another database of the node is written to as fast as it goes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import grpc
from eventload import event, words
from loops import paced_loop
from quartet.agents.v1 import contents_pb2, messages_pb2, session_calls_pb2, sessions_pb2, turn_calls_pb2
from quartet.agents.v1.agents_pb2_grpc import AgentServiceStub
from quartet.events.v1 import appending_pb2
from quartet.events.v1.events_pb2_grpc import EventServiceStub
from rows import Row

if TYPE_CHECKING:
    from quartet.agents.v1.agents_pb2_grpc import AgentServiceAsyncStub
    from quartet.events.v1.events_pb2_grpc import EventServiceAsyncStub

PER_SECOND, AGENTS = 200.0, 8
"""Events a second, and agents that append turns, each one as soon as the one before is stored."""


async def flood(agents: AgentServiceAsyncStub, name: str) -> None:
    """Append turns to a session of its own, for ever."""
    session = sessions_pb2.Session(label=name)
    await agents.CreateSession(session_calls_pb2.CreateSessionRequest(session=session))
    while True:
        said = [
            contents_pb2.MessageContents(message=messages_pb2.Message(role=role, content=words(40)))
            for role in (messages_pb2.MESSAGE_ROLE_USER, messages_pb2.MESSAGE_ROLE_ASSISTANT)
        ]
        contents = contents_pb2.TurnContents(messages=said)
        await agents.AppendTurn(turn_calls_pb2.AppendTurnRequest(session_label=name, contents=contents))


async def paced(channel: grpc.aio.Channel, row: Row, seconds: float, *, flooded: bool) -> None:
    """Append events at a pace into `row`, beside a flood of turns or beside nothing. Raises what ended the flood."""
    ledger: EventServiceAsyncStub = EventServiceStub(channel)
    agents: AgentServiceAsyncStub = AgentServiceStub(channel)

    async def append(_number: int, _dice: random.Random) -> None:
        await ledger.Append(appending_pb2.AppendRequest(event=event()))

    writers = [asyncio.create_task(flood(agents, f"flood-{i}")) for i in range(AGENTS if flooded else 0)]
    try:
        await paced_loop(row, append, PER_SECOND, lambda passed: passed > seconds)
        row.rate = len(row.latencies) / seconds
    finally:
        for one in writers:
            one.cancel()
        for one in writers:
            with contextlib.suppress(asyncio.CancelledError):
                await one
