"""The tree as a dictionary: what every answer should be."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

FILE, DIRECTORY, SYMLINK = 1, 2, 3
SEVERAL = 200
"""Entries after which nothing is copied any more: each copy may double what there is."""


class Refused(Exception):  # noqa: N818 - an outcome, not an accident
    """The call is refused, for the reason it carries."""


@dataclass(eq=False)
class Quota:
    """A limit of entries, and how many count."""

    limit: int
    count: int
    alive: bool = True


@dataclass(eq=False)
class Node:
    """An entry; `children` of a file stay empty."""

    kind: int
    serial: int
    gen: int = 1
    children: dict[str, Node] = field(default_factory=dict)
    quota: Quota | None = None

    def holds(self, other: Node) -> bool:
        """Whether `other` is this node or below it."""
        return other is self or any(child.holds(other) for child in self.children.values())

    def size(self) -> int:
        """How many entries it is, itself included."""
        return 1 + sum(child.size() for child in self.children.values())

    def all(self) -> Iterator[Node]:
        """Yield it and all below."""
        yield self
        for child in self.children.values():
            yield from child.all()


class ModelTree:
    """A tree in memory, with the service's rules.

    Attributes:
        root: The zone's.
        here: The caller's.
        bin: What is in the trash: the entry, its path, and the quotas that count it.
        holdings: Locks: serial of what is locked, None for one that was given back.
    """

    def __init__(self) -> None:
        """Begin with an empty root."""
        self.root = Node(DIRECTORY, 0)
        self.here = self.root
        self.bin: list[tuple[Node, str, list[Quota]]] = []
        self.holdings: list[int | None] = []
        self._gone: list[tuple[int, list[Quota]]] = []
        self._serials = itertools.count(1)

    def find(self, path: str) -> Node:
        """Return what is at the path."""
        if not self.root.holds(self.here):
            raise Refused("PRINCIPAL_ROOT_LOST")
        node = self.here
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

    def counting(self, parent: Node) -> list[Quota]:
        """Return the quotas that count what is in a directory, from the root down."""
        return [node.quota for node in self._chain(parent) if node.quota is not None]

    def _chain(self, node: Node) -> list[Node]:
        chain = [self.root]
        while chain[-1] is not node:
            chain.append(next(child for child in chain[-1].children.values() if child.holds(node)))
        return chain

    def create(self, path: str, kind: int) -> Node:
        """Create an entry."""
        parent, name = self.place(path)
        if name in parent.children:
            raise Refused("FILE_EXISTS")
        charge(dict.fromkeys(self.counting(parent), 1))
        node = parent.children[name] = Node(kind, next(self._serials))
        return node

    def touch(self, path: str) -> Node:
        """Make the next generation."""
        node = self.find(path)
        node.gen += 1
        return node

    def delete(self, path: str, recursive: bool) -> None:
        """Delete an entry for good."""
        node = self.find(path)
        if node.children and not recursive:
            raise Refused("DIRECTORY_NOT_EMPTY")
        parent, name = self.place(path)
        if recursive and node.kind == DIRECTORY:  # what is below is counted until it is cleared up
            self._gone.append((node.size(), self.counting(parent)))
        else:
            charge(dict.fromkeys(self.counting(parent), -1))
        self._forget(node)
        del parent.children[name]

    def _forget(self, node: Node) -> None:
        for one in node.all():
            if one.quota is not None:
                one.quota.alive = False

    def copy(self, source: str, destination: str) -> Node:
        """Copy an entry, a directory with everything below it."""
        node = self.find(source)
        parent, name = self.place(destination)
        there = parent.children.get(name)
        if node.kind == DIRECTORY:
            if there is not None:
                raise Refused("FILE_EXISTS")
            if node.holds(parent):
                raise Refused("DIRECTORY_CYCLE")
        elif there is not None:
            if there.kind == DIRECTORY:
                raise Refused("IS_A_DIRECTORY")
            if there is node:
                raise Refused("FIELD_INVALID")
            if there.kind != node.kind:
                raise Refused("FILE_EXISTS")
            there.gen += 1
            return there
        charge({quota: node.size() for quota in self.counting(parent)})
        parent.children[name] = self._same(node)
        return parent.children[name]

    def _same(self, node: Node) -> Node:
        copied = Node(node.kind, next(self._serials))
        copied.children = {name: self._same(child) for name, child in node.children.items()}
        return copied

    def limit(self, path: str, limit: int) -> None:
        """Give a directory a quota, or its quota another limit."""
        node = self._directory(path)
        if node.quota is None:
            node.quota = Quota(limit, node.size() - 1)
        node.quota.limit = limit

    def unlimit(self, path: str) -> None:
        """Take a directory's quota away."""
        node = self._directory(path)
        if node.quota is None:
            raise Refused("QUOTA_NOT_FOUND")
        node.quota.alive = False
        node.quota = None

    def _directory(self, path: str) -> Node:
        node = self.find(path)
        if node.kind != DIRECTORY:
            raise Refused("NOT_A_DIRECTORY")
        return node

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
        self.bin.append((node, path, self.counting(parent)))
        del parent.children[name]

    def restore(self, position: int, path: str) -> Node:
        """Put back what is at a position in the bin, where it was without a path."""
        node, old, counting = self.bin[position]
        parent, name = self.place(path or old)
        if name in parent.children:
            raise Refused("FILE_EXISTS")
        before, after = {quota for quota in counting if quota.alive}, set(self.counting(parent))
        if before != after and node.kind == DIRECTORY:
            raise Refused("QUOTA_CROSSED")
        charge(dict.fromkeys(before - after, -1) | dict.fromkeys(after - before, 1))
        parent.children[name] = node
        del self.bin[position]
        return node

    def empty(self) -> None:
        """Give up what is in the bin."""
        for node, _, counting in self.bin:
            self._gone.append((node.size(), counting))
            self._forget(node)
        self.bin.clear()

    def clear(self) -> None:
        """Take what was given up from the quotas that counted it."""
        for size, counting in self._gone:
            for quota in counting:
                quota.count -= size
        self._gone.clear()

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
            if victim is not moved:
                self._cross([(moved, parent, target), (victim, target, parent)])
            parent.children[name], target.children[new] = victim, moved
            return
        leaving = 0
        if victim is not None:
            if mode == 2:
                raise Refused("FILE_EXISTS")
            if victim is moved:
                return
            if (victim.kind == DIRECTORY) != (moved.kind == DIRECTORY):
                raise Refused("IS_A_DIRECTORY" if victim.kind == DIRECTORY else "NOT_A_DIRECTORY")
            if victim.children:
                raise Refused("DIRECTORY_NOT_EMPTY")
            leaving = 1
        self._cross([(moved, parent, target)], dict.fromkeys(self.counting(target), -leaving))
        if victim is not None:
            self._forget(victim)
        del parent.children[name]
        target.children[new] = moved

    def _cross(self, moves: Iterable[tuple[Node, Node, Node]], charges: dict[Quota, int] | None = None) -> None:
        """Count what moves from one directory to another."""
        charges = charges or {}
        for node, old, new in moves:
            if self.counting(old) == self.counting(new):
                continue
            if node.kind == DIRECTORY:
                raise Refused("QUOTA_CROSSED")
            for quotas, delta in ((self.counting(old), -1), (self.counting(new), 1)):
                for quota in quotas:
                    charges[quota] = charges.get(quota, 0) + delta
        charge(charges)

    def everything(self) -> dict[str, Node]:
        """Return path -> node of all entries."""
        return below(self.root)


def charge(charges: dict[Quota, int]) -> None:
    """Count in each quota, or in none when one of them has no room."""
    for quota, delta in charges.items():
        if quota.limit and delta > 0 and quota.count + delta > quota.limit:
            raise Refused("QUOTA_EXCEEDED")
    for quota, delta in charges.items():
        quota.count += delta


def below(node: Node, path: str = "") -> dict[str, Node]:
    """Return path -> node of all that is below a node."""
    found = {}
    for name, child in node.children.items():
        found[f"{path}/{name}"] = child
        found |= below(child, f"{path}/{name}")
    return found


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]
