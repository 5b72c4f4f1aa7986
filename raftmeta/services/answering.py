"""Writes that begin without a task: a call answered by the proposer itself."""

from __future__ import annotations

from typing import Any

from raftmeta.errors import MetastoreError
from raftmeta.node import Node
from raftmeta.serving.call import Call


class Answer:
    """Who waits for a command on behalf of a call; see `Asker`."""

    __slots__ = ("_call", "_node")

    def __init__(self, call: Call, node: Node) -> None:
        """Answer `call` for `node`."""
        self._call = call
        self._node = node

    def done(self) -> bool:
        """See `Asker.done`."""
        return self._call.done()

    def set_result(self, result: Any, /) -> None:
        """See `Asker.set_result`."""
        self._node.complete(result.header)
        self._call.end(result.SerializeToString())
        self._call.finished()

    def set_exception(self, exception: MetastoreError, /) -> None:
        """See `Asker.set_exception`."""
        self._call.set_code(exception.code)
        self._call.set_details(exception.text)
        self._call.end()
        self._call.finished()
