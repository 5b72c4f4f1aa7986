"""From paths to inode numbers, level by level, for any number of paths at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2

from quartet_server.errors import FileNotFound, LinkChain, NotADirectory, QuartetError
from quartet_server.files import keys, principals
from quartet_server.files.paths import Path
from quartet_server.files.principals import Base
from quartet_server.files.steps import Step
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import rpc_pb2 as pb

DIRECTORY, SYMLINK = files_pb2.ENTRY_TYPE_DIRECTORY, files_pb2.ENTRY_TYPE_SYMLINK


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a path leads.

    Attributes:
        path: The path.
        steps: The entries found, from the root's down; fewer than the path has components when one is missing, or one
            before the last is no directory.
        base: The caller's root, where the path begins.
        broken: Why the link at its end leads nowhere, where it was to be followed.
    """

    path: Path
    steps: tuple[Step, ...]
    base: Base = principals.ZONE
    broken: QuartetError | None = None

    @property
    def complete(self) -> bool:
        """Whether the path leads to something."""
        return len(self.steps) == len(self.path.names) and self.broken is None

    @property
    def ino(self) -> int:
        """Inode number of the last step; the root's when there is none."""
        return self.steps[-1].ino if self.steps else self.base.ino

    @property
    def type(self) -> files_pb2.EntryType.ValueType:
        """What the last step leads to."""
        return self.steps[-1].type if self.steps else DIRECTORY

    @property
    def chain(self) -> tuple[Step, ...]:
        """The entries from the zone's root down, those above the caller's root included."""
        return self.base.steps + self.steps

    @property
    def mount(self) -> int:
        """Number of the mounted store for contents at the end of the path; 0 for the cluster's own."""
        return next((step.mount for step in reversed(self.chain) if step.mount), 0)

    @property
    def reached(self) -> Path:
        """The part of the path that was found."""
        return self.path.first(len(self.steps))

    def problem(self) -> QuartetError | None:
        """Return why the path leads to nothing; None when it does."""
        if self.complete or self.broken is not None:
            return self.broken
        if self.type != DIRECTORY:
            return NotADirectory(f"{self.reached} is not a directory", path=str(self.reached))
        missing = self.path.first(len(self.steps) + 1)
        return FileNotFound(f"{missing} does not exist", path=str(missing), hint=f"quartet ls qt:{self.reached}")

    def demand(self) -> Walk:
        """Return itself. Raises FileNotFound or NotADirectory when the path leads to nothing."""
        if problem := self.problem():
            raise problem
        return self

    def demand_directory(self) -> Walk:
        """Return itself. Raises as `demand`, and NotADirectory when something else is there."""
        self.demand()
        if self.type != DIRECTORY:
            raise NotADirectory(f"{self.path} is not a directory", path=str(self.path))
        return self

    def demand_parent(self) -> Walk:
        """Return itself when all but the last component was found, and leads to a directory. Raises as `demand`."""
        if not self.complete and (len(self.steps) < len(self.path.names) - 1 or self.type != DIRECTORY):
            problem = self.problem()
            assert problem is not None
            raise problem
        return self

    def compares(self) -> list[pb.Compare]:
        """Demand that every entry on the way is what it was, so that the path still leads to the same inode.

        An entry that stands where it stood also proves that its inode exists: both go in one transaction. The root has
        no entry, and is never deleted. A caller's own root is reached, and still the caller's, in the same way.
        """
        return [*self.base.guards, *(step.compare() for step in self.chain)]


class Resolver:
    """Looks paths up in one snapshot and remembers what it saw.

    Attributes:
        known: (directory, name) -> the entry, or None for one that does not exist.
    """

    def __init__(self, zone: str, snapshot: Snapshot) -> None:
        """Look up in `zone`, as `snapshot` shows it."""
        self._zone = zone
        self.snapshot = snapshot
        self.known: dict[tuple[int, bytes], Step | None] = {}
        self._base: Base | None = None

    async def base(self) -> Base:
        """Return the caller's root. Raises PrincipalRootLost."""
        if self._base is None:
            self._base = await principals.base(self._zone, self.snapshot)
        return self._base

    async def walk(self, path: Path, *, new: bool = False) -> Walk:
        """Look one path up; never raises for a path that leads to nothing. `new` as in `walks`."""
        return (await self.walks([path], new=new))[0]

    async def walks(self, paths: Sequence[Path], *, new: bool = False) -> list[Walk]:
        """Look paths up together: one round of reads per level, however many paths there are. Raises PrincipalRootLost.

        With `new` the last component is not read, but taken not to exist unless it is known to: for who compares that.
        """
        await self.snapshot.fix()
        await self.base()
        while True:
            walks, wanted = [], {}
            for path in paths:
                walk, unknown = self.follow(path)
                walks.append(walk)
                if unknown is not None and not (new and len(walk.steps) == len(path.names) - 1):
                    wanted[keys.dentry(self._zone, *unknown)] = unknown
            if not wanted:
                return walks
            found = await self.snapshot.fetched(list(wanted), Step.of)
            for key, place in wanted.items():
                self.known[place] = found.get(key)

    async def past_links(self, walks: Sequence[Walk]) -> list[Walk]:
        """Return the walks, those that end at a symbolic link led on to its target.

        What a target's path leads through is no link either, so `..` can be taken off it name by name. A walk to a link
        that leads to another link is told by `problem`.
        """
        links = {walk.ino: walk for walk in walks if walk.complete and walk.type == SYMLINK}
        if not links:
            return list(walks)
        found = await self.snapshot.get([keys.inode(self._zone, ino) for ino in links])
        targets: dict[int, Path] = {}
        broken: dict[int, QuartetError] = {}
        for ino, walk in links.items():
            inode = storage_pb2.Inode.FromString(found[keys.inode(self._zone, ino)].value)
            try:
                targets[ino] = walk.path.target(inode.attributes.symlink_target)
            except QuartetError as error:
                broken[ino] = error
        led = dict(zip(targets, await self.walks(list(targets.values())), strict=True))
        for ino, walk in led.items():
            if walk.complete and walk.type == SYMLINK:
                path = links[ino].path
                broken[ino] = LinkChain(
                    f"{path} leads to another link, {walk.path}", path=str(path), target=str(walk.path)
                )
        return [
            replace(walk, broken=broken[walk.ino]) if walk.ino in broken and walk.complete else led.get(walk.ino, walk)
            for walk in walks
        ]

    def follow(self, path: Path) -> tuple[Walk, tuple[int, bytes] | None]:
        """Go as far as what is known leads; return also the (directory, name) that must be looked up to go on."""
        assert self._base is not None, "walks come first"
        steps: list[Step] = []
        ino = self._base.ino
        for name in path.keys:
            if steps and steps[-1].type != DIRECTORY:
                break
            place = (ino, name)
            if place not in self.known:
                kept = self.snapshot.recall(keys.dentry(self._zone, *place))
                if kept is None:
                    return Walk(path, tuple(steps), self._base), place
                self.known[place] = cast("Step | None", kept.value)
            step = self.known[place]
            if step is None:
                break
            steps.append(step)
            ino = step.ino
        return Walk(path, tuple(steps), self._base), None
