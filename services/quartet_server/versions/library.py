"""What every call about versions works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quartet_server.files.contents.contents import Contents
from quartet_server.files.tree import Tree
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions.archive import Archive
from quartet_server.versions.pruning import Pruner
from quartet_server.versions.subject import Subjects


@dataclass(frozen=True, slots=True)
class Library:
    """The tools of one node, shared by all zones.

    Attributes:
        tree: The tree.
        contents: The bytes of files.
        pruner: Gives versions up.
        clock: Seconds since 1970.
        idle: Seconds after which a silent store is asked how far it has told.
    """

    tree: Tree
    contents: Contents
    pruner: Pruner
    clock: Callable[[], float]
    idle: float

    def archive(self, zone: str, snapshot: Snapshot) -> Archive:
        """Return the versions of a zone's files, as a snapshot shows them."""
        return Archive(self.tree.store, zone, snapshot, self.clock, self.idle)

    def subjects(self, zone: str, snapshot: Snapshot) -> Subjects:
        """Return what finds files of a zone, as a snapshot shows it."""
        return Subjects(self.tree, zone, snapshot, self.clock, self.idle)
