"""The window in which a batch proposed twice is applied once: (client, sequence) -> what it was answered."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence

from google.protobuf.message import Message

from raftmeta.errors import Fault
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine.applied import Result
from raftmeta.store.view import View
from raftmeta.store.writes import WriteView

WINDOW = 10_000
MAX_CLIENTS = 1_024
MAX_ANSWER = 64 << 10

_TYPES: tuple[type[Message], ...] = (
    pb.PutResponse,
    pb.DeleteRangeResponse,
    pb.TxnResponse,
    pb.CompactionResponse,
    pb.LeaseGrantResponse,
    pb.LeaseRevokeResponse,
    pb.LeaseCheckpointResponse,
    pb.AlarmResponse,
)
_TAGS = {kind: tag for tag, kind in enumerate(_TYPES)}
_FAULT = 255
_NAME = struct.Struct(">QQ")
_ITEM = struct.Struct(">BI")
_CLIENT = b"client"


class Window:
    """The batches of the last WINDOW log entries, by name; older ones leave their client's highest sequence behind.

    A batch that comes back after its entry left the window is not applied and has an unknown outcome. The highest
    sequences of the MAX_CLIENTS clients that were pushed out last are kept. Everything here is a function of the log.
    """

    def __init__(self, view: View) -> None:
        """Load the window from the store."""
        self._index: dict[tuple[int, int], int] = {}
        self._order: deque[tuple[int, int, int]] = deque()
        self._dropped: dict[int, int] = {}
        for index, row in view.batches():
            client, sequence = _NAME.unpack_from(row)
            self._index[client, sequence] = index
            self._order.append((index, client, sequence))
        clients = [(*_NAME.unpack(value), int.from_bytes(name, "big")) for name, value in view.meta_rows(_CLIENT)]
        for _, sequence, client in sorted(clients):
            self._dropped[client] = sequence

    def answer(self, view: View, client: int, sequence: int, commands: int) -> list[Result] | None:
        """Return what a batch was answered before, or None when it is new.

        TIMEOUT stands for an answer that is not kept: the batch was applied, or may have been.
        """
        index = self._index.get((client, sequence))
        if index is None:
            return [Fault.TIMEOUT] * commands if sequence <= self._dropped.get(client, 0) else None
        row = view.batch(index)
        results = [] if row is None else _decode(row[_NAME.size :])
        return results if len(results) == commands else [Fault.TIMEOUT] * commands

    def add(self, view: WriteView, index: int, client: int, sequence: int, results: Sequence[Result]) -> None:
        """Remember the batch applied at log entry `index`."""
        view.set_batch(index, _NAME.pack(client, sequence) + _encode(results))
        self._index[client, sequence] = index
        self._order.append((index, client, sequence))

    def advance(self, view: WriteView, index: int) -> None:
        """Forget what has left the window now that entry `index` is applied."""
        order = self._order
        while order and order[0][0] <= index - WINDOW:
            old, client, sequence = order.popleft()
            del self._index[client, sequence]
            view.set_batch(old, None)
            highest = max(sequence, self._dropped.pop(client, 0))
            self._dropped[client] = highest  # last pushed out is last in the dict
            view.set_meta(_CLIENT + client.to_bytes(8, "big"), _NAME.pack(old, highest))
            if len(self._dropped) > MAX_CLIENTS:
                oldest = next(iter(self._dropped))
                del self._dropped[oldest]
                view.set_meta(_CLIENT + oldest.to_bytes(8, "big"), None)


def _encode(results: Sequence[Result]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for result in results:
        if isinstance(result, Fault):
            tag, data = _FAULT, result.name.encode("ascii")
        else:
            tag, data = _TAGS[type(result)], result.SerializeToString()
        size += len(data)
        if size > MAX_ANSWER:
            return b""
        parts += (_ITEM.pack(tag, len(data)), data)
    return b"".join(parts)


def _decode(data: bytes) -> list[Result]:
    results: list[Result] = []
    at = 0
    while at < len(data):
        tag, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        body = data[at : at + length]
        at += length
        if tag == _FAULT:
            results.append(Fault[body.decode("ascii")])
        else:
            message = _TYPES[tag]()
            message.ParseFromString(body)
            results.append(message)
    return results
