"""What is known of snapshots: found by id, ref or root digest, and told as a caller may see it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.snapshots.storage.v1 import storage_pb2 as storage
from quartet.snapshots.v1 import snapshots_pb2 as pb

from quartet_server.errors import FieldInvalid, SnapshotNotFound, SnapshotParentMoved
from quartet_server.files.keys import ROOT
from quartet_server.files.principals import Base
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import keys
from raftmeta.etcd import rpc_pb2

NONE = "none"
"""What a caller expects where there must be no snapshot yet."""
_ID = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"([0-9a-f]{64})(?:/[0-9]{1,19})?")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@-]{0,127}")


@dataclass(frozen=True, slots=True)
class Known:
    """A snapshot that was found.

    Attributes:
        id: 16 bytes.
        kv: Its key.
        record: Its value.
    """

    id: bytes
    kv: KeyValue
    record: storage.SnapshotRecord

    @property
    def root(self) -> Digest:
        """The Directory at its top."""
        return digest_of(self.record.root)

    @property
    def ino(self) -> int:
        """Inode number of the directory that it was taken of."""
        return self.record.inos[-1] if self.record.inos else ROOT

    def compare(self) -> rpc_pb2.Compare:
        """Demand that it still exists; refs may come and go."""
        return ops.created(self.kv.key, self.kv.create_revision)

    def counted(self, refs: int) -> tuple[rpc_pb2.Compare, rpc_pb2.RequestOp]:
        """Return the comparison and write that give it so many more refs."""
        record = storage.SnapshotRecord()
        record.CopyFrom(self.record)
        record.refs = max(record.refs + refs, 0)
        return ops.unchanged(self.kv.key, self.kv.mod_revision), ops.put(self.kv.key, record.SerializeToString())


def of(zone: str, kv: KeyValue) -> Known:
    """Decode a snapshot's key and value."""
    return Known(kv.key[len(keys.snapshot(zone)) :], kv, storage.SnapshotRecord.FromString(kv.value))


def digest_of(chunk: files_storage.Chunk) -> Digest:
    """Return the digest that a record names."""
    return Digest(chunk.hash, chunk.size)


def chunk_of(digest: Digest) -> files_storage.Chunk:
    """Return a digest as records name it."""
    return files_storage.Chunk(hash=digest.hash, size=digest.size)


def depth_of(record: storage.SnapshotRecord, base: Base) -> int | None:
    """Return how many of the directories on the way a caller with the root `base` does not see; None for one who sees nothing.

    It counts where the directory was then: what a snapshot shows was below the caller's root, or the root itself.
    """
    if base.ino == ROOT:
        return 0
    return next((at for at, ino in enumerate(record.inos, 1) if ino == base.ino), None)


def tell(known: Known, base: Base) -> pb.Snapshot:
    """Tell a snapshot that the caller may see."""
    record = known.record
    names = record.names[depth_of(record, base) or 0 :]
    return pb.Snapshot(
        id=known.id.hex(),
        root=pb.RootDigest(hash=record.root.hash, size=record.root.size),
        path="/" + "/".join(names),
        ino=known.ino,
        parent=record.parent.hex(),
        message=record.message,
        labels=record.labels,
        owner=record.owner,
        create_time=record.time,
        revision=record.revision,
        totals=record.totals,
    )


async def find(zone: str, snapshot: Snapshot, base: Base, text: str, field: str = "snapshot") -> Known:
    """Return the snapshot that a request names. Raises FieldInvalid, SnapshotNotFound."""
    if _ID.fullmatch(text):
        return await by_id(zone, snapshot, base, bytes.fromhex(text))
    if hashed := _HASH.fullmatch(text):
        prefix = keys.by_root(zone, bytes.fromhex(hashed[1]))
        start, more = prefix, True
        while more:
            page = await snapshot.scan(start, ops.prefix_end(prefix), 100)
            found = await _read(zone, snapshot, [kv.key[-keys.ID :] for kv in page.kvs])
            for known in found:
                if depth_of(known.record, base) is not None:
                    return known
            more = page.more
            start = page.kvs[-1].key + b"\0" if page.kvs else start
        raise missing(text)
    key = keys.ref(zone, base.ino, check_ref(text, field))
    kv = (await snapshot.get([key])).get(key)
    if kv is None:
        raise missing(text)
    return await by_id(zone, snapshot, base, storage.RefRecord.FromString(kv.value).id)


async def by_id(zone: str, snapshot: Snapshot, base: Base, id_: bytes) -> Known:
    """Return the snapshot with an id. Raises SnapshotNotFound."""
    for known in await _read(zone, snapshot, [id_]):
        if depth_of(known.record, base) is not None:
            return known
    raise missing(id_.hex())


async def _read(zone: str, snapshot: Snapshot, ids: list[bytes]) -> list[Known]:
    found = await snapshot.get([keys.snapshot(zone, id_) for id_ in ids])
    return [of(zone, found[key]) for id_ in ids if (key := keys.snapshot(zone, id_)) in found]


many = _read
"""Return those of some snapshots, given by id, that there are, in the order given."""


def missing(name: str) -> SnapshotNotFound:
    """Return the error for a snapshot that is not there, or not for this caller."""
    return SnapshotNotFound(f"there is no snapshot {name[:140]}", snapshot=name[:140])


def check_ref(name: str, field: str) -> str:
    """Return the name of a ref. Raises FieldInvalid."""
    if not _REF.fullmatch(name) or _ID.fullmatch(name) or _HASH.fullmatch(name) or name == NONE:
        raise FieldInvalid.of(
            field,
            "has 1 to 128 of A-Z a-z 0-9 . _ / @ and -, begins with a letter or digit, and is no id, digest or `none`",
        )
    return name


def check_expected(text: str, field: str) -> None:
    """Hold the id that a caller expects against its form. Raises FieldInvalid."""
    if text and text != NONE and not _ID.fullmatch(text):
        raise FieldInvalid.of(field, "is the id of a snapshot, or `none`")


def expect(expected: str, current: bytes, what: str) -> None:
    """Hold what a caller expects against what is there, an id or nothing. Raises SnapshotParentMoved."""
    if expected and expected != (current.hex() or NONE):
        raise SnapshotParentMoved(
            f"{what} is at {current.hex() or 'no snapshot'}, not at {expected}",
            expected=expected,
            current=current.hex(),
        )
