"""The phases of a run, as mdtest has them: create, stat, list, rename, remove, and files by the hundred in one call."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from loops import Call, Exhausted
from trees import PAGE, Tree

BATCH = 210
"""Files of one call: five transactions of ours."""
LISTED = "/listed"


@dataclass(frozen=True, slots=True)
class Shape:
    """Who works where.

    Attributes:
        clients: How many work at once.
        shared: In one directory, or each in one of its own.
    """

    clients: int
    shared: bool

    def __str__(self) -> str:
        who = "1 client" if self.clients == 1 else f"{self.clients} clients"
        return f"{who}, {'a shared directory' if self.shared else 'a directory each'}"


@dataclass
class Work:
    """What the clients of one shape have made.

    Attributes:
        tree: Where.
        shape: Who.
        files: By client, the paths it has made and not removed.
    """

    tree: Tree
    shape: Shape
    files: list[deque[str]] = field(init=False)
    _numbers: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.files = [deque() for _ in range(self.shape.clients)]

    def directory(self, number: int) -> str:
        """Return where a client works."""
        return f"/{self.shape.clients}-{'all' if self.shape.shared else number}"

    def pretend(self) -> None:
        """Say that each client has a file: enough for servers that do nothing."""
        for number, files in enumerate(self.files):
            files.append(self.fresh(number))

    async def prepare(self) -> None:
        """Make the directories."""
        for directory in sorted({self.directory(number) for number in range(self.shape.clients)}):
            await self.tree.mkdir(directory)

    def fresh(self, number: int) -> str:
        """Return a path that nothing has."""
        return f"{self.directory(number)}/file-{number}-{next(self._numbers):06d}"

    async def create(self, number: int, dice: random.Random) -> None:
        """Create a file."""
        path = self.fresh(number)
        await self.tree.create(path)
        self.files[number].append(path)

    async def stat(self, number: int, dice: random.Random) -> None:
        """Read any of the client's files."""
        files = self.files[number]
        if not files:
            raise Exhausted
        await self.tree.stat(files[dice.randrange(len(files))])

    async def list(self, number: int, dice: random.Random) -> None:
        """Read a directory of PAGE entries."""
        assert await self.tree.list(LISTED) == PAGE, "entries are missing"

    async def rename(self, number: int, dice: random.Random) -> None:
        """Give the file that was named the longest ago a name that nothing has."""
        source, destination = self._oldest(number), self.fresh(number)
        await self.tree.rename(source, destination)
        self.files[number].append(destination)

    async def remove(self, number: int, dice: random.Random) -> None:
        """Remove a file."""
        await self.tree.remove(self._oldest(number))

    async def create_many(self, number: int, dice: random.Random) -> None:
        """Create a batch of files."""
        paths = [self.fresh(number) for _ in range(BATCH)]
        await self.tree.create_many(paths)
        self.files[number].extend(paths)

    async def stat_many(self, number: int, dice: random.Random) -> None:
        """Read a batch of files."""
        files = self.files[number]
        if not files:
            raise Exhausted
        start = dice.randrange(max(1, len(files) - BATCH))
        paths = [files[(start + i) % len(files)] for i in range(BATCH)]
        await self.tree.stat_many(paths)

    def _oldest(self, number: int) -> str:
        if not self.files[number]:
            raise Exhausted
        return self.files[number].popleft()


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase.

    Attributes:
        name: As the tables have it.
        unit: What is counted.
        units: How many of them a call is.
        call: Which of the work's calls is repeated.
        longer: How much longer than others it goes on: what it makes must last for those that follow.
        batch: It needs calls for many files.
        warm: How long it goes on before it is measured, by the time for which it is; what uses files up has no warm-up.
    """

    name: str
    unit: str
    units: int
    call: Callable[[Work], Call]
    longer: float = 1.0
    batch: bool = False
    warm: float = 0.25


PHASES = (
    Phase("create", "files", 1, lambda work: work.create, longer=1.5),
    Phase("stat", "files", 1, lambda work: work.stat),
    Phase("list", "entries", PAGE, lambda work: work.list),
    Phase("rename", "files", 1, lambda work: work.rename),
    Phase("create many", "files", BATCH, lambda work: work.create_many, batch=True),
    Phase("stat many", "files", BATCH, lambda work: work.stat_many, batch=True),
    Phase("remove", "files", 1, lambda work: work.remove, warm=0.0),
)
SHAPES = (Shape(1, shared=True), Shape(8, shared=False), Shape(8, shared=True))


async def fill(tree: Tree) -> None:
    """Make the directory that is listed."""
    await tree.mkdir(LISTED)
    paths = [f"{LISTED}/entry-{number:04d}" for number in range(PAGE)]
    for start in range(0, PAGE, BATCH):
        await tree.create_many(paths[start : start + BATCH])
