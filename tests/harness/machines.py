"""A machine on a temporary store, fed with commands as the log would feed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.message import Message

from raftmeta.consensus.contract import Entry
from raftmeta.errors import Fault
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Applied, Machine, Result
from raftmeta.store import Store
from raftmeta.v1 import command_pb2

MAP_SIZE = 1 << 30


class Feed:
    """Feeds a machine one log entry after the other.

    Attributes:
        machine: The machine.
        steps: What its listener was told.
    """

    def __init__(self, machine: Machine, client: int = 7) -> None:
        """Continue after what the machine has applied, as proposer `client`."""
        self.machine = machine
        self.client = client
        self.steps: list[Applied] = []
        machine.on_applied(self.steps.append)

    def entry(self, *commands: command_pb2.Command) -> Entry:
        """Return the next log entry."""
        return self._entry(self.machine.applied()[0] + 1, *commands)

    def entry_at(self, index: int, request: Message, space: int = 0) -> Entry:
        """Return a log entry of one request at `index`."""
        return self._entry(index, command(request, space))

    def _entry(self, index: int, *commands: command_pb2.Command) -> Entry:
        batch = command_pb2.Batch(client=self.client, sequence=index, commands=commands)
        return Entry(index, 1, batch.SerializeToString())

    def __call__(self, request: Message, space: int = 0) -> Result:
        """Apply one request in an entry of its own and return its result."""
        self.machine.apply([self.entry(command(request, space))])
        return self.steps[-1].outcomes[0].results[0]

    def put(self, key: bytes, value: bytes = b"", space: int = 0, **options: object) -> Result:
        """Put a key."""
        return self(pb.PutRequest(key=key, value=value, **options), space)  # type: ignore[arg-type]

    def fault(self, request: Message, space: int = 0) -> Fault:
        """Apply a request that must be refused; return why it was."""
        result = self(request, space)
        assert isinstance(result, Fault), result
        return result


_FIELDS = {
    pb.PutRequest: "put",
    pb.DeleteRangeRequest: "delete_range",
    pb.TxnRequest: "txn",
    pb.CompactionRequest: "compact",
    pb.LeaseGrantRequest: "lease_grant",
    pb.LeaseRevokeRequest: "lease_revoke",
    command_pb2.LeaseCheckpoint: "lease_checkpoint",
    pb.AlarmRequest: "alarm",
    command_pb2.Floor: "floor",
}


def command(request: Message, space: int = 0) -> command_pb2.Command:
    """Wrap a request into a command."""
    wrapped = command_pb2.Command(space=space)
    getattr(wrapped, _FIELDS[type(request)]).CopyFrom(request)
    return wrapped


@contextmanager
def machine(directory: Path) -> Iterator[Machine]:
    """Open a machine in `directory` and close it afterwards."""
    opened = Machine(Store(directory, map_size=MAP_SIZE))
    try:
        yield opened
    finally:
        opened.close()
