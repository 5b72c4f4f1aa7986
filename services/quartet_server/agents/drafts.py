"""Turns as they are given: held against their limits, and completed with what the service knows better."""

from __future__ import annotations

from collections.abc import Callable, Collection

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.agents.v1 import contents_pb2, messages_pb2, turns_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.records.codec import stamp

ROW_BYTES = 1 << 20
"""The most bytes of a message with what is noted of it, of a tool call, and of a compaction."""
TURN_BYTES = 128 << 10
"""The most bytes of a turn without its contents, and of a session: answers have several of them."""
AT_ONCE = 1000
"""The most messages, tool calls, files, lints and blocks of code that are given at once."""
TOKENS = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
)
_MOST_TOKENS = 1 << 48  # so that no sum of a way is too large
_ENDED = (messages_pb2.TOOL_CALL_STATUS_COMPLETED, messages_pb2.TOOL_CALL_STATUS_FAILED)


def small(message: Message, path: str, limit: int = ROW_BYTES) -> None:
    """Let pass a message that is not too large. Raises FieldInvalid."""
    if (size := message.ByteSize()) > limit:
        raise FieldInvalid.of(path, f"{size} bytes, at most {limit} are taken")


def few(given: int, path: str, limit: int = AT_ONCE) -> None:
    """Let pass so many items. Raises FieldInvalid."""
    if given > limit:
        raise FieldInvalid.of(path, f"{given} are given, at most {limit} are taken")


def counted(message: Message, path: str) -> None:
    """Let pass counts of tokens that are not below 0. Raises FieldInvalid."""
    for name in TOKENS:
        if message.HasField(name) and not 0 <= getattr(message, name) < _MOST_TOKENS:
            raise FieldInvalid.of(f"{path}.{name}", f"must be from 0 to {_MOST_TOKENS - 1}")


def total(message: turns_pb2.Turn) -> None:
    """Add input and output up where nobody said how many tokens a turn has in total."""
    if not message.HasField("total_tokens") and (message.HasField("input_tokens") or message.HasField("output_tokens")):
        message.total_tokens = message.input_tokens + message.output_tokens


class Draft:
    """A turn that is to be written, complete but for its parent.

    Attributes:
        contents: All of it; a copy of what was given.
        turn: Its turn.
        ended: Whether it is finished.
    """

    def __init__(
        self,
        given: contents_pb2.TurnContents,
        *,
        ended: bool,
        now: int,
        new_id: Callable[[], str],
        path: str = "contents",
        spoken: Collection[str] = (),
    ) -> None:
        """Complete `given`, which `ended` or goes on, at `now` in microseconds.

        `path` is where it is in its request; `spoken` are ids of messages that the turn has already. Raises FieldInvalid.
        """
        self.contents = contents_pb2.TurnContents()
        self.contents.CopyFrom(given)
        self.turn = self.contents.turn
        self.ended = ended
        self._now = stamp(now)
        self._new_id = new_id
        self._path = path
        self._turn()
        few(len(given.messages), f"{path}.messages")
        few(len(given.tool_calls), f"{path}.tool_calls")
        for place, one in enumerate(self.contents.messages):
            message_draft(one, self.turn.id, place + 1, self._now, new_id, f"{path}.messages[{place}]")
        known = {*spoken, *(one.message.id for one in self.contents.messages)}
        for place, call in enumerate(self.contents.tool_calls):
            at = f"{path}.tool_calls[{place}]"
            tool_call_draft(call, self.turn.id, place + 1, self._now, new_id, at, ended=ended)
            if call.HasField("message_id") and call.message_id not in known:
                raise FieldInvalid.of(f"{at}.message_id", "is no message of this turn")
        self._links()
        self._compaction()

    def _turn(self) -> None:
        turn, path = self.turn, f"{self._path}.turn"
        small(turn, path, TURN_BYTES)
        small(self.contents.thread, f"{self._path}.thread", TURN_BYTES)
        counted(turn, path)
        ends = (turns_pb2.TURN_STATUS_COMPLETED, turns_pb2.TURN_STATUS_FAILED)
        goes_on = (turns_pb2.TURN_STATUS_PENDING, turns_pb2.TURN_STATUS_STREAMING)
        allowed = ends if self.ended else goes_on
        if turn.status == turns_pb2.TURN_STATUS_UNSPECIFIED:
            turn.status = allowed[0]
        elif turn.status not in allowed:
            names = " or ".join(["completed", "failed"] if self.ended else ["pending", "streaming"])
            raise FieldInvalid.of(f"{path}.status", f"must be {names}")
        turn.id = turn.id or self._new_id()
        if not turn.HasField("started_at"):
            turn.started_at.CopyFrom(self._now)
        if not self.ended:
            turn.ClearField("completed_at")
        elif not turn.HasField("completed_at"):
            turn.completed_at.CopyFrom(self._now)
        total(turn)
        turn.has_children = False
        turn.tool_call_count = len(self.contents.tool_calls)

    def _links(self) -> None:
        """Say which messages ask and which answers, where that was not said."""
        spoken = [one.message for one in self.contents.messages]
        if not self.turn.query_message_ids:
            self.turn.query_message_ids.extend(m.id for m in spoken if m.role == messages_pb2.MESSAGE_ROLE_USER)
        if self.ended and not self.turn.HasField("response_message_id"):
            answers = [m.id for m in spoken if m.role == messages_pb2.MESSAGE_ROLE_ASSISTANT]
            if answers:
                self.turn.response_message_id = answers[-1]

    def _compaction(self) -> None:
        compacts = self.turn.turn_type == turns_pb2.TURN_TYPE_COMPACTION
        if compacts != self.contents.HasField("compaction"):
            raise FieldInvalid.of(f"{self._path}.compaction", "is given if, and only if, the turn is a compaction")
        if not compacts:
            return
        compaction = self.contents.compaction
        small(compaction, f"{self._path}.compaction")
        compaction.model = compaction.model or self.turn.model
        for name in ("summary", "model"):
            if not getattr(compaction, name):
                raise FieldInvalid.of(f"{self._path}.compaction.{name}", "is empty")


def message_draft(
    given: contents_pb2.MessageContents,
    turn_id: str,
    sequence: int,
    now: Timestamp,
    new_id: Callable[[], str],
    path: str,
) -> None:
    """Complete a message that is to be written. Raises FieldInvalid."""
    small(given, path)
    message = given.message
    if message.role == messages_pb2.MESSAGE_ROLE_UNSPECIFIED:
        raise FieldInvalid.of(f"{path}.message.role", "is one of: user, assistant, system, tool")
    message.id = message.id or new_id()
    message.turn_id, message.sequence = turn_id, sequence
    if not message.HasField("created_at"):
        message.created_at.CopyFrom(now)
    for name in ("files", "lints", "codeblocks"):
        noted = getattr(given, name)
        few(len(noted), f"{path}.{name}")
        for one in noted:
            one.message_id = message.id
    for place, file in enumerate(given.files):
        if file.kind == messages_pb2.FILE_KIND_UNSPECIFIED:
            raise FieldInvalid.of(f"{path}.files[{place}].kind", "is one of: read, written, referenced, attached")
        if not file.file_path:
            raise FieldInvalid.of(f"{path}.files[{place}].file_path", "is empty")
    for place, block in enumerate(given.codeblocks):
        block.idx = place


def tool_call_draft(
    call: messages_pb2.ToolCall,
    turn_id: str,
    sequence: int,
    now: Timestamp,
    new_id: Callable[[], str],
    path: str,
    *,
    ended: bool,
) -> None:
    """Complete a tool call that is to be written, in a turn that has `ended` or goes on. Raises FieldInvalid."""
    small(call, path)
    if not call.tool_name:
        raise FieldInvalid.of(f"{path}.tool_name", "is empty")
    if call.status == messages_pb2.TOOL_CALL_STATUS_UNSPECIFIED and ended:
        call.status = _ENDED[call.HasField("error")]
    elif call.status == messages_pb2.TOOL_CALL_STATUS_UNSPECIFIED:
        call.status = messages_pb2.TOOL_CALL_STATUS_PENDING
    elif ended and call.status not in _ENDED:
        raise FieldInvalid.of(f"{path}.status", "must be completed or failed in a turn that is over")
    call.id = call.id or new_id()
    call.turn_id, call.sequence = turn_id, sequence
    call.params.SetInParent()
    if not call.HasField("started_at"):
        call.started_at.CopyFrom(now)
    if call.status not in _ENDED:
        call.ClearField("completed_at")
    elif not call.HasField("completed_at"):
        call.completed_at.CopyFrom(now)
