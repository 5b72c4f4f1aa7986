"""pysyncobj as it is, on a clock and a network of the test's: to show what it does where we replaced it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysyncobj.syncobj
import pytest
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport


class Outbox(Transport):  # type: ignore[misc]
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.sent: list[tuple[Node, dict[str, Any]]] = []

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self.sent.append((node, message))
        return True

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for _, message in self.sent if message["type"] == kind]


class Stock(SyncObj):  # type: ignore[misc]
    """A member of a stock group: nodes "a", "b" and "c", of which this is "a"."""

    def __init__(self, others: str = "bc", files: Path | None = None, **conf: Any) -> None:
        self.outbox = Outbox()
        if files is not None:
            conf |= {"journalFile": str(files / "journal")}
        settings = SyncObjConf(autoTick=False, dynamicMembershipChange=True, useFork=False, **conf)
        self.now = 1000.0
        self.values: list[Any] = []
        super().__init__(Node("a"), [Node(other) for other in others], settings, transport=self.outbox)
        for other in others:
            self._SyncObj__onNodeConnected(Node(other))

    @replicated  # type: ignore[untyped-decorator]
    def keep(self, value: Any) -> None:
        if value == "poison":
            raise RuntimeError("poison")
        self.values.append(value)

    def hear(self, sender: str, kind: str, **message: Any) -> None:
        """Let a message arrive."""
        self._SyncObj__onMessageReceived(Node(sender), {"type": kind, **message})

    def append(self, sender: str, term: int, prev: tuple[int, int], entries: list[Any], commit: int = 1) -> None:
        """Let an append arrive; entries are (index, term)."""
        records = [(b"\x01", index, entry_term) for index, entry_term in entries]
        self.hear(
            sender,
            "append_entries",
            term=term,
            commit_index=commit,
            entries=records,
            prevLogIdx=prev[0],
            prevLogTerm=prev[1],
        )

    @property
    def log(self) -> list[tuple[int, int]]:
        """(index, term) of every entry."""
        return [(index, term) for _, index, term in self._SyncObj__raftLog[:]]

    def lead(self) -> None:
        """Make this member leader of its group with the vote of "b"."""
        self._SyncObj__raftElectionDeadline = 0
        self.doTick(0)
        if not self._isLeader():
            self.hear("b", "response_vote", term=self.raftCurrentTerm)


@pytest.fixture
def stock_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give stock pysyncobj a clock that stands still; the value returned moves it on."""
    now = [1000.0]
    monkeypatch.setattr(pysyncobj.syncobj, "monotonicTime", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance
