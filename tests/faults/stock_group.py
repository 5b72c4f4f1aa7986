"""A register on three members of stock pysyncobj, on a network and a clock in the test's hands, with its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faults.history import History
from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raftmeta.etcd import rpc_pb2 as pb

KEY = b"register"
Sent = tuple[str, str, dict[str, Any]]
"""(source, target, message)."""


class _Wire(Transport):  # type: ignore[misc]
    def __init__(self, source: str, sent: list[Sent]) -> None:
        super().__init__(None, None, [])
        self._source = source
        self._sent = sent

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self._sent.append((self._source, node.id, dict(message)))
        return True


class _Member(SyncObj):  # type: ignore[misc]
    def __init__(self, name: str, others: list[str], sent: list[Sent]) -> None:
        self.value: tuple[bytes, int] | None = None
        conf = SyncObjConf(autoTick=False, useFork=False, appendEntriesUseBatch=False, commandsWaitLeader=False)
        nodes = [Node(other) for other in others]
        super().__init__(Node(name), nodes, conf, transport=_Wire(name, sent))
        for node in nodes:
            self._SyncObj__onNodeConnected(node)

    @replicated  # type: ignore[untyped-decorator]
    def write(self, value: str) -> None:
        self.value = (value.encode(), self.value[1] + 1 if self.value else 1)


class StockGroup:
    """Three members, "a", "b" and "c".

    Attributes:
        history: Every call made through `put` and `get`.
        sent: Every message ever sent, in order.
        cut: Members that neither hear nor are heard.
    """

    def __init__(self, advance: Callable[[float], None]) -> None:
        """`advance` moves the clock of pysyncobj on."""
        self.now = 0.0
        self.history = History(clock=self._tell)
        self.sent: list[Sent] = []
        self.cut: set[str] = set()
        self._advance = advance
        self._taken = 0
        self.members = {name: _Member(name, [one for one in "abc" if one != name], self.sent) for name in "abc"}

    def _tell(self) -> float:
        self.now += 0.001
        return self.now

    def run(self, turns: int = 6) -> None:
        """Let time pass, members tick, and messages arrive, those from and to members that are cut off left out."""
        for _ in range(turns):
            self._advance(0.11)
            for name, member in self.members.items():
                if name not in self.cut:
                    member.doTick(0)
            while self._taken < len(self.sent):
                self._taken += 1
                self.arrive(self.sent[self._taken - 1])

    def arrive(self, sent: Sent) -> None:
        """Let a message arrive, be it old, unless one end is cut off."""
        source, target, message = sent
        if not {source, target} & self.cut:
            self.members[target]._SyncObj__onMessageReceived(Node(source), dict(message))

    def elect(self, name: str) -> None:
        """Let the election timeout of a member pass and nobody else's, and whatever follows."""
        for each, member in self.members.items():
            member._SyncObj__raftElectionDeadline = 0 if each == name else float("inf")
        self.run()
        assert self.members[name]._isLeader()

    def put(self, name: str, value: bytes) -> None:
        """Write through a member; recorded as answered if it says that it succeeded."""
        operation = self.history.begin("writer", name, pb.PutRequest(key=KEY, value=value))
        errors: list[int] = []
        self.members[name].write(value.decode(), callback=lambda result, error: errors.append(error))
        self.run()
        if errors == [FAIL_REASON.SUCCESS]:
            self.history.answered(operation, pb.PutResponse())
        else:
            self.history.failed(operation, str(errors), certainly=False)

    def get(self, name: str) -> bytes | None:
        """Read on a member that says it leads."""
        member = self.members[name]
        assert member._isLeader()
        operation = self.history.begin("reader", name, pb.RangeRequest(key=KEY))
        answer = pb.RangeResponse()
        if member.value is not None:
            answer.count = 1
            answer.kvs.add(key=KEY, value=member.value[0], version=member.value[1])
        self.history.answered(operation, answer)
        return member.value[0] if member.value else None
