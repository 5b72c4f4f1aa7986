"""Directories of snapshots: read from the store of blobs, remembered, and walked by path."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence

from google.protobuf.message import DecodeError
from quartet.wire.reapi import tree_pb2

from quartet_server.errors import BlobNotFound, FileNotFound, NotADirectory, QuartetError
from quartet_server.files import records
from quartet_server.files.paths import Path, normal
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import nodes
from quartet_server.snapshots.nodes import Node

LARGEST = 64 << 20
"""Bytes of the largest Directory: about half a million entries."""
_REMEMBERED = 16 << 20  # bytes of Directories, of all zones
_AT_ONCE = 4 << 20  # bytes of Directories read together


class Directories:
    """Reads Directories; those read of late are remembered, which can never be wrong: their names are their digests.

    Errors of every method besides its own: those of `BlobStore`.
    """

    def __init__(self, blobs: BlobStore) -> None:
        """Read from `blobs`."""
        self.blobs = blobs
        self._known: OrderedDict[tuple[str, Digest], tree_pb2.Directory] = OrderedDict()
        self._size = 0

    async def get(self, zone: str, digest: Digest) -> tree_pb2.Directory:
        """Return a Directory, which the caller does not change. Raises SnapshotDamaged."""
        known = self._known.get((zone, digest))
        if known is not None:
            self._known.move_to_end((zone, digest))
            return known
        try:
            data = await self.blobs.get(zone, digest) if digest.size <= LARGEST else b"\xff"
        except BlobNotFound as error:
            raise nodes.damaged(f"the directory {digest} is gone") from error
        return self._take(zone, digest, data)

    async def many(self, zone: str, digests: Sequence[Digest]) -> AsyncIterator[tuple[Digest, tree_pb2.Directory]]:
        """Yield Directories, as many read together as fit into 4 MiB. Raises SnapshotDamaged."""
        wanted: list[Digest] = []
        for digest in digests:
            if wanted and sum(one.size for one in wanted) + digest.size > _AT_ONCE:
                for one in await self._together(zone, wanted):
                    yield one
                wanted = []
            wanted.append(digest)
        for one in await self._together(zone, wanted):
            yield one

    async def node(self, zone: str, root: Digest, path: Path) -> Node:
        """Return the entry at a path below a root. Raises FileNotFound, NotADirectory, SnapshotDamaged."""
        node = nodes.read_directory("", root, await self.get(zone, root))
        for depth, key in enumerate(path.keys):
            if node.type != records.DIRECTORY:
                raise NotADirectory(
                    f"{path.first(depth)} is not a directory in the snapshot", path=str(path.first(depth))
                )
            found = find(await self.get(zone, node.digest), key)
            if found is None:
                missing = path.first(depth + 1)
                raise FileNotFound(f"{missing} is not in the snapshot", path=str(missing), hint="quartet snapshot ls")
            node = found
        if node.type == records.DIRECTORY and node.totals is None:
            node = nodes.read_directory(node.name, node.digest, await self.get(zone, node.digest))
        return node

    async def _together(self, zone: str, digests: Sequence[Digest]) -> list[tuple[Digest, tree_pb2.Directory]]:
        if len(digests) == 1:
            return [(digests[0], await self.get(zone, digests[0]))]
        unknown = [one for one in dict.fromkeys(digests) if (zone, one) not in self._known]
        read = await self.blobs.get_many(zone, unknown, _AT_ONCE) if unknown else {}
        found = []
        for digest in digests:
            if digest not in read:
                found.append((digest, await self.get(zone, digest)))
                continue
            data = read[digest]
            if isinstance(data, BlobNotFound):
                raise nodes.damaged(f"the directory {digest} is gone")
            if isinstance(data, QuartetError):
                raise data
            found.append((digest, self._take(zone, digest, data)))
        return found

    def _take(self, zone: str, digest: Digest, data: bytes) -> tree_pb2.Directory:
        """Decode a Directory and remember it."""
        try:
            directory = tree_pb2.Directory.FromString(data)
        except DecodeError as error:
            raise nodes.damaged(f"{digest} is no directory") from error
        if digest.size <= _REMEMBERED // 8 and (zone, digest) not in self._known:
            self._known[zone, digest] = directory
            self._size += digest.size
            while self._size > _REMEMBERED:
                (_, gone), _ = self._known.popitem(last=False)
                self._size -= gone.size
        return directory


def find(directory: tree_pb2.Directory, key: bytes) -> Node | None:
    """Return the entry whose name is `key` in NFC bytes; of a directory no more than its digest. Raises SnapshotDamaged."""
    for file in directory.files:
        if normal(file.name) == key:
            return nodes.read_file(file)
    for child in directory.directories:
        if normal(child.name) == key:
            return nodes.named_directory(child)
    for link in directory.symlinks:
        if normal(link.name) == key:
            return nodes.read_symlink(link)
    return None


def entries(directory: tree_pb2.Directory) -> Iterable[Node]:
    """Yield the entries; of a directory its name and digest alone. Raises SnapshotDamaged."""
    for file in directory.files:
        nodes.check_name(file.name)
        yield nodes.read_file(file)
    for child in directory.directories:
        nodes.check_name(child.name)
        yield nodes.named_directory(child)
    for link in directory.symlinks:
        nodes.check_name(link.name)
        yield nodes.read_symlink(link)
