"""What a check finds: one thing that is wrong, and the transaction that mends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message
from quartet.files.v1 import files_pb2
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.meta.snapshot import KeyValue
from raftmeta.etcd import rpc_pb2

Kind: TypeAlias = pb.FindingKind.ValueType
Record = TypeVar("Record", bound=Message)


@dataclass(frozen=True, slots=True)
class Rescue:
    """Something that gets an entry in /lost+found.

    Attributes:
        ino: Its inode number.
        type: What it is.
        quota: Number of its own quota; 0 for none.
    """

    ino: int
    type: files_pb2.EntryType.ValueType
    quota: int = 0


@dataclass(frozen=True, slots=True)
class Mend:
    """How something is mended: one transaction.

    Attributes:
        compares: That all is as it was seen.
        operations: What is written.
        rescue: What also gets an entry, and a parent pointer, in /lost+found.
    """

    compares: list[rpc_pb2.Compare] = field(default_factory=list)
    operations: list[rpc_pb2.RequestOp] = field(default_factory=list)
    rescue: Rescue | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: What kind of thing.
        key: The record by which it was found, and is looked at again.
        path: Path, or what it is about.
        problem: What is wrong.
        remedy: What mending does; empty for nothing.
        mend: How; None for what nobody but its owner can mend.
    """

    kind: Kind
    key: bytes
    path: str
    problem: str
    remedy: str = ""
    mend: Mend | None = None

    def told(self, above: str, *, repaired: bool) -> pb.Finding:
        """Return it as the API tells it to a caller whose root is at the path `above`."""
        path = self.path.removeprefix(above) if self.path.startswith(f"{above}/") else self.path
        return pb.Finding(kind=self.kind, path=path, problem=self.problem, remedy=self.remedy, repaired=repaired)


def decoded(kind: type[Record], kv: KeyValue | None) -> Record | None:
    """Return a record; None for one that is not there or cannot be decoded, which its own rule tells."""
    if kv is None:
        return None
    try:
        return kind.FromString(kv.value)
    except DecodeError:
        return None


def unreadable(kv: KeyValue, what: str) -> Finding:
    """Return the finding of a record that cannot be decoded."""
    return Finding(
        pb.FINDING_KIND_RECORD_UNREADABLE, kv.key, what, f"the record of {what}, key {kv.key!r}, cannot be decoded"
    )
