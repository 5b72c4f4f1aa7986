"""Sessions, turns, forks and aliases in any order, held against a model: the tree only grows, and pointers are where it says."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pysqlite3
import sqlalchemy as sa
from harness.conversations import exchange
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from quartet.agents.v1 import session_calls_pb2 as session_calls
from quartet.agents.v1 import sessions_pb2, turn_calls_pb2, turns_pb2
from quartet_server.agents import paths, sessions, streaming, trees, turns
from quartet_server.agents.schema import COMPACTIONS, HISTORY, SCHEMA, SESSIONS, THREADS, TURNS
from quartet_server.failure import QuartetError
from quartet_server.records import rows
from quartet_server.records.contract import Dialect, Session

LABELS = st.sampled_from("abcd")
NAMES = st.sampled_from("abcdxyz")
PICK = st.integers(0, 1000)


@dataclass
class Known:
    """What the model knows of a turn."""

    parent: str
    tokens: int
    finished: bool = True
    compaction: tuple[str, str] | None = None


@dataclass
class Model:
    """What the ledger should be."""

    turns: dict[str, Known] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    moves: list[tuple[str, str]] = field(default_factory=list)

    def label(self, name: str) -> str | None:
        """Return the label that a name stands for."""
        return name if name in self.heads else self.aliases.get(name)

    def way(self, turn: str) -> list[str]:
        """Return the way from the root to a turn."""
        found: list[str] = []
        while turn:
            found.insert(0, turn)
            turn = self.turns[turn].parent
        return found

    def move(self, label: str, turn: str) -> None:
        """Move a pointer."""
        self.heads[label] = turn
        self.moves.append((label, turn))


class Machine(RuleBasedStateMachine):
    """Plays calls on the ledger and on the model; what the one refuses, the other does."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.segment, trees.SEGMENT = trees.SEGMENT, 3  # so that a short way has several
        engine = sa.create_engine(
            "sqlite://", module=pysqlite3, poolclass=sa.pool.StaticPool, isolation_level="AUTOCOMMIT"
        )
        self.connection = engine.connect()
        self.connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        SCHEMA.metadata.create_all(self.connection)
        numbers = itertools.count(1)
        self.at = Session("z", 1_000, Dialect.SQLITE, self.connection, lambda: f"id{next(numbers):06}")
        self.model = Model()

    def teardown(self) -> None:
        """Close the database."""
        trees.SEGMENT = self.segment
        self.connection.close()
        self.connection.engine.dispose()

    def do(self, verb: Any, request: Any) -> tuple[Any, str]:
        """Return the answer of a call, and the reason for which it was refused."""
        self.connection.exec_driver_sql("SAVEPOINT work")
        try:
            answer, reason = verb(self.at, request), ""
        except QuartetError as error:
            self.connection.exec_driver_sql("ROLLBACK TO work")
            answer, reason = None, error.reason
        self.connection.exec_driver_sql("RELEASE work")
        return answer, reason

    def pick(self, number: int) -> str:
        """Return a turn that there is."""
        return list(self.model.turns)[number % len(self.model.turns)]

    @rule(name=NAMES)
    def open(self, name: str) -> None:
        answer, _ = self.do(sessions.open_session, session_calls.OpenSessionRequest(label=name))
        known = self.model.label(name)
        assert isinstance(answer, session_calls.OpenSessionResponse)
        assert (answer.session.label, answer.created) == (known or name, known is None)
        self.model.heads.setdefault(known or name, "")

    @rule(alias=NAMES, name=NAMES)
    def alias(self, alias: str, name: str) -> None:
        request = session_calls.AddAliasRequest(alias=alias, session_label=name)
        _, reason = self.do(sessions.add_alias, request)
        if self.model.label(alias) is not None:
            assert reason == "ALIAS_TAKEN"
        elif (label := self.model.label(name)) is None:
            assert reason == "SESSION_NOT_FOUND"
        else:
            assert reason == ""
            self.model.aliases[alias] = label

    @rule(alias=NAMES)
    def remove_alias(self, alias: str) -> None:
        _, reason = self.do(sessions.remove_alias, session_calls.RemoveAliasRequest(alias=alias))
        assert reason == ("" if self.model.aliases.pop(alias, None) else "RECORD_NOT_FOUND")

    @rule(
        name=NAMES,
        tokens=st.integers(0, 9),
        parent=st.none() | st.just("") | PICK,
        expected=st.none() | st.just("") | PICK,
        streams=st.booleans(),
    )
    def append(
        self, name: str, tokens: int, parent: int | str | None, expected: int | str | None, streams: bool
    ) -> None:
        above = self.pick(parent) if isinstance(parent, int) and self.model.turns else parent
        head = self.pick(expected) if isinstance(expected, int) and self.model.turns else expected
        contents = exchange(total_tokens=tokens, parent_turn_id=above if isinstance(above, str) else None)
        head = head if isinstance(head, str) else None
        kind = turn_calls_pb2.StartTurnRequest if streams else turn_calls_pb2.AppendTurnRequest
        request = kind(session_label=name, contents=contents, expected_head=head)
        answer, reason = self.do(turns.start if streams else turns.append, request)
        label = self.model.label(name)
        if label is None:
            assert reason == "SESSION_NOT_FOUND"
            return
        if head is not None and head != self.model.heads[label]:
            assert reason == "HEAD_MOVED"
            return
        stands = above if isinstance(above, str) else self.model.heads[label]
        if stands and not self.model.turns[stands].finished:
            assert reason == "TURN_UNFINISHED"
            return
        assert reason == ""
        turn = answer.turn.id
        self.model.turns[turn] = Known(stands, tokens, not streams)
        self.model.move(label, turn)

    @precondition(lambda self: self.model.turns)
    @rule(number=PICK, tokens=st.none() | st.integers(0, 9), fails=st.booleans())
    def finish(self, number: int, tokens: int | None, fails: bool) -> None:
        turn = self.pick(number)
        usage = turn_calls_pb2.TurnUsage(total_tokens=tokens)
        request = (turn_calls_pb2.FailTurnRequest if fails else turn_calls_pb2.CompleteTurnRequest)(
            turn_id=turn, usage=usage
        )
        _, reason = self.do(streaming.fail if fails else streaming.complete, request)
        known = self.model.turns[turn]
        assert reason == ("TURN_FINISHED" if known.finished else "")
        if not known.finished:
            known.finished = True
            known.tokens = known.tokens if tokens is None else tokens

    @precondition(lambda self: self.model.turns)
    @rule(name=NAMES, number=PICK)
    def move(self, name: str, number: int) -> None:
        turn = self.pick(number)
        _, reason = self.do(sessions.move_head, session_calls.MoveHeadRequest(session_label=name, turn_id=turn))
        label = self.model.label(name)
        assert reason == ("" if label else "SESSION_NOT_FOUND")
        if label and self.model.heads[label] != turn:
            self.model.move(label, turn)

    @precondition(lambda self: self.model.turns)
    @rule(label=LABELS, number=PICK)
    def fork(self, label: str, number: int) -> None:
        turn = self.pick(number)
        session = sessions_pb2.Session(label=label)
        _, reason = self.do(sessions.fork, session_calls.ForkSessionRequest(turn_id=turn, session=session))
        if self.model.label(label) is not None:
            assert reason == "SESSION_EXISTS"
            return
        assert reason == ""
        self.model.move(label, turn)

    @rule(name=NAMES, through=PICK, kept=st.none() | PICK)
    def compact(self, name: str, through: int, kept: int | None) -> None:
        label = self.model.label(name)
        head = self.model.heads.get(label or "", "")
        way = self.model.way(head) if head else []
        compaction = turns_pb2.Compaction(summary="s", model="m")
        if way:
            compaction.summarized_through_turn_id = way[through % len(way)]
            if kept is not None:
                compaction.first_kept_turn_id = way[kept % len(way)]
        request = turn_calls_pb2.CompactSessionRequest(session_label=name, compaction=compaction)
        answer, reason = self.do(turns.compact, request)
        if label is None:
            assert reason == "SESSION_NOT_FOUND"
        elif not head:
            assert reason == "TURN_NOT_ON_PATH"
        elif not self.model.turns[head].finished:
            assert reason == "TURN_UNFINISHED"
        elif kept is not None and kept % len(way) <= through % len(way):
            assert reason == "TURN_NOT_ON_PATH"
        else:
            assert reason == ""
            turn = answer.turn.id
            named = (compaction.summarized_through_turn_id, compaction.first_kept_turn_id)
            self.model.turns[turn] = Known(head, 0, compaction=named)
            self.model.move(label, turn)

    @rule(name=NAMES, size=st.integers(1, 4))
    def read(self, name: str, size: int) -> None:
        label = self.model.label(name)
        if label is None or not self.model.heads[label]:
            return
        way = self.model.way(self.model.heads[label])
        last = next((one for one in reversed(way) if self.model.turns[one].compaction), "")
        context = way
        if last:
            through, kept = self.model.turns[last].compaction or ("", "")
            first = way.index(kept) if kept else way.index(through) + 1
            context = [one for one in way[first:] if one != last]
        asked: list[tuple[Any, Any, list[str]]] = [
            (paths.get_thread, turn_calls_pb2.GetThreadRequest(session_label=name, page_size=size), way),
            (paths.get_context, turn_calls_pb2.GetContextRequest(session_label=name, page_size=size), context),
        ]
        for verb, request, expected in asked:
            found: list[str] = []
            while True:
                page = verb(self.at, request)
                found += [one.turn.id for one in page.turns]
                assert page.length == len(expected)
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
            assert found == expected

    @invariant()
    def the_ledger_is_what_the_model_says(self) -> None:
        model, at = self.model, self.at
        assert {one.label: one.thread_id for one in rows.select(at, SESSIONS)} == model.heads
        history = rows.select(at, HISTORY, order=(HISTORY.table.c.id,))
        assert [(move.session_label, move.thread_id) for move in history] == model.moves
        stored = {one.id: one for one in rows.select(at, TURNS)}
        threads = {one.turn_id: one for one in rows.select(at, THREADS)}
        assert stored.keys() == threads.keys() == model.turns.keys()
        parents = {known.parent for known in model.turns.values()}
        for turn, known in model.turns.items():
            assert (stored[turn].parent_turn_id, stored[turn].has_children) == (known.parent, turn in parents)
            way = model.way(turn)
            assert (threads[turn].depth, threads[turn].total_tokens) == (
                len(way) - 1,
                sum(model.turns[one].tokens for one in way),
            )
        compactions = {one.turn_id for one in rows.select(at, COMPACTIONS)}
        assert compactions == {turn for turn, known in model.turns.items() if known.compaction}


TestLedger = Machine.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
