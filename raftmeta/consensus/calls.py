"""Requests and answers between members, for the layers above."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from raftmeta.v1 import peer_pb2

from .codec import VERSION
from .contract import Refusal
from .peer import Peer
from .reads import Reads
from .state import Surroundings

logger = logging.getLogger(__name__)

Reply = Callable[["bytes | Refusal"], None]
Handler = Callable[[int, bytes, Reply], None]

_UNANSWERED = 0


@dataclass(slots=True)
class _Pending:
    member_id: int
    frame: peer_pb2.Call
    done: Reply
    until: float
    sent: bool


class Calls(Reads):
    """At most once each: a call is repeated only while it was never put on the wire."""

    def __init__(self, given: Surroundings) -> None:
        """Start without handlers."""
        self.handlers: dict[str, Handler] = {}
        self._calls: dict[int, _Pending] = {}
        super().__init__(given)
        self._call_id = self.rng.getrandbits(60)

    def begin_call(self, member_id: int, method: str, payload: bytes, done: Reply, timeout: float) -> None:
        """Send a request to a member, or hand it to the handler here when it is for this member."""
        if self.stopping:
            self.call_back(done, Refusal.STOPPED)
        elif len(payload) > self.config.call_bytes or not 1 <= len(method) <= 64:
            self.call_back(done, Refusal.BUSY)
        elif member_id == self.me:
            self._handle(self.me, method, payload, done)
        elif member_id not in self.peers and member_id not in self.contacts:
            self.call_back(done, Refusal.NOT_MEMBER)
        else:
            self._call_id += 1
            frame = peer_pb2.Call(id=self._call_id, method=method, payload=payload)
            pending = _Pending(member_id, frame, done, self.clock() + timeout, False)
            self._calls[self._call_id] = pending
            self._try(pending)

    def begin_tell(self, member_id: int, method: str, payload: bytes, unsent: Reply) -> None:
        """Send a request that is not answered; `unsent` gets why it did not leave."""
        if len(payload) > self.config.call_bytes:
            self.call_back(unsent, Refusal.BUSY)
        elif member_id == self.me:
            self._handle(self.me, method, payload, _unheard)
        else:
            frame = peer_pb2.Call(id=_UNANSWERED, method=method, payload=payload)
            message = peer_pb2.PeerMessage(version=VERSION, term=self.term, call=frame)
            if member_id not in self.peers or not self._put_on_wire(member_id, message.SerializeToString()):
                self.call_back(unsent, Refusal.NOT_MEMBER)

    def _try(self, pending: _Pending) -> None:
        message = peer_pb2.PeerMessage(version=1, term=self.term, call=pending.frame)
        pending.sent = self._put_on_wire(pending.member_id, message.SerializeToString())

    def tend_calls(self) -> None:
        """Send what could not be sent yet and fail what waited too long."""
        now = self.clock()
        for number, pending in list(self._calls.items()):
            if pending.until <= now:
                del self._calls[number]
                self.call_back(pending.done, Refusal.TIMED_OUT)
            elif not pending.sent:
                self._try(pending)

    def fail_calls(self, refusal: Refusal) -> None:
        """Fail every call, when the member stops."""
        calls, self._calls = self._calls, {}
        for pending in calls.values():
            self.call_back(pending.done, refusal)

    def on_call(self, peer: Peer, call: peer_pb2.Call) -> None:
        """Answer another member's request through its handler."""
        number, question = peer.number, call.id
        if question == _UNANSWERED:
            self._handle(number, call.method, call.payload, _unheard)
            return

        def reply(outcome: bytes | Refusal) -> None:
            answer = peer_pb2.CallReply(id=question)
            if isinstance(outcome, Refusal):
                answer.refusal = outcome.name
            elif len(outcome) > self.config.call_bytes:
                answer.refusal = Refusal.BUSY.name
            else:
                answer.payload = outcome
            self.tell(number, durable=False, call_reply=answer)

        self._handle(number, call.method, call.payload, reply)

    def _handle(self, caller: int, method: str, payload: bytes, reply: Reply) -> None:
        handler = self.handlers.get(method)
        if handler is None:
            reply(Refusal.UNKNOWN)
            return
        try:
            handler(caller, payload, reply)
        except Exception:
            self.counters.callback_failures += 1
            logger.exception("the handler of %s failed", method)

    def on_call_reply(self, peer: Peer, reply: peer_pb2.CallReply) -> None:
        """Take the answer to a call of ours, from the member it was sent to."""
        pending = self._calls.get(reply.id)
        if pending is None or pending.member_id != peer.number:
            return
        del self._calls[reply.id]
        if not reply.refusal:
            self.call_back(pending.done, reply.payload)
        else:
            self.call_back(pending.done, Refusal.__members__.get(reply.refusal, Refusal.UNKNOWN))


def _unheard(_: bytes | Refusal) -> None:
    """Nobody waits for this answer."""
