"""Ways through the tree of turns: a thread row knows the nearest ancestors, and where to read on.

The thread of a turn at depth d lists the ids of the turns before it whose depths are 64 * ((d - 1) // 64) to d - 1. So a row has
at most 64 ids however deep it is, and the way to a root is read in a sixty-fourth of its length.
"""

from __future__ import annotations

from collections.abc import Iterator

from quartet.agents.v1 import turns_pb2

from quartet_server.agents.schema import THREADS
from quartet_server.errors import LimitReached
from quartet_server.records import rows
from quartet_server.records.contract import Session as Transaction

SEGMENT = 64
DEEPEST = 100_000


def below(parent: turns_pb2.Thread | None, turn_id: str, tokens: int) -> turns_pb2.Thread:
    """Return where the turn `turn_id` of `tokens` tokens stands, whose parent stands at `parent`; None makes it a root.

    Raises LimitReached.
    """
    if parent is None:
        return turns_pb2.Thread(turn_id=turn_id, depth=0, total_tokens=tokens)
    if parent.depth >= DEEPEST:
        raise LimitReached(f"a turn has at most {DEEPEST} turns before it", limit=DEEPEST)
    known = () if parent.depth % SEGMENT == 0 else parent.ancestry
    return turns_pb2.Thread(
        turn_id=turn_id,
        ancestry=[*known, parent.turn_id],
        depth=parent.depth + 1,
        total_tokens=parent.total_tokens + tokens,
    )


def segments(at: Transaction, end: turns_pb2.Thread, lowest: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the way to `end` in parts, the last first: the depth at which a part begins, and the ids of its turns in order.

    The first part ends with `end` itself. Parts that end above the depth `lowest` are not read.
    """
    ids = [*end.ancestry, end.turn_id]
    first = end.depth - len(end.ancestry)
    yield first, ids
    while first > lowest:
        anchor = rows.fetch(at, THREADS, ids[0])
        ids = list(anchor.ancestry)
        first -= len(ids)
        yield first, ids


def way(at: Transaction, end: turns_pb2.Thread, lowest: int, highest: int) -> list[str]:
    """Return the ids of the turns on the way to `end` whose depths are `lowest` to `highest`, in order."""
    found: list[str] = []
    for first, ids in segments(at, end, lowest):
        if first <= highest:
            found[:0] = ids[max(lowest - first, 0) : highest - first + 1]
    return found


def ancestor(at: Transaction, end: turns_pb2.Thread, depth: int) -> str:
    """Return the id of the turn at `depth` on the way to `end`, which is at least as deep."""
    return way(at, end, depth, depth)[0]
