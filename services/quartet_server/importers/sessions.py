"""Puts sessions together while their logs are read, and hands them on in parts, so that none has to fit into memory."""

from __future__ import annotations

from dataclasses import replace

from quartet_server.importers.items import Called, Said, Session, Turn

PART = 700_000
"""Characters after which a part is handed on."""
MESSAGES = 400
"""Messages, or tool calls, of a turn after which it is handed on in part."""
TURNS = 2000
CROWDED = 5000
"""Messages, or tool calls, after which a turn goes on in another one: the ledger takes 10,000."""


class Book:
    """One session in the making.

    Attributes:
        head: Id of the turn at which it is; empty before the first.
    """

    def __init__(self, session: Session) -> None:
        """Begin with a session without turns."""
        self._session = session
        self._turns: dict[str, Turn] = {}
        self._pending: dict[str, tuple[str, Called]] = {}
        self._known: dict[str, Turn] = {}
        self._counts: dict[str, int] = {}
        self._ids: set[str] = set()
        self._held = self._parts = 0
        self.head = ""

    @property
    def label(self) -> str:
        """The session's label."""
        return self._session.label

    def begin(self, turn: Turn) -> None:
        """Open a turn and go on there."""
        self._known[turn.id] = replace(turn, compaction=None)
        self._turns[turn.id] = turn
        self._held += len(turn.compaction or "")
        self._session.updated_at = max(self._session.updated_at, turn.started_at)
        self.head = turn.id

    def turn(self, id_: str) -> Turn:
        """Return a turn of the session, to be added to."""
        if id_ not in self._turns:
            self._turns[id_] = replace(self._known[id_], messages=[], calls=[])
        return self._turns[id_]

    def knows(self, id_: str) -> bool:
        """Tell whether a turn was begun."""
        return id_ in self._known

    def crowded(self, id_: str) -> bool:
        """Tell whether a turn has so much in it that another should go on for it."""
        return self._counts.get(id_, 0) >= CROWDED

    def say(self, turn: str, said: Said) -> None:
        """Add a message; one that the session has already is not added again."""
        if self._new(turn, said.id):
            self.turn(turn).messages.append(said)
            self._held += len(said.content) + len(said.thinking)
            self._seen(turn, said.created_at)

    def call(self, turn: str, called: Called) -> None:
        """Note that a tool was called; it is added when it answers."""
        if self._new(turn, called.id):
            self._pending[called.id] = (turn, called)
            self._held += len(str(called.params))
            self._seen(turn, called.started_at)

    def answer(self, call: str, result: str, at: int, *, failed: bool = False) -> str:
        """Say how a tool call ended; return the turn it is of, empty for one that nobody asked for."""
        turn, called = self._pending.pop(call, ("", None))
        if called is None:
            return ""
        called.failed = failed
        called.error, called.result = (result, "") if failed else ("", result)
        called.completed_at = max(at, called.started_at)
        self.turn(turn).calls.append(called)
        self._held += len(result)
        self._seen(turn, at)
        return turn

    def _new(self, turn: str, id_: str) -> bool:
        if id_ in self._ids:
            return False
        self._ids.add(id_)
        self._counts[turn] = self._counts.get(turn, 0) + 1
        return True

    def _seen(self, id_: str, at: int) -> None:
        turn = self.turn(id_)
        turn.completed_at = max(turn.completed_at or turn.started_at, at)
        self._session.updated_at = max(self._session.updated_at, at)

    def full(self) -> bool:
        """Tell whether it is time to hand a part on."""
        turn = self._turns.get(self.head)
        long = turn is not None and max(len(turn.messages), len(turn.calls)) >= MESSAGES
        return self._held >= PART or long or len(self._turns) >= TURNS

    def part(self) -> Session:
        """Return what is new since the part before."""
        self._parts += 1
        session = replace(self._session, turns=self._taken(), final=False, fingerprint=f"part-{self._parts}")
        self._turns, self._held = {}, 0
        return session

    def end(self, fingerprint: str) -> Session | None:
        """Return the last part; None for a session in which nothing was said.

        A tool that did not answer has failed; but in the last turn it may answer yet, so that it is not told.
        """
        if not self.head:
            return None
        for turn, called in self._pending.values():
            if turn != self.head:
                called.failed, called.error = True, "the log has no answer"
                self.turn(turn).calls.append(called)
        self.turn(self.head)
        turns = self._taken()
        if turns[-1].id != self.head:  # the session ends there, though something else came later
            turns.append(replace(self._known[self.head], messages=[], calls=[]))
        return replace(self._session, turns=turns, final=True, fingerprint=fingerprint)

    def _taken(self) -> list[Turn]:
        for turn in self._turns.values():
            turn.calls.sort(key=lambda called: called.started_at)
            self._known[turn.id] = replace(turn, messages=[], calls=[], compaction=None)
        return list(self._turns.values())
