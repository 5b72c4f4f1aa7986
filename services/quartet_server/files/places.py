"""What other domains may ask of the tree: where a path leads, where a directory is now, and who is asking."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.files import create, keys, paths, principals
from quartet_server.files.contents.body import digest_of
from quartet_server.files.contents.target import demand_file, inode_of
from quartet_server.files.inos import Inos
from quartet_server.files.resolve import Resolver
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.meta import ledger
from quartet_server.meta.ledger import Claim, LedgerLease
from quartet_server.meta.mutation import Mutator
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import Digest
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

ROOT = keys.ROOT
"""Inode number of a zone's root."""
enter = principals.enter
"""Note whose call this is, and return its zone: the first thing that a call about places does."""
principal = principals.current
"""Return the principal of the present call; empty for nobody in particular."""
_DEEPEST = 256


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that a path leads to.

    Attributes:
        path: The path, as its names are spelled.
        ino: Its inode number, which renames keep.
        root: Inode number of the caller's root.
        compares: That the path still leads there; to be part of a write that relies on it.
    """

    path: str
    ino: int
    root: int
    compares: list[rpc_pb2.Compare]


class Places:
    """The directories of all zones, as one node sees them. Errors of every method: those of FileService, MetastoreError.

    Attributes:
        mutator: Runs writes that rely on places.
        now: The time, for records.
    """

    def __init__(self, store: Metastore, now: Callable[[], Timestamp]) -> None:
        """Look into the tree in `store`."""
        lease = LedgerLease(store)
        self.mutator = Mutator(store, lease)
        self.now = now
        self._tree = Tree(store, self.mutator, lease, Inos(store), now)

    async def ensure(self, zone: str) -> None:
        """Give a zone its root, if it has none yet. Raises ZoneNotFound."""
        await self._tree.ensure(zone)

    async def directory(self, zone: str, snapshot: Snapshot, path: str) -> Place:
        """Return where a path of the caller leads. Raises PathInvalid, FileNotFound, NotADirectory, PrincipalRootLost."""
        resolver = Resolver(zone, snapshot)
        walk = (await resolver.walk(paths.parse(path))).demand_directory()
        spelled = "".join(f"/{step.name}" for step in walk.steps) or "/"
        return Place(spelled, walk.ino, walk.base.ino, walk.compares())

    async def digest(self, zone: str, snapshot: Snapshot, path: str) -> Digest:
        """Return the digest of the file at a path. Raises PathInvalid, FileNotFound, NotAFile, ContentAbsent and their kin."""
        walk = (await Resolver(zone, snapshot).walk(paths.parse(path))).demand()
        demand_file(walk)
        inode, _ = await inode_of(zone, walk, snapshot)
        assert inode is not None, "the walk is complete"
        return digest_of(inode, walk.path)

    async def make(self, zone: str, path: str) -> None:
        """Make a directory, and those above it, unless they are there."""
        await create.mkdir(self._tree, zone, pb.MkdirRequest(path=path, parents=True), None)

    async def number(self, zone: str) -> int:
        """Return a number that nothing in the zone has, and nothing else ever gets."""
        return (await self._tree.inos.take(zone, 1))[0]

    async def root(self, zone: str, snapshot: Snapshot) -> int:
        """Return the inode number of the caller's root. Raises ZoneNotFound, PrincipalRootLost."""
        return (await (await self._tree.resolver(zone, snapshot)).base()).ino

    async def located(self, zone: str, snapshot: Snapshot, inos: Iterable[int], root: int) -> dict[int, str | None]:
        """Return the path of each inode from `root` on, level by level together; None for one that is not below it."""
        known: dict[int, tuple[int, str] | None] = {}
        wanted = list(dict.fromkeys(inos))
        pending = {ino for ino in wanted if ino != root}
        for _ in range(_DEEPEST):
            pending -= known.keys()
            if not pending:
                break
            above = await _above(zone, snapshot, pending)
            known |= above
            pending = {step[0] for step in above.values() if step is not None} - {root, ROOT}
        return {ino: _joined(ino, known, root) for ino in wanted}


async def _above(zone: str, snapshot: Snapshot, inos: Iterable[int]) -> dict[int, tuple[int, str] | None]:
    """Return for each inode the directory that holds it, and its name there as it is spelled; None for one cut off."""
    by_key = {keys.parent(zone, ino): ino for ino in inos}
    places = {}
    for key, kv in (await snapshot.get(list(by_key))).items():
        pointer = storage_pb2.Parent.FromString(kv.value)
        places[by_key[key]] = (pointer.ino, keys.dentry(zone, pointer.ino, pointer.name.encode()))
    entries = await snapshot.get([key for _, key in places.values()])
    return {
        ino: (places[ino][0], Step.of(entries[places[ino][1]]).name)
        if ino in places and places[ino][1] in entries
        else None
        for ino in by_key.values()
    }


def _joined(ino: int, known: dict[int, tuple[int, str] | None], root: int) -> str | None:
    names: list[str] = []
    while ino != root:
        step = known.get(ino)
        if step is None or len(names) > _DEEPEST:
            return None
        ino, name = step
        names.append(name)
    return "/" + "/".join(reversed(names))


def claim(zone: str, method: str, request: Message, request_id: str) -> Claim | None:
    """Return the claim of a request in a zone, told apart by whose call it is; None without an id. Raises FieldInvalid."""
    caller = principals.current()
    return ledger.claim(keys.requests(zone), f"{caller}\0{method}" if caller else method, request, request_id)
