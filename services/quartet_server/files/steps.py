"""A directory entry as it was read: where it leads, and what must hold for it to lead there still."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2

from quartet_server.files import keys
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue
from raftmeta.etcd import rpc_pb2 as pb


@dataclass(frozen=True, slots=True)
class Step:
    """A directory entry on the way.

    Attributes:
        key: The entry's key.
        ino: Where it leads.
        type: What is there.
        revision: When the entry was last written; 0 for one that this very transaction writes.
        name: The name as it was spelled at creation.
        quota: Number of the quota of the directory there; 0 for none.
        mount: Number of the store that is mounted at the directory; 0 for none.
    """

    key: bytes
    ino: int
    type: files_pb2.EntryType.ValueType
    revision: int
    name: str
    quota: int = 0
    mount: int = 0

    @classmethod
    def of(cls, kv: KeyValue) -> Step:
        """Decode a dentry."""
        dentry = storage_pb2.Dentry.FromString(kv.value)
        name = sys.intern(dentry.spelling or keys.parse(kv.key).rest.decode())  # many directories have the same names
        return cls(kv.key, dentry.ino, dentry.type, kv.mod_revision, name, dentry.quota, dentry.mount)

    def written(self, *, quota: int | None = None, mount: int | None = None) -> pb.RequestOp:
        """Return the write of the same entry with another quota, or another mount; None keeps what it has."""
        kept = self.quota if quota is None else quota, self.mount if mount is None else mount
        spelling = "" if self.name.encode() == keys.parse(self.key).rest else self.name
        value = storage_pb2.Dentry(ino=self.ino, type=self.type, spelling=spelling, quota=kept[0], mount=kept[1])
        return ops.put(self.key, value.SerializeToString())

    def compare(self) -> pb.Compare:
        """Demand that the entry still leads there."""
        return ops.unchanged(self.key, self.revision)
