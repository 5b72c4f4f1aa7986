"""Nodes of a Merkle tree: what of an inode goes into a Directory, in canonical form, and how it is read back.

Properties of a node, sorted by name:

    quartet.below        of a directory: how many files, directories, symbolic links and bytes are below it
    quartet.chunks       of a file with several chunks: HASH/SIZE of the blob that lists them
    quartet.digest       what a caller says is the digest of a file whose bytes were never written, hexadecimal
    quartet.mime         media type
    quartet.owner        who owns it
    quartet.size         what a caller says is the size of a file whose bytes were never written
    xattr.NAME           value of an extended attribute, base64
    xattr-blob.NAME      HASH/SIZE of the blob that is the value, where it is longer than `SHORT`
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2
from quartet.wire.reapi import digests_pb2, tree_pb2

from quartet_server.errors import FieldInvalid, SnapshotDamaged
from quartet_server.files import records
from quartet_server.files.paths import name_problem, normal
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.snapshots.totals import Totals

SHORT = 256
"""Bytes of an extended attribute up to which it is part of the node."""
_BELOW, _CHUNKS, _DIGEST = "quartet.below", "quartet.chunks", "quartet.digest"
_MIME, _OWNER, _SIZE = "quartet.mime", "quartet.owner", "quartet.size"
_XATTR, _XATTR_BLOB = "xattr.", "xattr-blob."
Value = bytes | Digest


@dataclass(frozen=True, slots=True)
class Node:
    """An entry of a snapshot.

    Attributes:
        name: As it was spelled; empty for the top of a tree.
        type: What it is.
        attributes: As FileService tells them.
        digest: Of a file's content, or of the Directory; of a link that of nothing.
        chunks: The blob that lists the chunks of a file with several.
        xattrs: Extended attributes: bytes, or the blob that has them.
        written: Whether a file's content is known here, not its attributes alone.
        totals: What is below a directory, where its Directory was read.
    """

    name: str
    type: files_pb2.EntryType.ValueType
    attributes: files_pb2.Attributes
    digest: Digest = EMPTY
    chunks: Digest | None = None
    xattrs: Mapping[str, Value] = field(default_factory=dict)
    written: bool = True
    totals: Totals | None = None

    @property
    def stored(self) -> bool:
        """Whether a file's bytes are here: they were written, or there are none."""
        return self.type == records.FILE and (self.written or not self.attributes.size)

    @property
    def key(self) -> bytes:
        """The NFC bytes that identify the name."""
        return normal(self.name)


def message_of(digest: Digest) -> digests_pb2.Digest:
    """Return the message that names a digest."""
    return digests_pb2.Digest(hash=digest.hex, size_bytes=digest.size)


def digest_of(message: digests_pb2.Digest) -> Digest:
    """Return the digest that a message names. Raises SnapshotDamaged."""
    try:
        return Digest.parse(message.hash, message.size_bytes)
    except FieldInvalid as error:
        raise damaged(f"it names no digest: {error.message}") from error


def properties(
    attributes: files_pb2.Attributes, xattrs: Mapping[str, Value], extra: Mapping[str, str] | None = None
) -> tree_pb2.NodeProperties:
    """Return what is known about a node besides its content, in canonical form."""
    named = dict(extra or {})
    if attributes.mime:
        named[_MIME] = attributes.mime
    if attributes.owner:
        named[_OWNER] = attributes.owner
    for name, value in xattrs.items():
        if isinstance(value, Digest):
            named[_XATTR_BLOB + name] = str(value)
        else:
            named[_XATTR + name] = base64.b64encode(value).decode()
    made = tree_pb2.NodeProperties()
    for name in sorted(named, key=str.encode):
        made.properties.add(name=name, value=named[name])
    if attributes.HasField("mtime"):
        made.mtime.CopyFrom(attributes.mtime)
    made.unix_mode.value = attributes.mode
    return made


def file_node(
    name: str, inode: storage_pb2.Inode, chunks: Digest | None, xattrs: Mapping[str, Value]
) -> tree_pb2.FileNode:
    """Return the node of a file; `chunks` is the blob that lists its chunks, where it has several."""
    known, extra, digest = inode.attributes, {}, EMPTY
    if inode.HasField("content"):
        digest = Digest(known.digest, known.size)
        if chunks is not None:
            extra[_CHUNKS] = str(chunks)
    else:
        if known.size:
            extra[_SIZE] = str(known.size)
        if known.digest:
            extra[_DIGEST] = known.digest.hex()
    return tree_pb2.FileNode(
        name=name,
        digest=message_of(digest),
        is_executable=bool(known.mode & 0o100),
        node_properties=properties(known, xattrs, extra),
    )


def symlink_node(name: str, inode: storage_pb2.Inode, xattrs: Mapping[str, Value]) -> tree_pb2.SymlinkNode:
    """Return the node of a symbolic link."""
    known = inode.attributes
    extra = {_SIZE: str(known.size)} if known.size else {}
    if known.digest:
        extra[_DIGEST] = known.digest.hex()
    return tree_pb2.SymlinkNode(
        name=name, target=known.symlink_target, node_properties=properties(known, xattrs, extra)
    )


def directory(
    own: tree_pb2.NodeProperties,
    totals: Totals,
    files: Iterable[tree_pb2.FileNode],
    directories: Iterable[tree_pb2.DirectoryNode],
    symlinks: Iterable[tree_pb2.SymlinkNode],
) -> bytes:
    """Return a Directory in canonical form: each kind sorted by the names' bytes, properties by theirs."""
    made = tree_pb2.Directory(
        files=sorted(files, key=_bytes),
        directories=sorted(directories, key=_bytes),
        symlinks=sorted(symlinks, key=_bytes),
        node_properties=own,
    )
    kept = [one for one in made.node_properties.properties if one.name != _BELOW]
    kept.append(tree_pb2.NodeProperty(name=_BELOW, value=str(totals)))
    kept.sort(key=_bytes)
    del made.node_properties.properties[:]
    made.node_properties.properties.extend(kept)
    return made.SerializeToString(deterministic=True)


def _bytes(node: tree_pb2.FileNode | tree_pb2.DirectoryNode | tree_pb2.SymlinkNode | tree_pb2.NodeProperty) -> bytes:
    return node.name.encode()


def read_file(node: tree_pb2.FileNode) -> Node:
    """Read a file's node. Raises SnapshotDamaged."""
    attributes, named, xattrs = _read(node.node_properties)
    digest = digest_of(node.digest)
    attributes.size, attributes.digest = digest.size, digest.hash
    if claimed := _SIZE in named or _DIGEST in named:
        attributes.size, attributes.digest = _claimed(named)
    chunks = _parsed(named[_CHUNKS]) if _CHUNKS in named else None
    return Node(node.name, records.FILE, attributes, digest, chunks, xattrs, written=not claimed)


def read_symlink(node: tree_pb2.SymlinkNode) -> Node:
    """Read a link's node. Raises SnapshotDamaged."""
    attributes, named, xattrs = _read(node.node_properties)
    attributes.symlink_target = node.target
    attributes.size, attributes.digest = _claimed(named)
    return Node(node.name, records.SYMLINK, attributes, xattrs=xattrs)


def read_directory(name: str, digest: Digest, found: tree_pb2.Directory) -> Node:
    """Read what a Directory says about itself. Raises SnapshotDamaged."""
    attributes, named, xattrs = _read(found.node_properties)
    try:
        totals = Totals.parse(named[_BELOW])
    except (KeyError, ValueError) as error:
        raise damaged("a directory does not say what is below it") from error
    return Node(name, records.DIRECTORY, attributes, digest, xattrs=xattrs, totals=totals)


def named_directory(node: tree_pb2.DirectoryNode) -> Node:
    """Read what a directory's node in its parent says: name and digest. Raises SnapshotDamaged."""
    return Node(node.name, records.DIRECTORY, files_pb2.Attributes(), digest_of(node.digest))


def own(given: tree_pb2.NodeProperties) -> tree_pb2.NodeProperties:
    """Return the properties of a directory, what is below it aside."""
    kept = tree_pb2.NodeProperties()
    kept.CopyFrom(given)
    del kept.properties[:]
    kept.properties.extend(one for one in given.properties if one.name != _BELOW)
    return kept


def attributes_of(given: tree_pb2.NodeProperties) -> files_pb2.Attributes:
    """Return the attributes that properties tell. Raises SnapshotDamaged."""
    return _read(given)[0]


def values_of(given: tree_pb2.NodeProperties) -> list[Digest]:
    """Return the blobs that are values of a node's extended attributes. Raises SnapshotDamaged."""
    return [_parsed(one.value) for one in given.properties if one.name.startswith(_XATTR_BLOB)]


def below(found: tree_pb2.Directory) -> Totals:
    """Return what a Directory says is below it. Raises SnapshotDamaged."""
    totals = read_directory("", EMPTY, found).totals
    assert totals is not None
    return totals


def counted(files: Iterable[tree_pb2.FileNode], directories: int, symlinks: Iterable[tree_pb2.SymlinkNode]) -> Totals:
    """Return what the entries of a directory count for, without what is below them. Raises SnapshotDamaged."""
    totals = Totals(directories=directories)
    for file in files:
        totals.files += 1
        totals.bytes += file.digest.size_bytes or _claimed_size(file.node_properties)
    for link in symlinks:
        totals.symlinks += 1
        totals.bytes += _claimed_size(link.node_properties)
    return totals


def _claimed_size(given: tree_pb2.NodeProperties) -> int:
    return next((_claimed({_SIZE: one.value})[0] for one in given.properties if one.name == _SIZE), 0)


def check_name(name: str) -> None:
    """Raise SnapshotDamaged for what cannot be the name of an entry."""
    if problem := name_problem(name):
        raise damaged(f"an entry has no name: {problem}")


def damaged(why: str) -> SnapshotDamaged:
    """Return the error for a snapshot of which a part is not what it should be."""
    return SnapshotDamaged(f"the snapshot is damaged: {why}")


def _read(
    given: tree_pb2.NodeProperties,
) -> tuple[files_pb2.Attributes, dict[str, str], dict[str, Value]]:
    """Return attributes, the other properties of ours, and extended attributes. Raises SnapshotDamaged."""
    named: dict[str, str] = {}
    xattrs: dict[str, Value] = {}
    for one in given.properties:
        if one.name.startswith(_XATTR):
            try:
                xattrs[one.name.removeprefix(_XATTR)] = base64.b64decode(one.value.encode(), validate=True)
            except (binascii.Error, ValueError) as error:
                raise damaged("an extended attribute is not base64") from error
        elif one.name.startswith(_XATTR_BLOB):
            xattrs[one.name.removeprefix(_XATTR_BLOB)] = _parsed(one.value)
        else:
            named[one.name] = one.value
    attributes = files_pb2.Attributes(
        mode=given.unix_mode.value & 0o7777, mime=named.get(_MIME, ""), owner=named.get(_OWNER, "")
    )
    if given.HasField("mtime"):
        attributes.mtime.CopyFrom(given.mtime)
    return attributes, named, xattrs


def _claimed(named: Mapping[str, str]) -> tuple[int, bytes]:
    """Return the size and digest that a caller gave to what has no content here. Raises SnapshotDamaged."""
    try:
        size, digest = int(named.get(_SIZE, "0")), bytes.fromhex(named.get(_DIGEST, ""))
    except ValueError as error:
        raise damaged("the size or digest of a file is none") from error
    if not 0 <= size < 1 << 63 or len(digest) > 64:
        raise damaged("the size or digest of a file is none")
    return size, digest


def _parsed(text: str) -> Digest:
    try:
        return Digest.from_text(text)
    except FieldInvalid as error:
        raise damaged(f"it names no digest: {error.message}") from error
