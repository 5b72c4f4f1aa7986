"""Turns of agents for tests, in few words, and the ledger that serves them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.struct_pb2 import Struct
from quartet.agents.v1 import agents_pb2_grpc, contents_pb2, messages_pb2, sessions_pb2, turn_calls_pb2, turns_pb2
from quartet.agents.v1 import session_calls_pb2 as session_calls

if TYPE_CHECKING:
    from grpc import aio
    from quartet.agents.v1.agents_pb2_grpc import AgentServiceAsyncStub

USER, ASSISTANT = messages_pb2.MESSAGE_ROLE_USER, messages_pb2.MESSAGE_ROLE_ASSISTANT


def said(content: str, role: messages_pb2.MessageRole.ValueType = USER, **more: Any) -> contents_pb2.MessageContents:
    """Return a message."""
    return contents_pb2.MessageContents(message=messages_pb2.Message(role=role, content=content, **more))


def exchange(question: str = "why?", answer: str = "so", **turn: Any) -> contents_pb2.TurnContents:
    """Return a turn: a question and its answer."""
    return contents_pb2.TurnContents(turn=turns_pb2.Turn(**turn), messages=[said(question), said(answer, ASSISTANT)])


def structure(**values: Any) -> Struct:
    """Return an object as JSON has it."""
    made = Struct()
    made.update(values)
    return made


class _InZone:
    """A stub whose calls are of one zone."""

    def __init__(self, channel: aio.Channel, zone: str) -> None:
        self._stub = agents_pb2_grpc.AgentServiceStub(channel)
        self._metadata = (("quartet-zone", zone),)

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._stub, name), metadata=self._metadata)


class Ledger:
    """The agents ledger as tests speak to it, in one zone."""

    def __init__(self, channel: aio.Channel, zone: str) -> None:
        """Call over `channel` in `zone`."""
        self.calls = cast("AgentServiceAsyncStub", _InZone(channel, zone))

    async def session(self, label: str = "mom", **fields: Any) -> sessions_pb2.Session:
        """Make a session."""
        session = sessions_pb2.Session(label=label, **fields)
        request = session_calls.CreateSessionRequest(session=session)
        return await self.calls.CreateSession(request)

    async def head(self, label: str = "mom") -> str:
        """Return the turn at which a session is; empty for none."""
        request = session_calls.GetSessionRequest(label=label)
        return (await self.calls.GetSession(request)).thread_id

    async def append(
        self,
        label: str = "mom",
        contents: contents_pb2.TurnContents | None = None,
        expected_head: str | None = None,
        request_id: str = "",
    ) -> turn_calls_pb2.AppendTurnResponse:
        """Append a turn."""
        request = turn_calls_pb2.AppendTurnRequest(
            session_label=label, contents=contents or exchange(), expected_head=expected_head, request_id=request_id
        )
        return await self.calls.AppendTurn(request)

    async def start(
        self, label: str = "mom", contents: contents_pb2.TurnContents | None = None
    ) -> turn_calls_pb2.StartTurnResponse:
        """Begin a turn, with a question if nothing else is said."""
        contents = contents or contents_pb2.TurnContents(messages=[said("why?")])
        request = turn_calls_pb2.StartTurnRequest(session_label=label, contents=contents)
        return await self.calls.StartTurn(request)
