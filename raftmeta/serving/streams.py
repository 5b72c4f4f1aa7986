"""The streams of one connection: fed, refilled, ended, broken off and forgotten."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from raftmeta.serving import frames
from raftmeta.serving.faults import ErrorCode, Refusal
from raftmeta.serving.floods import Patience
from raftmeta.serving.peer import Peer
from raftmeta.serving.sending import Sender
from raftmeta.serving.stream import Ending, Stream

if TYPE_CHECKING:
    from raftmeta.serving.server import Server

_REMEMBERED_RESETS = 1024
_FIRST_WORD = 0.05  # seconds


class Streams(ABC):
    """The part of a connection that calls know.

    Attributes:
        loop: The loop, on which everything happens.
        limits: The server's.
        wheel: The server's deadlines.
        peer: Who is at the other end.
        sender: What leaves.
        streams: Streams whose answer or request is not over, by number.
    """

    peer: Peer

    def __init__(self, server: Server) -> None:
        """Belong to `server`."""
        self.loop = server.loop
        self.limits = server.limits
        self.wheel = server.wheel
        self._patience = Patience(self.limits, self.loop.time)
        self.sender = Sender(self.loop, self._patience, self._answered)
        self.streams: dict[int, Stream] = {}
        self._server = server
        self._leaving = False
        self._reset: dict[int, None] = {}

    def replenish(self, stream: Stream) -> None:
        """Let the peer send more, once half of the stream's window is free."""
        if stream.remote_closed or stream.ended:
            return
        window = self.limits.stream_window
        waiting = stream.inbox.ready if stream.inbox is not None else 0
        increment = window - waiting - stream.receive_window
        if increment >= window >> 1:
            stream.receive_window += increment
            self.sender.control(frames.window_update(stream.id, increment))

    def end_now(self, stream: Stream, ending: Ending) -> None:
        """End a stream with a status, whatever else was to be sent, and cancel its call."""
        if stream.ended:
            return
        call = stream.call
        if stream.pending_bytes:
            self.reset(stream.id, ErrorCode.CANCEL)
        else:
            self.end(stream, ending)
        if call is not None:
            call.cancel()

    def end(self, stream: Stream, ending: Ending) -> None:
        """End a stream with a status, after what is still to be sent. Raises ValueError for bad metadata.

        A client that is about to send its first message gets a moment for it: those of grpc.aio report an internal error
        in the place of a status that comes before.
        """
        if stream.received or stream.remote_closed or stream.began:
            self.sender.end(stream, ending)
        elif stream.ending is None:
            stream.ending = ending
            self.loop.call_later(_FIRST_WORD, self._release, stream)

    def _release(self, stream: Stream) -> None:
        """Send a status that was held back."""
        if stream.ending is not None and not stream.pending_bytes and not stream.ended:
            self.sender.end(stream, stream.ending)

    def reset(self, number: int, code: ErrorCode) -> None:
        """Break a stream off."""
        self._note_reset(number)
        self.sender.control(frames.rst_stream(number, code))
        stream = self.streams.get(number)
        if stream is not None:
            self._drop(stream, cancel=True)

    def _refuse(self, stream: Stream, refusal: Refusal) -> None:
        self.end_now(stream, (refusal.code, refusal.details, refusal.metadata))

    def _answered(self, stream: Stream) -> None:
        """Close a stream whose answer is sent; what the peer still wants to send is not wanted."""
        self._patience.answered()
        if not stream.remote_closed:
            self._note_reset(stream.id)
            self.sender.control(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))
        self._drop(stream, cancel=False)

    def _note_reset(self, number: int) -> None:
        self._reset[number] = None
        if len(self._reset) > _REMEMBERED_RESETS:
            del self._reset[next(iter(self._reset))]

    def _drop(self, stream: Stream, *, cancel: bool) -> None:
        if self.streams.pop(stream.id, None) is None:
            return
        call, stream.call = stream.call, None
        if stream.pending_bytes:
            self.sender.forget(stream)
        stream.close()
        if cancel and call is not None:
            call.cancel()
        if self._leaving and not self.streams:
            self._take_no_more()

    @abstractmethod
    def _take_no_more(self) -> None:
        """Say which stream was the last, and end the connection when none is open."""
