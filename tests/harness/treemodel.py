"""The tree as a dictionary: what every answer should be."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

FILE, DIRECTORY = 1, 2


class Refused(Exception):  # noqa: N818 - an outcome, not an accident
    """The call is refused, for the reason it carries."""


@dataclass
class Node:
    """An entry; `children` of a file stay empty."""

    kind: int
    serial: int
    gen: int = 1
    children: dict[str, Node] = field(default_factory=dict)

    def holds(self, other: Node) -> bool:
        """Whether `other` is this node or below it."""
        return other is self or any(child.holds(other) for child in self.children.values())


class ModelTree:
    """A tree in memory, with the service's rules."""

    def __init__(self) -> None:
        """Begin with an empty root."""
        self.root = Node(DIRECTORY, 0)
        self.bin: list[tuple[Node, str]] = []
        self.holdings: list[int | None] = []
        self._serials = itertools.count(1)

    def find(self, path: str) -> Node:
        """Return what is at the path."""
        node = self.root
        for name in _names(path):
            if node.kind != DIRECTORY:
                raise Refused("NOT_A_DIRECTORY")
            if name not in node.children:
                raise Refused("FILE_NOT_FOUND")
            node = node.children[name]
        return node

    def place(self, path: str) -> tuple[Node, str]:
        """Return the directory that holds, or would hold, the path's entry, and its name."""
        *above, name = _names(path)
        parent = self.find("/" + "/".join(above))
        if parent.kind != DIRECTORY:
            raise Refused("NOT_A_DIRECTORY")
        return parent, name

    def create(self, path: str, kind: int) -> Node:
        """Create an entry."""
        parent, name = self.place(path)
        if name in parent.children:
            raise Refused("FILE_EXISTS")
        node = parent.children[name] = Node(kind, next(self._serials))
        return node

    def touch(self, path: str) -> Node:
        """Make the next generation."""
        node = self.find(path)
        node.gen += 1
        return node

    def delete(self, path: str, recursive: bool) -> None:
        """Delete an entry."""
        node = self.find(path)
        if node.children and not recursive:
            raise Refused("DIRECTORY_NOT_EMPTY")
        parent, name = self.place(path)
        del parent.children[name]

    def lock(self, path: str) -> None:
        """Take the lock of an entry; the holding is the next one of `holdings`."""
        node = self.find(path)
        if node.serial in self.holdings:
            raise Refused("LOCK_HELD")
        self.holdings.append(node.serial)

    def unlock(self, holding: int) -> None:
        """Give a lock back."""
        if self.holdings[holding] is None:
            raise Refused("LOCK_LOST")
        self.holdings[holding] = None

    def fenced(self, path: str, holding: int) -> Node:
        """Make the next generation, while a lock is held."""
        self.find(path)
        if self.holdings[holding] is None:
            raise Refused("LOCK_LOST")
        return self.touch(path)

    def trash(self, path: str) -> None:
        """Put an entry away, with what is below it."""
        node = self.find(path)
        parent, name = self.place(path)
        del parent.children[name]
        self.bin.append((node, path))

    def restore(self, position: int, path: str) -> Node:
        """Put back what is at a position in the bin, where it was without a path."""
        node, old = self.bin[position]
        parent, name = self.place(path or old)
        if name in parent.children:
            raise Refused("FILE_EXISTS")
        parent.children[name] = node
        del self.bin[position]
        return node

    def empty(self) -> None:
        """Give up what is in the bin."""
        self.bin.clear()

    def rename(self, source: str, destination: str, mode: int) -> None:
        """Move an entry; mode 1 replaces, 2 does not, 3 exchanges."""
        parent, name = self.place(source)
        target, new = self.place(destination)
        if name not in parent.children:
            raise Refused("FILE_NOT_FOUND")
        moved, victim = parent.children[name], target.children.get(new)
        if moved is not victim and moved.holds(target):
            raise Refused("DIRECTORY_CYCLE")
        if mode == 3:
            if victim is None:
                raise Refused("FILE_NOT_FOUND")
            if victim is not moved and victim.holds(parent):
                raise Refused("DIRECTORY_CYCLE")
            parent.children[name], target.children[new] = victim, moved
            return
        if victim is not None:
            if mode == 2:
                raise Refused("FILE_EXISTS")
            if victim is moved:
                return
            if (victim.kind == DIRECTORY) != (moved.kind == DIRECTORY):
                raise Refused("IS_A_DIRECTORY" if victim.kind == DIRECTORY else "NOT_A_DIRECTORY")
            if victim.children:
                raise Refused("DIRECTORY_NOT_EMPTY")
        del parent.children[name]
        target.children[new] = moved

    def everything(self) -> dict[str, Node]:
        """Return path -> node of all entries."""

        return below(self.root)


def below(node: Node, path: str = "") -> dict[str, Node]:
    """Return path -> node of all that is below a node."""
    found = {}
    for name, child in node.children.items():
        found[f"{path}/{name}"] = child
        found |= below(child, f"{path}/{name}")
    return found


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]
