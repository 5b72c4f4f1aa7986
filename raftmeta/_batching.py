"""Commands on their way: what waits to be proposed, and what was proposed and has no outcome yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from raftmeta.v1 import command_pb2

MAX_COMMANDS = 1_000
MAX_BATCH_BYTES = 1_792 * 1024
_COMMANDS_TAG = bytes([command_pb2.Batch.COMMANDS_FIELD_NUMBER << 3 | 2])


def serialize(client: int, sequence: int, commands: Iterable[bytes]) -> bytes:
    """Serialize a `Batch` out of serialized commands: a repeated field may be appended to an encoded message."""
    parts = [command_pb2.Batch(client=client, sequence=sequence).SerializeToString()]
    for command in commands:
        parts.append(_varint(len(command)))
        parts.append(command)
    return b"".join(parts)


def _varint(size: int) -> bytes:
    """Encode the tag of `Batch.commands` and a length."""
    encoded = bytearray(_COMMANDS_TAG)
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


class Asker(Protocol):
    """Who waits for a command; a future can. Called on the loop of the proposer, at most once with an outcome."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Any, /) -> None:
        """Take the command's answer, a `Message`."""

    def set_exception(self, exception: Any, /) -> None:
        """Take the MetastoreError with which it failed."""


@dataclass(slots=True)
class Waiting:
    """One command whose caller waits.

    Attributes:
        data: The serialized `Command`.
        asker: Gets the command's answer.
        started: When it was submitted, monotonic seconds.
    """

    data: bytes
    asker: Asker
    started: float


@dataclass(slots=True)
class Flight:
    """One batch that was proposed at least once.

    Attributes:
        sequence: Its number within this node's incarnation.
        data: The serialized batch.
        waiting: Its commands, in order.
        sent: When it was last proposed, monotonic seconds.
        target: The leader it was last given to; 0 when it was given to nobody or refused.
        term: That leader's term.
        maybe: It may be in a log: only its application, or the deadline, settles it.
    """

    sequence: int
    data: bytes
    waiting: list[Waiting]
    sent: float = 0.0
    target: int = 0
    term: int = 0
    maybe: bool = False

    @property
    def started(self) -> float:
        """When its oldest command was submitted."""
        return self.waiting[0].started


@dataclass(slots=True)
class Backlog:
    """Commands not yet in a batch, oldest first; `bytes` is their total size."""

    queue: deque[Waiting] = field(default_factory=deque)
    bytes: int = 0

    def add(self, waiting: Waiting) -> None:
        """Append one."""
        self.queue.append(waiting)
        self.bytes += len(waiting.data)

    @property
    def fills_a_batch(self) -> bool:
        """Whether more commands would not fit into the next batch."""
        return self.bytes >= MAX_BATCH_BYTES or len(self.queue) >= MAX_COMMANDS

    def take(self) -> list[Waiting]:
        """Remove the oldest commands, as many as fit into one batch; those whose caller left are dropped."""
        taken: list[Waiting] = []
        room = MAX_BATCH_BYTES
        while self.queue and len(taken) < MAX_COMMANDS:
            first = self.queue[0]
            size = len(first.data)
            if taken and size > room:
                break
            self.queue.popleft()
            self.bytes -= size
            if first.asker.done():
                continue
            room -= size + 8
            taken.append(first)
        return taken
