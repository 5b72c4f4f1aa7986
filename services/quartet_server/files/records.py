"""Inode and dentry records: made from requests, checked against conditions, told as entries."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import EtagStale, FieldInvalid, QuartetError
from quartet_server.files import keys, principals
from quartet_server.files.paths import Path
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue
from raftmeta.etcd import rpc_pb2

DIRECTORY = pb.ENTRY_TYPE_DIRECTORY
FILE = pb.ENTRY_TYPE_FILE
SYMLINK = pb.ENTRY_TYPE_SYMLINK
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # google.protobuf.Timestamp's range
_LONGEST = 8192
_TEXT_LIMITS = (("mime", 255), ("owner", 255), ("symlink_target", 4096))


def check(attributes: pb.Attributes, kind: pb.EntryType.ValueType, field: str = "attributes") -> None:
    """Hold attributes against their limits and the entry's type. Raises FieldInvalid, naming the field below `field`."""
    if (size := attributes.ByteSize()) > _LONGEST:  # fields that are not known here count too: they are kept
        raise FieldInvalid.of(field, f"{size} bytes, at most {_LONGEST} are taken")
    if attributes.size < 0:
        raise FieldInvalid.of(f"{field}.size", "must not be negative")
    if not (_FIRST_SECOND <= attributes.mtime.seconds <= _LAST_SECOND and 0 <= attributes.mtime.nanos < 10**9):
        raise FieldInvalid.of(f"{field}.mtime", "lies between the years 1 and 9999")
    if len(attributes.digest) > 64:
        raise FieldInvalid.of(f"{field}.digest", f"{len(attributes.digest)} bytes, at most 64 are taken")
    if attributes.mode > 0o7777:
        raise FieldInvalid.of(f"{field}.mode", "holds more than permission bits (0o7777)")
    for name, limit in _TEXT_LIMITS:
        if (size := len(getattr(attributes, name).encode())) > limit:
            raise FieldInvalid.of(f"{field}.{name}", f"{size} bytes, at most {limit} are taken")
    if kind == DIRECTORY and (attributes.size or attributes.digest or attributes.mime):
        raise FieldInvalid.of(field, "a directory has no size, digest or media type")
    if (kind == SYMLINK) != bool(attributes.symlink_target):
        raise FieldInvalid.of(f"{field}.symlink_target", "is needed for a symbolic link and for nothing else")


def new_inode(kind: pb.EntryType.ValueType, attributes: pb.Attributes, now: Timestamp) -> storage_pb2.Inode:
    """Return the first generation of an inode, written by the present caller."""
    return storage_pb2.Inode(
        type=kind, gen=1, attributes=attributes, create_time=now, update_time=now, writer=principals.current()
    )


def renew(inode: storage_pb2.Inode, now: Timestamp) -> None:
    """Make an inode the next generation, written by the present caller."""
    inode.gen += 1
    inode.writer = principals.current()
    inode.update_time.CopyFrom(now)


def describe(inode: storage_pb2.Inode, attributes: pb.Attributes) -> None:
    """Give an inode new attributes; size and digest of a file whose bytes are here stay what they are."""
    size, digest = inode.attributes.size, inode.attributes.digest
    inode.attributes.CopyFrom(attributes)
    if inode.HasField("content"):
        inode.attributes.size, inode.attributes.digest = size, digest


def etag(ino: int, gen: int) -> str:
    """Return the etag of a generation."""
    return f"{ino}.{gen}"


def require(path: Path, current: str | None, if_match: str, if_none_match: str) -> None:
    """Hold an entry's etag (None: there is no entry) against a request's conditions. Raises EtagStale."""
    fits = not if_match or (current is not None and if_match in ("*", current))
    clashes = bool(if_none_match) and current is not None and if_none_match in ("*", current)
    if not fits or clashes:
        raise EtagStale(
            f"{path} is not in the state that the request demands", path=str(path), current=current or "", etag=if_match
        )


def writes(
    zone: str, parent: int, key: bytes, name: str, ino: int, inode: storage_pb2.Inode
) -> list[rpc_pb2.RequestOp]:
    """Return the three writes that bring an entry into being; the parent's inode is not among them."""
    return [
        ops.put(keys.inode(zone, ino), inode.SerializeToString()),
        link(zone, parent, key, name, ino, inode.type),
        ops.put(keys.parent(zone, ino), storage_pb2.Parent(ino=parent, name=key.decode()).SerializeToString()),
    ]


def link(
    zone: str,
    parent: int,
    key: bytes,
    name: str,
    ino: int,
    kind: pb.EntryType.ValueType,
    quota: int = 0,
    mount: int = 0,
) -> rpc_pb2.RequestOp:
    """Return the write of a dentry; `key` is the NFC form of `name`, `quota` and `mount` the numbers that the directory has."""
    spelling = "" if name.encode() == key else name
    value = storage_pb2.Dentry(ino=ino, type=kind, spelling=spelling, quota=quota, mount=mount).SerializeToString()
    return ops.put(keys.dentry(zone, parent, key), value)


def erase(zone: str, ino: int) -> list[rpc_pb2.RequestOp]:
    """Return the writes that delete everything about an inode but its dentry."""
    return [
        ops.delete(keys.inode(zone, ino)),
        ops.delete(keys.parent(zone, ino)),
        ops.delete(keys.xattr_guard(zone, ino)),
        ops.delete_prefix(keys.xattr(zone, ino)),
    ]


def entry(path: str, name: str, ino: int, inode: storage_pb2.Inode, revision: int = 0) -> pb.Entry:
    """Tell an inode as an entry with all its detail."""
    return pb.Entry(
        path=path,
        name=name,
        ino=ino,
        type=inode.type,
        attributes=inode.attributes,
        etag=etag(ino, inode.gen),
        create_time=inode.create_time,
        update_time=inode.update_time,
        revision=revision,
        stored=inode.type == FILE and (inode.HasField("content") or not inode.attributes.size),
    )


def image(ino: int, inode: storage_pb2.Inode) -> bytes:
    """Return all that `entry` tells of an inode wherever it is, as bytes of an entry; contents are not among it."""
    return entry("", "", ino, inode).SerializeToString()


def image_of(kv: KeyValue) -> bytes:
    """Return the image of the inode that a key and its value are."""
    return image(keys.parse(kv.key).ino, storage_pb2.Inode.FromString(kv.value))


def shown(path: str, name: str, image: bytes, revision: int) -> pb.Entry:
    """Tell an image as the entry at a path."""
    told = pb.Entry.FromString(image)
    told.path = path
    told.name = name
    told.revision = revision
    return told


def failure(error: QuartetError) -> pb.Failure:
    """Tell an error as the outcome of one item of a batch."""
    return pb.Failure(code=error.code.value[0], reason=error.reason, message=error.message)
