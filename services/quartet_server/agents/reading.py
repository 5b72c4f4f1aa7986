"""Turns with everything, read as far as an answer has room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import Message
from quartet.agents.v1 import contents_pb2, messages_pb2, turns_pb2

from quartet_server.agents.schema import CODEBLOCKS, COMPACTIONS, FILES, LINTS, MESSAGES, THREADS, TOOL_CALLS, TURNS
from quartet_server.records import rows
from quartet_server.records.contract import Dialect
from quartet_server.records.contract import Session as Transaction
from quartet_server.records.schema import REVISION, Record
from quartet_server.records.statements import mark, quoted

M = TypeVar("M", bound=Message)
ANSWER_BYTES = 5 << 19  # 2.5 MiB: with a compaction and a session it stays below the 4 MiB that clients take
_CHUNK = 64


@cache
def _select(record: Record[Any], dialect: Dialect, where: str, after: str, noted: bool) -> str:
    """SELECT of a record's rows by a column, in the order of `after` and behind a value of it; parameters: zone, value, after,
    limit. `noted`: of rows about messages of a turn, whose messages' sequences are the order.
    """
    sign = mark(dialect)
    names = ", ".join(f"r.{quoted(name)}" for name in (*record.codec.names, REVISION))
    if noted:
        return (
            f"SELECT {names} FROM {quoted(record.name)} r JOIN messages m ON m.zone = r.zone AND m.id = r.message_id "  # noqa: S608
            f"WHERE m.zone = {sign} AND m.turn_id = {sign} AND m.sequence > {sign} AND m.sequence <= {sign} "
            f"ORDER BY m.sequence, r.{quoted(after)}"
        )
    return (
        f"SELECT {names} FROM {quoted(record.name)} r WHERE r.zone = {sign} AND r.{quoted(where)} = {sign} "  # noqa: S608
        f"AND r.{quoted(after)} > {sign} ORDER BY r.{quoted(after)} LIMIT {sign}"
    )


def behind(at: Transaction, record: Record[M], turn_id: str, sequence: int) -> Iterator[M]:
    """Yield the messages, or tool calls, of a turn behind a sequence, in order; some rows are read at a time."""
    sql = _select(record, at.dialect, "turn_id", "sequence", False)
    place = record.codec.names.index("sequence")
    while True:
        cursor = at.cursor()
        cursor.execute(sql, (at.zone, turn_id, sequence, _CHUNK))
        found = cursor.fetchall()
        cursor.close()
        for row in found:
            yield record.codec.decode(row, row[-1])
        if len(found) < _CHUNK:
            return
        sequence = found[-1][place]


def messages(
    at: Transaction, turn_id: str, *, after: int = 0, most: int = 1 << 30, room: int = ANSWER_BYTES
) -> tuple[list[contents_pb2.MessageContents], bool]:
    """Return messages of a turn behind the sequence `after`, with what is noted of them: at most `most`, and as many as have
    room in `room` bytes; and whether those were all.
    """
    found: list[contents_pb2.MessageContents] = []
    for chunk in _chunks(behind(at, MESSAGES, turn_id, after)):
        whole = [contents_pb2.MessageContents(message=message) for message in chunk]
        _note(at, turn_id, whole)
        for one in whole:
            room -= one.ByteSize() + 8
            if len(found) == most or (room < 0 and found):
                return found, False
            found.append(one)
    return found, True


def tool_calls(
    at: Transaction, turn_id: str, *, after: int = 0, most: int = 1 << 30, room: int = ANSWER_BYTES
) -> tuple[list[messages_pb2.ToolCall], bool]:
    """Return tool calls of a turn behind the sequence `after`, as `messages` does."""
    found: list[messages_pb2.ToolCall] = []
    for call in behind(at, TOOL_CALLS, turn_id, after):
        room -= call.ByteSize() + 8
        if len(found) == most or (room < 0 and found):
            return found, False
        found.append(call)
    return found, True


def noted(at: Transaction, message: messages_pb2.Message) -> contents_pb2.MessageContents:
    """Return a message with what is noted of it."""
    whole = contents_pb2.MessageContents(message=message)
    _note(at, message.turn_id, [whole])
    return whole


def turn(
    at: Transaction, found: turns_pb2.Turn, thread: turns_pb2.Thread, room: int, *, contents: bool = True
) -> contents_pb2.TurnContents:
    """Return a turn, with `contents` with everything that has room in `room` bytes; `truncated` says whether that is all."""
    whole = contents_pb2.TurnContents(turn=found, thread=thread)
    if found.turn_type == turns_pb2.TURN_TYPE_COMPACTION:
        whole.compaction.CopyFrom(rows.fetch(at, COMPACTIONS, found.id))
    if not contents:
        return whole
    room -= whole.ByteSize()
    spoken, all_spoken = messages(at, found.id, room=room)
    whole.messages.extend(spoken)
    room -= sum(one.ByteSize() + 8 for one in spoken)
    done: Sequence[messages_pb2.ToolCall] = ()
    all_done = not found.tool_call_count
    if all_spoken and found.tool_call_count and room > 0:
        done, all_done = tool_calls(at, found.id, room=room)
        if sum(call.ByteSize() + 8 for call in done) > room:
            done, all_done = (), False  # not even the first has room
    whole.tool_calls.extend(done)
    whole.truncated = not (all_spoken and all_done)
    return whole


def turns(at: Transaction, ids: Sequence[str], room: int, *, contents: bool) -> list[contents_pb2.TurnContents]:
    """Return the turns `ids`, in order, as many as have room: the first one always, though it be truncated."""
    done: list[contents_pb2.TurnContents] = []
    for first in range(0, len(ids), _CHUNK):
        some = ids[first : first + _CHUNK]
        found = {one.id: one for one in rows.select(at, TURNS, TURNS.table.c.id.in_(some))}
        threads = {one.turn_id: one for one in rows.select(at, THREADS, THREADS.table.c.turn_id.in_(some))}
        for one in some:
            whole = turn(at, found[one], threads[one], room, contents=contents)
            room -= whole.ByteSize() + 8
            if done and (room < 0 or whole.truncated):
                return done
            done.append(whole)
            if whole.truncated:
                return done
    return done


def _chunks(all_of_them: Iterator[M]) -> Iterator[list[M]]:
    chunk: list[M] = []
    size = 0
    for one in all_of_them:
        chunk.append(one)
        size += one.ByteSize()
        if len(chunk) == _CHUNK or size > ANSWER_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _note(at: Transaction, turn_id: str, whole: Sequence[contents_pb2.MessageContents]) -> None:
    """Add what is noted of messages of a turn, which follow each other."""
    by_id = {one.message.id: one for one in whole}
    first, last = whole[0].message.sequence, whole[-1].message.sequence
    for record, name in ((FILES, "files"), (LINTS, "lints"), (CODEBLOCKS, "codeblocks")):
        cursor = at.cursor()
        cursor.execute(_select(record, at.dialect, "", "id", True), (at.zone, turn_id, first - 1, last))
        for row in cursor.fetchall():
            one = record.codec.decode(row, row[-1])
            getattr(by_id[one.message_id], name).append(one)
        cursor.close()
