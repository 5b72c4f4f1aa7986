"""A tree of files on one system, as a client uses it: what files.py drives, and what each adapter offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

PAGE = 1000
"""Entries of the directory that is listed."""
OWNER = "bench"
INODE = storage_pb2.Inode(type=pb.ENTRY_TYPE_FILE, gen=1, attributes=pb.Attributes(mode=0o644, owner=OWNER))
"""What every system keeps for a file: the same record, the same bytes."""
INODE.create_time.FromSeconds(1_800_000_000)
INODE.update_time.FromSeconds(1_800_000_000)


class Tree(ABC):
    """Files by path, /DIRECTORY/NAME; any number of calls at once.

    A write has returned when it is durable: on the disks of a majority where there are several servers. A read tells what was
    written last. A call that fails, or finds something else than was put there, raises AssertionError, OSError or
    AioRpcError.
    """

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def mkdir(self, directory: str) -> None:
        """Make a directory below the root; it does not exist."""

    @abstractmethod
    async def create(self, path: str) -> None:
        """Create an empty file; it does not exist."""

    @abstractmethod
    async def stat(self, path: str) -> None:
        """Read a file's inode."""

    @abstractmethod
    async def list(self, directory: str) -> int:
        """Read the names in a directory, up to PAGE of them; return how many they are."""

    @abstractmethod
    async def rename(self, source: str, destination: str) -> None:
        """Give a file another name, which nothing has."""

    @abstractmethod
    async def remove(self, path: str) -> None:
        """Remove a file."""

    @abstractmethod
    async def create_many(self, paths: Sequence[str]) -> None:
        """Create empty files of one directory."""

    @abstractmethod
    async def stat_many(self, paths: Sequence[str]) -> None:
        """Read the inodes of files of one directory."""


def split(path: str) -> tuple[str, str]:
    """Return the directory of a path, with its slash, and the name."""
    directory, _, name = path.rpartition("/")
    return directory, name
